//! The manual's page of settings is what the program has.

use std::fmt::Write as _;
use std::fs;

use everline::config::dsn::Surroundings;
use everline::config::settings::{SETTINGS, Setting, Shape, needs_restart};
use everline::config::{Config, Given};
use everline_tidy::Offences;
use everline_tidy::tree::root;

const PAGE: &str = "docs/manual/settings.md";

const BEGINNING: &str = "\
# All settings

This page is written from the program's own table: `UPDATE=1 cargo test -p everline-tidy --test
settings` writes it anew.

A flag wins over its environment variable, that over the file, that over the default. Of several
environment variables for one setting the first that is set counts. The file is named by `--config`
or `EVERLINE_CONFIG`; it is TOML, its keys are the headings. `--help` says the same in short.

Durations are written as `500ms`, `5s`, `2m`, `1h`. An unknown key, a value that cannot be, or two
settings that do not go together end the program before it begins, with one sentence and exit
code 2. `everline check` with the same flags reads everything, connects, and says what it found.
";

const END: &str = "
## Users and databases

The file may name further users, each in a table of its own:

```toml
[[users]]
name = \"reporting\"
password = \"…\"

[[users]]
name = \"batch\"
password_file = \"batch.password\"  # beside the file; the first line counts
```

Users and databases may have settings of their own; a user's word comes before the database's, that
before the one for all. `databases.'*'` is every database that is not named.

```toml
[databases.shop]
backend_database = \"shop_2\"      # what it is called at PostgreSQL, if not the same
pool_mode = \"session\"
pool_size_min = 2
pool_size_max = 20                # of each of its pools
connections_max = 30              # of all its pools together
clients_max = 500

[[users]]
name = \"batch\"
password_file = \"batch.password\"
connections_max = 5
query_timeout = \"10m\"
```

The keys are `pool_mode`, `pool_size_min`, `pool_size_max`, `connections_max`, `clients_max`,
`query_wait_timeout`, `query_timeout`, `idle_in_transaction_timeout`, `client_idle_timeout`, for
databases `backend_database` too, and `backend_user` with `backend_password`: whoever comes to such a
database, statements run as that user, over one pool; without a password, by that which the file has of
the user.

A `password` may also be what PostgreSQL stores in its place (`SCRAM-SHA-256$…`): it checks
clients, but logs in nowhere, so statements of that user are refused unless PostgreSQL trusts us.
";

#[test]
fn the_page_is_what_the_table_says() {
    let page = page();
    let path = root().join(PAGE);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).expect("the manual can be written");
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    let line = stands.lines().zip(page.lines()).take_while(|(left, right)| left == right).count();
    assert!(
        stands == page,
        "{PAGE}:{}: not what the table of settings says; \
         UPDATE=1 cargo test -p everline-tidy --test settings writes it anew",
        line + 1
    );
}

const SAMPLE: &str = "contrib/everline.toml";

/// The file that packages install: every setting with its explanation, none of them set.
#[test]
fn the_sample_file_is_what_the_table_says() {
    let sample = sample();
    let path = root().join(SAMPLE);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &sample).expect("the sample can be written");
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == sample,
        "{SAMPLE}: UPDATE=1 cargo test -p everline-tidy --test settings writes it anew"
    );
    // With all its defaults set it means the same as with none.
    let load = |text: &str| {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("everline.toml");
        fs::write(&file, text).expect("a file");
        let nothing = |_: &str| None;
        let surroundings = Surroundings { variable: &nothing, ..Surroundings::process() };
        let config = Config::load(Given::default(), Some(&file), &surroundings);
        config.unwrap_or_else(|error| panic!("{error}")).shown()
    };
    let dsn = "backend_dsn = \"postgres://app:secret@db.example.com/app\"\n";
    let set = |line: &str| {
        let setting = line.strip_prefix("# ").filter(|line| line.contains(" = "));
        let (key, value) = setting.and_then(|line| line.split_once(" = "))?;
        let known = SETTINGS.iter().find(|setting| setting.key == key)?;
        (!known.default.is_empty()).then(|| format!("{key} = {value}\n"))
    };
    let defaults: String = sample.lines().filter_map(set).collect();
    assert!(defaults.lines().count() > 20, "{defaults}");
    assert_eq!(load(&format!("{dsn}{defaults}")), load(dsn));
}

fn sample() -> String {
    let mut sample = String::from(
        "# Everline's configuration. Every setting stands here with what holds when nothing is said;\n\
         # take the # away from those that should be otherwise. SIGHUP, or RELOAD on the console, reads\n\
         # the file again. `everline check --config FILE` says what it leads to.\n",
    );
    let mut heading = "";
    for setting in SETTINGS {
        if setting.heading != heading {
            heading = setting.heading;
            let line = "-".repeat(90_usize.saturating_sub(heading.len()));
            let _ = write!(sample, "\n# --- {heading} {line}\n"); // a String takes everything
        }
        let _ = writeln!(sample);
        let mut line = String::from("#");
        for word in setting.doc.split(' ') {
            if line.len() + word.len() > 97 {
                let _ = writeln!(sample, "{line}");
                line = String::from("#");
            }
            let _ = write!(line, " {word}");
        }
        let value = match (setting.shape, setting.default) {
            (Shape::Switch, default) => default.to_owned(),
            (Shape::Text, default) => format!("\"{default}\""),
            (Shape::List, "") => "[]".to_owned(),
            (Shape::List, default) => format!("[\"{default}\"]"),
        };
        let restart = if needs_restart(setting.key) { " Needs a restart." } else { "" };
        let _ = writeln!(sample, "{line}{restart}\n# {} = {value}", setting.key);
    }
    sample.push_str(
        "\n# Further users, each in a table of its own, at the end of the file:\n# [[users]]\n\
         # name = \"reporting\"\n# password_file = \"reporting.password\"\n",
    );
    sample
}

/// Every key that a document shows in a block of TOML, in an environment variable or as a flag.
#[test]
fn documents_name_only_settings_that_there_are() {
    let mut offences = Offences::default();
    let others = [
        "EVERLINE_BENCH_PGBOUNCER",
        "EVERLINE_CONFIG",
        "EVERLINE_TEST_PG_BIN",
        "EVERLINE_TEST_PG_BINS",
        "EVERLINE_TEST_PG_VERSION",
        "EVERLINE_DRIVERS",
        "EVERLINE_ATTACK",
        "EVERLINE_CHAOS",
        "EVERLINE_CHAOS_SEED",
        "EVERLINE_LEDGER",
        "EVERLINE_LEDGER_SEED",
        "EVERLINE_SOAK",
        "EVERLINE_SOAK_SEED",
    ];
    for document in everline_tidy::tree::files(".md") {
        for (index, line) in document.text.lines().enumerate() {
            for name in names(line, "EVERLINE_") {
                let known = SETTINGS.iter().any(|setting| setting.variable() == name);
                if !known && name != "EVERLINE_" && !others.contains(&name.as_str()) {
                    offences.at(&document, index + 1, name);
                }
            }
        }
    }
    offences.none("a document names an environment variable that there is not");
}

fn names(line: &str, beginning: &str) -> Vec<String> {
    let places = line.match_indices(beginning);
    let name = |at: usize| {
        let rest = line.get(at..).unwrap_or_default();
        rest.chars()
            .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
            .collect()
    };
    places.map(|(at, _)| name(at)).collect()
}

fn page() -> String {
    let mut page = BEGINNING.to_owned();
    let mut heading = "";
    for setting in SETTINGS {
        if setting.heading != heading {
            heading = setting.heading;
            let _ = writeln!(page, "\n## {heading}"); // a String takes everything
        }
        section(setting, &mut page);
    }
    page.push_str(END);
    page
}

/// Puts addresses in backquotes: what they hold is no markup.
fn quote_addresses(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let address = word.trim_end_matches([',', ';', ':', '.']);
        let address = if word.ends_with("...") { word } else { address };
        if !word.contains("://") {
            return word.to_owned();
        }
        format!("`{address}`{}", word.get(address.len()..).unwrap_or_default())
    });
    words.collect::<Vec<_>>().join(" ")
}

fn section(setting: &Setting, page: &mut String) {
    let (key, flag, doc) = (setting.key, setting.flag(), quote_addresses(setting.doc));
    let (file, flag) = match setting.shape {
        Shape::Switch => ("`true` or `false`".to_owned(), format!("--{flag}")),
        Shape::Text => ("text or number".to_owned(), format!("--{flag} {}", setting.value)),
        Shape::List => ("array of text".to_owned(), format!("--{flag} {} …", setting.value)),
    };
    let default = match setting.default {
        "" => "none".to_owned(),
        default => format!("`{default}`"),
    };
    let mut variables = vec![setting.variable()];
    variables.extend(setting.variables.iter().map(|&name| name.to_owned()));
    let variables = variables.join("`, `");
    // A String takes everything.
    let _ = writeln!(page, "\n### {key}\n\n{doc}\n");
    let _ = writeln!(page, "* Flag: `{flag}`; default: {default}; in the file: {file}");
    let _ = writeln!(page, "* Environment: `{variables}`");
}
