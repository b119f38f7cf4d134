//! Gives each target what the fuzzers have found worth keeping.

use std::fs;
use std::path::{Path, PathBuf};

use everline_fuzz::TARGETS;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

#[test]
fn the_corpus_is_replayed() {
    for (name, target) in TARGETS {
        let directory = corpora().join(name);
        let entries = fs::read_dir(&directory);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut replayed = 0;
        for entry in entries {
            let path = entry.expect("an entry").path();
            let data = fs::read(&path).expect("a file");
            // The name of the input that fails is in the message.
            let outcome = std::panic::catch_unwind(|| target(&data));
            assert!(outcome.is_ok(), "{name} fails with {}", path.display());
            replayed += 1;
        }
        assert!(replayed > 0, "{name} has no corpus");
    }
}

/// Without the server's crate there are fewer targets.
#[cfg(feature = "server")]
#[test]
fn each_target_has_a_program_and_each_corpus_a_target() {
    let programs = corpora().join("../fuzz_targets");
    let named = |directory: &Path| {
        let entries = fs::read_dir(directory).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut names: Vec<String> =
            paths.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let mut targets: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.sort();
    assert_eq!(named(&programs), targets);
    assert_eq!(named(&corpora()), targets);
    for name in &targets {
        let program = fs::read_to_string(programs.join(format!("{name}.rs"))).expect("a program");
        assert!(program.contains(&format!("\"{name}\"")), "{name}: {program}");
    }
}
