use super::*;

fn found(file: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    PassFile::parse(file).find(host, port, database, user).map(|s| s.reveal().to_owned())
}

#[test]
fn the_first_line_that_fits_is_taken() {
    let file = "# a comment\n\
                h:5432:d:u:exact\n\
                h:5432:d:u:later\n\
                *:*:replication:*:stream\n\
                h:*:*:u:any\n\
                too:few:fields\n\
                localhost:5432:*:u:local\n";
    assert_eq!(found(file, "h", 5432, "d", "u").as_deref(), Some("exact"));
    assert_eq!(found(file, "h", 5433, "d", "u").as_deref(), Some("any"));
    assert_eq!(found(file, "h", 5432, "e", "u").as_deref(), Some("any"));
    assert_eq!(found(file, "h", 5432, "d", "v"), None);
    assert_eq!(found(file, "x", 1, "replication", "y").as_deref(), Some("stream"));
    assert_eq!(found(file, "/var/run/postgresql", 5432, "d", "u").as_deref(), Some("local"));
    assert_eq!(found(file, "/elsewhere", 5432, "d", "u"), None);
}

#[test]
fn a_backslash_makes_the_next_character_plain() {
    assert_eq!(found(r"h:1:d:u:a\:b\\c", "h", 1, "d", "u").as_deref(), Some(r"a:b\c"));
    assert_eq!(found(r"[\:\:1]:1:d:u:x", "[::1]", 1, "d", "u").as_deref(), Some("x"));
    assert_eq!(found(r"\*:1:d:u:x", "*", 1, "d", "u").as_deref(), Some("x"));
    assert_eq!(found(r"\*:1:d:u:x", "h", 1, "d", "u"), None);
    assert_eq!(found(r"h:1:d:u:", "h", 1, "d", "u"), None);
    assert_eq!(found(r"h:1:d:u:x\", "h", 1, "d", "u").as_deref(), Some("x"));
}

#[test]
fn nothing_of_it_is_shown() {
    assert_eq!(format!("{:?}", PassFile::parse("h:1:d:u:hush")), "PassFile(1 lines)");
}

#[test]
fn only_a_plain_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    assert!(PassFile::read(directory.path()).is_err());
}
