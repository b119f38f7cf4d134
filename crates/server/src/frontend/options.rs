//! The startup packet's `options`: command-line switches for the session, `-c name=value`.

/// Reads `-c name=value`, `-cname=value` and `--name=value`, separated by white space; a
/// backslash takes the next character as it is.
///
/// Source: PostgreSQL, "Frontend/Backend Protocol", `StartupMessage`, `options`.
///
/// # Errors
/// The switch that is not one of these.
pub fn settings(options: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(word);
        };
        let Some((name, value)) = assignment.split_once('=') else { return Err(assignment) };
        if name.is_empty() {
            return Err(assignment);
        }
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        if character.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let literal = if character == '\\' { characters.next() } else { Some(character) };
        word.get_or_insert_default().extend(literal);
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::settings;

    fn pairs(options: &str) -> Vec<String> {
        settings(options).unwrap().into_iter().map(|(n, v)| format!("{n}={v}")).collect()
    }

    #[test]
    fn switches_become_settings() {
        assert_eq!(
            pairs("-c geqo=off --search-path=a,b -cwork_mem=4MB"),
            ["geqo=off", "search_path=a,b", "work_mem=4MB"]
        );
        assert_eq!(pairs(r"  -c application_name=two\ words  "), ["application_name=two words"]);
        assert!(pairs("").is_empty());
        assert_eq!(pairs("-c x="), ["x="]);
    }

    #[test]
    fn anything_else_is_named() {
        assert_eq!(settings("-B 4"), Err("-B".to_owned()));
        assert_eq!(settings("-c"), Err(String::new()));
        assert_eq!(settings("-c =x"), Err("=x".to_owned()));
        assert_eq!(settings("--geqo"), Err("geqo".to_owned()));
    }
}
