//! How the code is written.

use everline_tidy::Offences;
use everline_tidy::mask::{code, code_lines, without_tests};
use everline_tidy::tree::{File, files, sources};

/// Most lines of code in a file; a file of tests may have twice as many.
const LINES_MAX: usize = 500;
/// Longest line, in characters.
const COLUMNS_MAX: usize = 100;

/// Words of the glossary's right-hand column that have no other honest use in this code: each names
/// a thing that has another name here.
const BANNED: [&str; 22] = [
    "upstream",
    "downstream",
    "client side",
    "server side",
    "server connection",
    "client state",
    "watchdog",
    "sentinel",
    "monitor",
    "checkout",
    "guard",
    "master",
    "slave",
    "replica",
    "switch over",
    "discovery",
    "provider",
    "destination",
    "graceful",
    "prune",
    "whitelist",
    "blacklist",
];

/// Where such a word stands all the same, in any case: it is somebody else's.
const FOREIGN: [(&str, &str, &str); 8] = [
    ("", "MutexGuard", "the standard library's type"),
    ("", "DropGuard", "tokio-util's type"),
    ("", "drop_guard", "tokio-util's function"),
    ("crates/server/src/net/notify.rs", "WATCHDOG", "systemd's variables"),
    ("crates/server/src/net/tls.rs", "provider", "rustls's CryptoProvider"),
    ("crates/server/src/net/verify.rs", "provider", "rustls's CryptoProvider"),
    ("crates/lab/src/network.rs", "master br0", "an option of ip's"),
    ("crates/lab/src/postgres/cluster.rs", "wal_level = replica", "a value of PostgreSQL's"),
];

/// Words of Stolon's own: its programs and the keys of its data. They stand in files that speak of
/// it.
const STOLONS: [&str; 2] = ["master", "sentinel"];

/// What the pure crates do without: they neither wait nor ask the time, and a run can be repeated.
const IMPURE: [&str; 11] = [
    "async",
    "await",
    "tokio",
    "mio",
    "SystemTime",
    "HashMap",
    "HashSet",
    "println!",
    "eprintln!",
    "Instant::now",
    "thread::sleep",
];

#[test]
fn files_are_short() {
    let mut offences = Offences::default();
    for file in files(".rs") {
        let most = if file.is_test() { 2 * LINES_MAX } else { LINES_MAX };
        let lines = code_lines(without_tests(&code(&file.text)));
        if lines > most {
            offences.of(&file.path, format_args!("{lines} lines of code, at most {most}"));
        }
    }
    offences.none("a file holds one thing: find the part that can be named, and give it a file");
}

#[test]
fn lines_are_short() {
    let mut offences = Offences::default();
    for file in files(".rs") {
        let code = code(&file.text);
        for ((number, line), code) in numbered(&file.text).zip(code.lines()) {
            // Rustfmt leaves a line with a long string as it is; a table's rows and addresses are
            // read best as they are.
            let in_string = code.trim().is_empty() && !line.trim_start().starts_with("//");
            let excused = in_string || line.contains(['"', '|']) || line.contains("://");
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !excused {
                offences.at(&file, number, format_args!("{columns} columns"));
            }
        }
    }
    offences.none("a line has at most 100 columns");
}

#[test]
fn things_are_called_by_their_names() {
    let mut offences = Offences::default();
    for file in sources() {
        for (number, line) in numbered(&file.text) {
            let said: Vec<_> = words(line).collect();
            for word in BANNED {
                if says(&said, word) && !is_foreign(&file, line, word) {
                    offences.at(&file, number, format_args!("{word}: {}", line.trim()));
                }
            }
        }
    }
    offences.none("the glossary (CONTRIBUTING.md) has another word for this");
}

#[test]
fn every_exception_is_needed() {
    let mut offences = Offences::default();
    let sources = sources();
    for (path, quote, reason) in FOREIGN {
        let mut places = sources.iter().filter(|file| path.is_empty() || file.path == path);
        if !places.any(|file| file.text.contains(quote)) {
            offences.of(path, format_args!("{quote} ({reason}) does not occur"));
        }
    }
    offences.none("an exception that nothing needs hides the next offence");
}

#[test]
fn the_pure_crates_are_pure() {
    let mut offences = Offences::default();
    for file in sources().iter().filter(|file| file.is_in(&["core", "wire", "wire-gel"])) {
        each_call(file, &IMPURE, &mut offences);
    }
    offences.none("everline-core and everline-wire decide and read; what waits is everline's");
}

#[test]
fn nothing_is_unsafe() {
    let mut offences = Offences::default();
    for file in files(".rs") {
        each_call(&file, &["unsafe"], &mut offences);
    }
    offences.none("there is no unsafe code here");
}

#[test]
fn lints_are_expected_not_allowed() {
    let mut offences = Offences::default();
    for file in files(".rs") {
        each_call(&file, &["#[allow(", "#![allow("], &mut offences);
    }
    offences
        .none("#[expect(…, reason = \"…\")] says why, and complains when it is no longer needed");
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut offences = Offences::default();
    for file in sources() {
        each_call(&file, &[".unwrap()", ".unwrap_err()"], &mut offences);
    }
    offences.none("an error is handled; expect(\"…\") states the invariant that excludes it");
}

#[test]
fn nothing_is_left_for_later() {
    let mut offences = Offences::default();
    let marks = ["TODO", "FIXME", "XXX"];
    for file in files(".rs").into_iter().chain(files(".toml")) {
        if file.path == "tests/tidy/tests/sources.rs" {
            continue; // names them
        }
        for (number, line) in numbered(&file.text) {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                offences.at(&file, number, mark);
            }
        }
        each_call(&file, &["todo!", "unimplemented!", "dbg!"], &mut offences);
    }
    offences.none("what is missing is an issue, not a comment");
}

/// Clippy would ask it of every function; what waits has the errors that are worth a word.
#[test]
fn what_waits_says_how_it_fails() {
    let mut offences = Offences::default();
    for file in sources() {
        let lines: Vec<_> = file.text.lines().collect();
        for (index, _) in lines.iter().enumerate().filter(|(_, line)| is_public_async(line)) {
            let (before, after) = lines.split_at(index);
            let signature: String =
                after.iter().copied().take_while(|line| !line.ends_with('{')).collect();
            let signature = format!("{signature}{}", after.first().unwrap_or(&""));
            let mut doc = before.iter().rev().map(|line| line.trim());
            let mut doc = doc.by_ref().take_while(|line| line.starts_with(['/', '#']));
            let says = doc.any(|line| line.starts_with("/// # Errors"));
            if signature.contains("Result<") && !says {
                offences.at(&file, index + 1, "returns a Result and has no # Errors");
            }
        }
    }
    offences.none("a public async function says how it fails");
}

fn is_public_async(line: &str) -> bool {
    line.trim_start().starts_with("pub async fn ")
}

#[test]
fn no_test_is_ignored() {
    let mut offences = Offences::default();
    for file in files(".rs") {
        each_call(&file, &["#[ignore"], &mut offences);
    }
    offences.none("a test that cannot run prints a line \"skipped: why\", which is counted");
}

/// The lab and the demo are exempt: the machine's ports and its PostgreSQL are one for a process.
#[test]
fn state_is_passed_not_global() {
    let kinds = ["Lazy", "OnceLock", "OnceCell", "Mutex", "RwLock", "Atomic", "ArcSwap"];
    let mut offences = Offences::default();
    for file in sources().iter().filter(|file| file.is_in(&["core", "wire", "wire-gel", "server"]))
    {
        let code = code(&file.text);
        for (number, line) in numbered(without_tests(&code)) {
            let declares = words(line).any(|word| word == "static") && !line.contains("'static");
            if declares && kinds.iter().any(|kind| line.contains(kind)) {
                offences.at(file, number, line.trim());
            }
        }
    }
    offences.none("state is passed to whom it concerns");
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The words of a line: identifiers are taken apart at underscores and at capitals.
fn words(line: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        let begins = !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if begins {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.into_iter().filter(|word| !word.is_empty())
}

/// Whether this word, or these words one after the other, are among those of a line, in the
/// singular or plural.
fn says(words: &[String], banned: &str) -> bool {
    let banned: Vec<_> = banned.split(' ').collect();
    words.windows(banned.len()).any(|here| {
        here.iter()
            .zip(&banned)
            .all(|(word, banned)| word == banned || word.strip_suffix('s') == Some(banned))
    })
}

fn is_foreign(file: &File, line: &str, word: &str) -> bool {
    let stolons = STOLONS.contains(&word) && file.text.contains("Stolon");
    stolons
        || FOREIGN.iter().any(|(path, quote, _)| {
            let here = path.is_empty() || file.path == *path;
            let quoted: Vec<_> = words(quote).collect();
            here && says(&quoted, word) && line.to_lowercase().contains(&quote.to_lowercase())
        })
}

/// Notes every line of code that holds one of these, as whole words where they are words.
fn each_call(file: &File, calls: &[&str], offences: &mut Offences) {
    let code = code(&file.text);
    for (number, line) in numbered(without_tests(&code)) {
        for call in calls {
            let mut places = line.match_indices(call);
            if places.any(|(at, _)| stands_alone(line, at, call)) {
                offences.at(file, number, format_args!("{call}: {}", line.trim()));
            }
        }
    }
}

fn stands_alone(line: &str, at: usize, call: &str) -> bool {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (before, rest) = line.split_at(at);
    let after = rest.strip_prefix(call).unwrap_or_default();
    let begins_in_word = in_word(call.chars().next()) && in_word(before.chars().next_back());
    let ends_in_word = in_word(call.chars().next_back()) && in_word(after.chars().next());
    !begins_in_word && !ends_in_word
}

#[test]
fn words_are_found_in_identifiers() {
    let says = |line: &str, word: &str| says(&words(line).collect::<Vec<_>>(), word);
    for line in ["upstream_host", "theUpstream", "Upstreams,", "UPSTREAM", "an upstream"] {
        assert!(says(line, "upstream"), "{line}");
    }
    assert!(says("ServerSide", "server side") && says("server-side", "server side"));
    assert!(!says("a server aside", "server side") && !says("mastery", "master"));
}
