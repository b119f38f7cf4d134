//! What Everline wrote into its log, by kinds.

use std::collections::BTreeMap;

use serde_json::Value;

/// Kinds of lines, each with how often it came.
pub(crate) type Kinds = BTreeMap<String, u64>;

/// The kinds in a log in JSON: level and message, numbers left out. A line that is no JSON, as a
/// panic's, is a kind of its own.
pub(crate) fn kinds(log: &str) -> Kinds {
    let mut kinds = Kinds::new();
    for line in log.lines() {
        let kind = match serde_json::from_str::<Value>(line) {
            Ok(value) => {
                let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
                format!("{:<5} {}", word("level"), without_numbers(&word("message")))
            }
            Err(_) => format!("????? {line}"),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

fn without_numbers(text: &str) -> String {
    let mut kind = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            other => kind.push(other),
        }
    }
    kind
}

#[test]
fn lines_are_counted_by_kind() {
    let log = "{\"level\":\"INFO\",\"message\":\"epoch 12 is over\",\"epoch\":12}\n\
               {\"level\":\"INFO\",\"message\":\"epoch 3 is over\"}\nthread panicked\n";
    let expected =
        [("????? thread panicked".to_owned(), 1), ("INFO  epoch # is over".to_owned(), 2)];
    assert_eq!(kinds(log), Kinds::from(expected));
}
