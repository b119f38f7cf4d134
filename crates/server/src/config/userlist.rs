//! A list of users in PgBouncer's format: `"name" "secret"` a line.
//!
//! The secret is a password, or what PostgreSQL stores in its place. A quote within quotes is
//! written twice.

use everline_wire::auth::secret::Secret;

/// Most users in one list.
const USERS_MAX: usize = 100_000;

/// Reads the text of a file. A user with an empty secret is left out: it cannot log in.
///
/// # Errors
/// One sentence with the line, which never holds what stands there.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Secret)>, String> {
    let mut users: Vec<(String, Secret)> = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        let wrong = |problem: &str| format!("line {}: {problem}", index + 1);
        let parts = quoted(line).and_then(|(name, rest)| {
            let (secret, rest) = quoted(rest.trim_start())?;
            let rest = rest.trim_start();
            (rest.is_empty() || rest.starts_with([';', '#'])).then_some((name, secret))
        });
        let (name, secret) = parts.ok_or_else(|| wrong("wants \"name\" \"secret\""))?;
        if name.is_empty() {
            return Err(wrong("the name is empty"));
        }
        if !names.insert(name.clone()) {
            return Err(wrong("this user is named twice"));
        }
        if users.len() >= USERS_MAX {
            return Err(format!("names more than {USERS_MAX} users"));
        }
        if !secret.is_empty() {
            users.push((name, Secret::plain(secret)));
        }
    }
    Ok(users)
}

/// The text in quotes with which a line begins, and what follows it.
fn quoted(line: &str) -> Option<(String, &str)> {
    let mut rest = line.strip_prefix('"')?;
    let mut text = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        text.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                text.push('"');
                rest = more;
            }
            None => return Some((text, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_secrets_of_every_kind() {
        let text =
            "; a comment\n\n\"app\" \"se cret\"\n  \"a \"\"b\"\"\" \"md5x\" \n\"none\" \"\"\n";
        let users = parse(text).unwrap();
        let users: Vec<_> = users.iter().map(|(n, s)| (n.as_str(), s.reveal())).collect();
        assert_eq!(users, [("app", "se cret"), ("a \"b\"", "md5x")]);
    }

    #[test]
    fn a_mistake_is_named_by_its_line_alone() {
        for (text, problem) in [
            ("app secret", "line 1: wants \"name\" \"secret\""),
            ("\n\"app\" \"secret", "line 2: wants"),
            ("\"app\" \"a\" \"b\"", "line 1: wants"),
            ("\"app\" \"s3cret\"x", "line 1: wants"),
            ("\"\" \"s3cret\"", "line 1: the name is empty"),
            ("\"a\" \"s3cret\"\n\"a\" \"b\"", "line 2: this user is named twice"),
        ] {
            let met = parse(text).unwrap_err();
            assert!(met.starts_with(problem) && !met.contains("s3cret"), "{met}");
        }
    }
}
