use super::*;

fn run(line: &str) -> Result<Command, Exit> {
    run_with(line, &|_| None)
}

fn run_with(line: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Command, Exit> {
    let surroundings =
        Surroundings { variable, home: None, user: None, socket_directory: PathBuf::from("/tmp") };
    let arguments = ["everline"].into_iter().chain(line.split_whitespace()).map(OsString::from);
    parse(arguments, &surroundings)
}

const DSN: &str = "--backend-dsn postgres://app:secret@db.example/app";

#[test]
fn the_commands_of_the_manual() {
    let Command::Run(launch) = run(DSN).unwrap() else { panic!() };
    assert_eq!(launch.config.backend.dsn.user, "app");
    let line =
        format!("{DSN} --enable-backend-adaptive-ha --listen 127.0.0.1:1 --listen unix:/run");
    let Command::Run(launch) = run(&line).unwrap() else { panic!() };
    assert!(matches!(launch.config.backend.ha, crate::config::HaMode::Adaptive { .. }));
    assert_eq!(launch.config.frontend.listen.len(), 2);
    let Command::Run(launch) = run(&format!("{DSN} --enable-backend-adaptive-ha=false")).unwrap()
    else {
        panic!()
    };
    assert_eq!(launch.config.backend.ha, crate::config::HaMode::Fixed);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("everline.toml");
    std::fs::write(&file, "backend_dsn = 'postgres://file:x@h'").unwrap();
    let Command::Check(config) = run(&format!("check --config {}", file.display())).unwrap() else {
        panic!()
    };
    assert_eq!(config.backend.dsn.user, "file");
    let variable = |name: &str| (name == "EVERLINE_CONFIG").then(|| file.display().to_string());
    let Command::Run(launch) = run_with("", &variable).unwrap() else { panic!() };
    assert_eq!(launch.config.backend.dsn.user, "file");
}

#[test]
fn mistakes_are_one_sentence_and_exit_code_2() {
    let cases = [
        ("", "no backend is given"),
        (
            "--lisden 1",
            "unexpected argument '--lisden' found; a similar argument exists: '--listen'",
        ),
        ("--failover-hold", "a value is required for '--failover-hold <DURATION>'"),
        ("serve", "unrecognized subcommand 'serve'"),
        ("postgres://app:secret@h", "a DSN stands where no DSN is expected"),
        ("--config /does/not/exist", "/does/not/exist: No such file"),
        (
            "--workers 1 --workers 2",
            "the argument '--workers <NUMBER>' cannot be used multiple times",
        ),
        ("--workers 1 check", ""),
    ];
    for (line, expected) in cases {
        let exit = run(line).unwrap_err();
        assert_eq!(exit.kind.code(), 2, "{line}");
        assert!(exit.text.starts_with(expected), "{line}: {}", exit.text);
        assert!(!exit.text.contains('\n') && !exit.text.contains("secret"), "{}", exit.text);
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    let exit = run("--help").unwrap_err();
    assert_eq!(exit.kind.code(), 0);
    for part in
        ["High availability:", "--failover-hold <DURATION>", "EVERLINE_FAILOVER_HOLD", "check"]
    {
        assert!(exit.text.contains(part), "{part} is missing in\n{}", exit.text);
    }
    let long = exit.text.lines().filter(|line| line.chars().count() > 100);
    assert!(long.clone().all(|line| line.contains("[env: ")), "{:?}", long.collect::<Vec<_>>());
    assert!(run("check --help").unwrap_err().text.contains("exactly one backend leads"));
    let version = run("--version").unwrap_err();
    assert_eq!(version.text, concat!("everline ", env!("CARGO_PKG_VERSION")));
}
