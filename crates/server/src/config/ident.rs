//! From names outside (of a certificate, of the operating system) to users: `pg_ident.conf`'s
//! syntax.

use super::hba::fields;

/// Most lines.
const LINES_MAX: usize = 100_000;

/// One line: in this map, this name outside may be this user.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    map: String,
    outside: String,
    /// `None` is `all`.
    user: Option<String>,
}

/// All maps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Maps(Vec<Line>);

impl Maps {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// One sentence with the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |problem: String| format!("line {}: {problem}", index + 1);
            let fields = fields(line).map_err(wrong)?;
            let words: Vec<_> = fields.iter().flatten().collect();
            let (map, outside, user) = match words.as_slice() {
                [] => continue,
                [map, outside, user] if fields.len() == 3 => (map, outside, user),
                _ => return Err(wrong("wants a map, a name and a user".to_owned())),
            };
            let special = |text: &str| text.starts_with(['/', '+', '@']);
            if [outside, user].iter().any(|word| !word.quoted && special(&word.text)) {
                let problem = "groups, files and regular expressions are not served";
                return Err(wrong(problem.to_owned()));
            }
            let every = user.text == "all" && !user.quoted;
            lines.push(Line {
                map: map.text.clone(),
                outside: outside.text.clone(),
                user: (!every).then(|| user.text.clone()),
            });
            if lines.len() > LINES_MAX {
                return Err(format!("has more than {LINES_MAX} lines"));
            }
        }
        Ok(Self(lines))
    }

    /// Whether whoever has one of these names outside may be `user`. Without a map the name has
    /// to be the user's.
    #[must_use]
    pub fn allows(&self, map: Option<&str>, outside: &[String], user: &str) -> bool {
        let Some(map) = map else { return outside.iter().any(|name| name == user) };
        self.0.iter().any(|line| {
            line.map == map
                && outside.contains(&line.outside)
                && line.user.as_deref().is_none_or(|own| own == user)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Maps;

    #[test]
    fn a_map_says_who_may_be_whom() {
        let maps = Maps::parse(
            "# map  outside  user\ncerts \"Jane Doe\" jane\ncerts ops all\nother ops postgres\n",
        )
        .unwrap();
        let allows = |map, name: &str, user| maps.allows(map, &[name.to_owned()], user);
        assert!(allows(Some("certs"), "Jane Doe", "jane"));
        assert!(!allows(Some("certs"), "Jane Doe", "john"));
        assert!(allows(Some("certs"), "ops", "anybody"));
        assert!(!allows(Some("other"), "ops", "anybody"));
        assert!(!allows(Some("none"), "jane", "jane"), "a map that is not there allows nobody");
        assert!(allows(None, "jane", "jane") && !allows(None, "jane", "ops"));
        for (text, problem) in [
            ("a b", "line 1: wants a map"),
            ("\na b c d", "line 2: wants a map"),
            ("a /^(.*)$ c", "line 1: groups"),
            ("a b +c", "line 1: groups"),
        ] {
            assert!(Maps::parse(text).unwrap_err().starts_with(problem), "{text}");
        }
    }
}
