use proptest::prelude::*;

use super::*;

fn read_text(text: &str) -> Result<Given, String> {
    let mut given = Given::default();
    parse(Path::new("everline.toml"), text, &mut given)
        .map(|()| given)
        .map_err(|error| error.to_string())
}

fn one(given: &Given, key: &str) -> Vec<String> {
    given.get(key).unwrap().texts.clone()
}

#[test]
fn every_shape_of_a_value() {
    let given = read_text(
        "failover_hold = \"5s\"\n\
         max_backend_connections = 1_0\n\
         enable_backend_adaptive_ha = true\n\
         listen = [\"127.0.0.1:1\", \"unix:/run\"]\n\
         # a comment\n\
         [[users]]\nname = \"a\"\npassword = \"b\"\n[[users]]\nname = \"c\"\npassword = \"d\"\n",
    )
    .unwrap();
    assert_eq!(one(&given, "failover_hold"), ["5s"]);
    assert_eq!(one(&given, "max_backend_connections"), ["10"]);
    assert_eq!(one(&given, "enable_backend_adaptive_ha"), ["true"]);
    assert_eq!(one(&given, "listen"), ["127.0.0.1:1", "unix:/run"]);
    assert_eq!(one(&read_text("listen = '[::1]:5'").unwrap(), "listen"), ["[::1]:5"]);
    let own = read_text("[databases.'a b']\nbackend_database='c'\nclients_max=3\n").unwrap();
    assert_eq!(own.databases[0].name, "a b");
    assert_eq!(own.databases[0].own["clients_max"].texts, ["3"]);
    let users: Vec<_> = given
        .users
        .iter()
        .map(|u| (u.name.as_str(), u.secret.as_ref().unwrap().reveal()))
        .collect();
    assert_eq!(users, [("a", "b"), ("c", "d")]);
}

#[test]
fn every_mistake_has_its_line() {
    let cases = [
        (
            "\nfailover_hodl = '1s'",
            "everline.toml line 2: failover_hodl: there is no such setting; did you mean failover_hold?",
        ),
        ("zebra = 1", "everline.toml line 1: zebra: there is no such setting"),
        ("[failover]\nhold = '1s'", "everline.toml line 1: failover: there is no such setting"),
        ("a = \n", "everline.toml line 1: "),
        ("auth = 'trust'\nauth = 'trust'", "everline.toml line 2: duplicate key"),
        (
            "failover_hold = 1.5",
            "everline.toml line 1: failover_hold: wants text in quotes, found float",
        ),
        (
            "failover_hold = ['1s']",
            "everline.toml line 1: failover_hold: wants text in quotes, found array",
        ),
        (
            "accept_new_cluster = 'yes'",
            "everline.toml line 1: accept_new_cluster: wants true or false, found string",
        ),
        ("listen = [1]", "everline.toml line 1: listen: wants text in quotes, found integer"),
        ("users = 1", "everline.toml line 1: users: users are written as [[users]] tables"),
        (
            "[[users]]\nname='a'",
            "everline.toml line 1: users: a user wants password or password_file, or settings",
        ),
        (
            "[databases.shop]\npool_size_mx=1",
            "everline.toml line 2: pool_size_mx: there is no such key of a database; did you mean pool_size_max?",
        ),
        ("databases = 1", "everline.toml line 1: databases: a database is written as"),
        ("[databases]\nshop = 1", "everline.toml line 2: shop: a database is written as"),
        (
            "[[users]]\nname='a'\npassword='x'\npassword_file='y'",
            "everline.toml line 1: users: a user wants either",
        ),
        ("[[users]]\npassword='x'", "everline.toml line 1: users: a user has no name"),
        (
            "[[users]]\nname='a'\npasswort='x'",
            "everline.toml line 3: passwort: there is no such key of a user; did you mean password?",
        ),
        ("[[users]]\nname=''\npassword='x'", "everline.toml line 2: name: wants text in quotes"),
        (
            "[[users]]\nname='a'\npassword='x'\n\n[[users]]\nname='a'\npassword='y'",
            "everline.toml line 5: users: this user is named twice",
        ),
        (
            "[[users]]\nname='a'\npassword_file='/does/not/exist'",
            "everline.toml line 1: users: password_file /does/not/exist: No such file",
        ),
    ];
    for (text, expected) in cases {
        let met = read_text(text).unwrap_err();
        assert!(met.starts_with(expected), "\n{text}\nmet:      {met}\nexpected: {expected}");
    }
}

#[test]
fn a_password_file_counts_from_the_directory_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "s3cret\nsecond line\n").unwrap();
    let path = directory.path().join("everline.toml");
    std::fs::write(&path, "[[users]]\nname='a'\npassword_file='secret'\n").unwrap();
    let mut given = Given::default();
    read(&path, &mut given).unwrap();
    assert_eq!(given.users[0].secret.as_ref().unwrap().reveal(), "s3cret");
    let error = read(&directory.path().join("none.toml"), &mut given).unwrap_err();
    assert!(error.to_string().contains("none.toml: No such file"), "{error}");
}

proptest! {
    #[test]
    fn nothing_panics(text in "[a-z_=\\[\\]\"'0-9\\n .#{},ü-]{0,80}") {
        let _ = read_text(&text);
        let _ = read_text(&format!("[[users]]\n{text}"));
    }
}
