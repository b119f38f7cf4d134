//! The manual's page of settings is what the program has.

use std::fmt::Write as _;
use std::fs;

use everline::config::settings::{SETTINGS, Setting, Shape};
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
databases `backend_database` too.

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

/// Every key that a document shows in a block of TOML, in an environment variable or as a flag.
#[test]
fn documents_name_only_settings_that_there_are() {
    let mut offences = Offences::default();
    let others = [
        "EVERLINE_CONFIG",
        "EVERLINE_TEST_PG_BIN",
        "EVERLINE_TEST_PG_VERSION",
        "EVERLINE_DRIVERS",
        "EVERLINE_LEDGER",
        "EVERLINE_LEDGER_SEED",
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
