use proptest::prelude::*;

use super::{Knock, Method, Origin, decide, parse};

const FILE: &str = r#"
# type  database  user  address  method
local   all             postgres                        peer map=admins
local   sameuser        all                             trust
host    shop,"all"      app,batch       10.0.0.0/8      scram-sha-256
host    shop            "odd ""name"""  ::1/128         md5
hostssl all             all             0.0.0.0/0       cert  map=certs
host    old             all             192.0.2.0 255.255.255.0  password # why
hostssl all             safe            all             scram-sha-256 clientcert=verify-ca
hostnossl all           all             all             reject
host replication        all             all             trust
host    long,\
        longer          all             all             trust
"#;

fn method(database: &str, user: &str, from: &str, tls: bool) -> Option<Method> {
    let origin = if from == "unix" { Origin::Unix } else { Origin::Tcp(from.parse().unwrap()) };
    let rules = parse(FILE).unwrap();
    decide(&rules, &Knock { database, user, origin, tls }).map(|rule| rule.method)
}

#[test]
fn the_first_line_that_fits_decides() {
    assert_eq!(method("x", "postgres", "unix", false), Some(Method::Peer));
    assert_eq!(method("me", "me", "unix", false), Some(Method::Trust));
    assert_eq!(method("you", "me", "unix", false), None);
    assert_eq!(method("shop", "batch", "10.9.8.7", false), Some(Method::Scram));
    assert_eq!(method("all", "app", "10.9.8.7", true), Some(Method::Scram), "a quoted keyword");
    assert_eq!(method("other", "app", "10.9.8.7", true), Some(Method::Cert));
    assert_eq!(method("other", "app", "10.9.8.7", false), Some(Method::Reject));
    assert_eq!(method("shop", "odd \"name\"", "::1", false), Some(Method::Md5));
    assert_eq!(method("old", "me", "192.0.2.200", false), Some(Method::Password));
    assert_eq!(method("x", "safe", "::2", true), Some(Method::Scram));
    assert_eq!(method("longer", "me", "::2", true), Some(Method::Trust), "a continued line");
    assert_eq!(method("replication", "me", "::2", true), None, "a database of that name is none");
    let rules = parse(FILE).unwrap();
    assert_eq!(rules[0].map.as_deref(), Some("admins"));
    assert!(rules[6].certificate && !rules[2].certificate);
}

#[test]
fn what_cannot_be_decided_here_is_an_error_with_its_line() {
    for (line, problem) in [
        ("local all all", "line 1: has no method"),
        ("\nhost all all trust", "line 2: \"trust\" is no range of addresses"),
        ("host all all 10.0.0.1 trust", "line 1: \"trust\" is no mask"),
        ("host all all 10.0.0.0/40 trust", "line 1: \"10.0.0.0/40\" is no range"),
        ("host all all db.example trust", "line 1: \"db.example\" is no range"),
        ("host all all samenet trust", "line 1: \"samenet\" is not served"),
        ("host all +admins all trust", "line 1: \"+admins\": groups"),
        ("host @dbs all all trust", "line 1: \"@dbs\": groups"),
        ("host samerole all all trust", "line 1: \"samerole\": groups"),
        ("host all all all ldap", "line 1: the method \"ldap\" is not served"),
        ("host all all all peer", "line 1: \"peer\" is for local"),
        ("host all all all cert", "line 1: cert is for hostssl"),
        ("host all all all md5 clientcert=verify-ca", "line 1: clientcert is for hostssl"),
        ("hostgssenc all all all gss", "line 1: \"hostgssenc\" connections"),
        ("host all all all md5 pamservice=x", "line 1: the option \"pamservice=x\""),
        ("host \"all all all md5", "line 1: a quote is not closed"),
        ("host all, # x", "line 1: ends with a comma"),
        ("host all all all md5,trust", "line 1: has a list"),
    ] {
        let met = parse(line).unwrap_err();
        assert!(met.starts_with(problem), "{line}: {met}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "[a-z\",#\\\\ \n=/.0-9:+@]{0,120}") {
        let _ = parse(&text);
    }
}
