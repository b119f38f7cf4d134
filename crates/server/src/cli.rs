//! The command line: flags from the table of settings, and what the program is asked to do.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches};
use clap_complete::Shell;

use crate::config::dsn::Surroundings;
use crate::config::settings::{SETTINGS, Setting, Shape};
use crate::config::{Config, ConfigError, Given};

/// What the program is asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serve.
    Run(Box<Launch>),
    /// Look at the backends and say what was found.
    Check(Box<Config>),
    /// Ask the server that runs how it is, at its HTTP listener; `None`: that is off.
    Status(Option<SocketAddr>),
    /// Print what a shell needs to complete our flags.
    Completions(Shell),
    /// Print the manual page.
    Man,
    /// Write our file from PgBouncer's.
    Import {
        /// PgBouncer's.
        from: PathBuf,
        /// Ours; `None`: standard output.
        to: Option<PathBuf>,
    },
}

/// What the server starts with, and where it came from.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The configuration.
    pub config: Config,
    /// The flags, for when everything is read again.
    pub flags: Given,
    /// The file.
    pub file: Option<PathBuf>,
}

/// Why the program ends before it begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exit {
    /// What is to be printed, without the last line's end.
    pub text: String,
    /// Where and with which exit code.
    pub kind: ExitKind,
}

/// Where an [`Exit`]'s text belongs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExitKind {
    /// It was asked for: standard output, exit code 0.
    Help,
    /// A mistake: standard error, exit code 2.
    Mistake,
}

impl ExitKind {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Help => 0,
            Self::Mistake => 2,
        }
    }
}

/// The environment variable that names the file.
const FILE_VARIABLE: &str = "EVERLINE_CONFIG";

/// Reads the command line, the environment and the file.
///
/// # Errors
/// [`Exit`]: the help or the version where they were asked for, else one sentence about the first
/// mistake.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings<'_>,
) -> Result<Command, Exit> {
    let matches = command().try_get_matches_from(arguments).map_err(|error| exit(&error))?;
    let (word, matches) = match matches.subcommand() {
        Some((word, matches)) => (word.to_owned(), matches.clone()),
        None => (String::new(), matches),
    };
    if word == "man" {
        return Ok(Command::Man);
    }
    if let Some(shell) = matches.try_get_one::<Shell>("shell").ok().flatten() {
        return Ok(Command::Completions(*shell));
    }
    if word == "import-pgbouncer" {
        let path = |name| matches.get_one::<String>(name).map(PathBuf::from);
        let to = path("output").filter(|path| path.as_os_str() != "-");
        return Ok(Command::Import { from: path("pgbouncer").unwrap_or_default(), to });
    }
    let path = matches.get_one::<String>("config").cloned();
    let path = path.or_else(|| (surroundings.variable)(FILE_VARIABLE).filter(|p| !p.is_empty()));
    let (flags, file) = (flags(&matches), path.map(PathBuf::from));
    let mistake = |error: ConfigError| Exit { text: error.to_string(), kind: ExitKind::Mistake };
    if word == "status" {
        let address = Config::http_listen(flags, file.as_deref(), surroundings);
        return address.map(Command::Status).map_err(mistake);
    }
    let config = Config::load(flags.clone(), file.as_deref(), surroundings).map_err(mistake)?;
    Ok(match word.as_str() {
        "check" => Command::Check(Box::new(config)),
        _ => Command::Run(Box::new(Launch { config, flags, file })),
    })
}

/// The command line as clap knows it; public for those who write the manual from it.
#[must_use]
pub fn command() -> clap::Command {
    let check = clap::Command::new("check")
        .about("Read the configuration, connect to every backend, and say what was found")
        .after_help("The exit code is 0 when exactly one backend leads.")
        .next_line_help(true)
        .args(arguments());
    let status = clap::Command::new("status")
        .about("Say how the server that runs is, and what to do about it")
        .after_help("The exit code is 0 while statements are dispatched.")
        .next_line_help(true)
        .args(arguments());
    let shells = clap::value_parser!(Shell);
    let completions = clap::Command::new("completions")
        .about("Print what a shell needs to complete flags: everline completions bash")
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(shells));
    let man = clap::Command::new("man").about("Print the manual page: everline man | man -l -");
    let import = clap::Command::new("import-pgbouncer")
        .about("Write everline.toml from pgbouncer.ini, and say what is not carried over")
        .after_help("Run it where PgBouncer runs: relative paths count from there.")
        .arg(word("pgbouncer").value_name("FILE").required(true).help("PgBouncer's file."))
        .arg(
            word("output")
                .long("output")
                .value_name("FILE")
                .default_value("everline.toml")
                .help("What to write; - is standard output. A file that exists is left alone."),
        );
    clap::Command::new("everline")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Keeps every application connected while PostgreSQL fails over")
        .after_help(
            "A flag wins over its environment variable, that over the file, that over the default.",
        )
        .args_conflicts_with_subcommands(true)
        .next_line_help(true)
        .args(arguments())
        .subcommands([check, status, import, completions, man])
}

fn word(name: &'static str) -> Arg {
    Arg::new(name).value_parser(NonEmptyStringValueParser::new())
}

fn arguments() -> impl Iterator<Item = Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(NonEmptyStringValueParser::new())
        .help(format!("The configuration file, TOML.\n[env: {FILE_VARIABLE}]"));
    [file].into_iter().chain(SETTINGS.iter().map(argument))
}

fn argument(setting: &'static Setting) -> Arg {
    let flag = setting.flag();
    let argument = Arg::new(setting.key)
        .value_name(setting.value)
        .help_heading(setting.heading)
        .help(help(setting));
    match setting.shape {
        Shape::Switch => argument
            .long(flag)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .action(ArgAction::Set)
            .hide_default_value(true),
        Shape::Text => argument.long(flag).action(ArgAction::Set),
        Shape::List => argument.long(flag).action(ArgAction::Append),
    }
}

/// The sentence, the environment's names and the default, each on lines of its own: clap breaks
/// lines only with a feature that would bring another crate.
fn help(setting: &Setting) -> String {
    let mut text = wrap(setting.doc);
    let own = setting.variable();
    let names = [own.as_str()].into_iter().chain(setting.variables.iter().copied());
    // The older prefix is accepted, not advertised.
    let names: Vec<&str> = names.filter(|name| !name.starts_with("EDGEDB_")).collect();
    let _ = write!(text, "\n[env: {}]", names.join(", ")); // a String takes everything
    if !setting.default.is_empty() && setting.shape != Shape::Switch {
        let _ = write!(text, " [default: {}]", setting.default);
    }
    text
}

/// Columns of the help's text, which stands ten columns from the left.
const HELP_COLUMNS: usize = 86;

fn wrap(text: &str) -> String {
    let (mut wrapped, mut column) = (String::new(), 0);
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 {
            let fits = column + 1 + width <= HELP_COLUMNS;
            wrapped.push(if fits { ' ' } else { '\n' });
            column = if fits { column + 1 } else { 0 };
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
}

fn flags(matches: &ArgMatches) -> Given {
    let mut given = Given::default();
    for setting in SETTINGS {
        if let Some(values) = matches.get_many::<String>(setting.key) {
            given.add_flag(setting, values.cloned().collect());
        }
    }
    given
}

/// One sentence of clap's several lines.
fn exit(error: &clap::Error) -> Exit {
    let rendered = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Exit { text: rendered.trim_end().to_owned(), kind: ExitKind::Help };
    }
    // A misplaced DSN must not end up in a log.
    if rendered.contains("://") {
        let text = "a DSN stands where no DSN is expected; it follows --backend-dsn".to_owned();
        return Exit { text, kind: ExitKind::Mistake };
    }
    let mut lines = rendered.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let mut text = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    if let Some(tip) = lines.find_map(|line| line.strip_prefix("tip: ")) {
        let _ = write!(text, "; {tip}");
    }
    text.push_str("; --help lists what there is");
    Exit { text, kind: ExitKind::Mistake }
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
