use std::path::Path;

use super::*;

fn parse_in(text: &str, variables: &[(&str, &str)]) -> Result<(Stolon, Dsn), String> {
    let surroundings = Surroundings {
        variable: &|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        },
        home: None,
        user: Some("me".to_owned()),
        socket_directory: "/tmp".into(),
    };
    let parsed = Stolon::parse(text, &surroundings).map_err(|error| error.to_string())?;
    Ok(parsed.expect("a stolon DSN"))
}

fn parse(text: &str) -> Result<(Stolon, Dsn), String> {
    parse_in(text, &[])
}

#[test]
fn every_part_goes_where_it_belongs() {
    let (stolon, dsn) = parse(
        "stolon+consul+https://app:s%40crt@c1,c2:8501,[::1]:8502/my%20cluster?pgdatabase=shop\
         &pgsslmode=require&pgapplication_name=x&prefix=/custom/pfx/&token=abc-1&cacert=/ca.pem\
         &cert=/c.pem&key=/k.pem&servername=server.dc1.consul",
    )
    .unwrap();
    let agents: Vec<String> = stolon.agents.iter().map(ToString::to_string).collect();
    assert_eq!(agents, ["c1:8500", "c2:8501", "[::1]:8502"]);
    assert_eq!((stolon.prefix.as_str(), stolon.cluster.as_str()), ("custom/pfx", "my cluster"));
    assert_eq!(stolon.token.as_ref().unwrap().reveal(), "abc-1");
    let tls = stolon.tls.as_ref().unwrap();
    assert_eq!(tls.ca.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(tls.identity, Some(("/c.pem".into(), "/k.pem".into())));
    assert_eq!(tls.server_name.as_deref(), Some("server.dc1.consul"));
    assert_eq!((dsn.user.as_str(), dsn.database.as_str()), ("app", "shop"));
    assert_eq!(dsn.own_password().unwrap().reveal(), "s@crt");
    assert_eq!(dsn.ssl.mode, crate::config::dsn::SslMode::Require);
    assert!(dsn.hosts.is_empty());
    assert!(!format!("{stolon:?}").contains("abc-1"));
}

#[test]
fn the_defaults_are_gels() {
    for text in [
        "stolon+consul:///main",
        "stolon+consul+http:///main",
        "stolon+consul+https:///main",
        "stolon+consul+http://127.0.0.1/main",
        "stolon+consul+http://127.0.0.1:8500/main?",
    ] {
        let (stolon, dsn) = parse(text).unwrap();
        assert_eq!(stolon.agents, [HostPort::new("127.0.0.1".parse_host(), 8500)], "{text}");
        assert_eq!((stolon.prefix.as_str(), stolon.cluster.as_str()), ("stolon/cluster", "main"));
        assert_eq!(stolon.tls.is_some(), text.contains("https"));
        assert_eq!((dsn.user.as_str(), dsn.database.as_str()), ("me", "me"));
    }
}

trait ParseHost {
    fn parse_host(&self) -> Host;
}

impl ParseHost for str {
    fn parse_host(&self) -> Host {
        Host::parse(self).unwrap()
    }
}

#[test]
fn the_last_of_a_repeated_parameter_counts_and_the_environment_fills_in() {
    let text = "stolon+consul://u@/main?pguser=first&pguser=last";
    let variables = [("PGPASSWORD", "env"), ("PGHOST", "elsewhere"), ("PGPORT", "99")];
    let (stolon, dsn) = parse_in(text, &variables).unwrap();
    assert_eq!(dsn.user, "last");
    assert_eq!(dsn.own_password().unwrap().reveal(), "env");
    assert!(dsn.hosts.is_empty());
    assert_eq!(stolon.agents[0].to_string(), "127.0.0.1:8500");
}

#[test]
fn names_are_one_segment_of_the_path() {
    for (name, path) in [
        ("main", "stolon/cluster/main/clusterdata"),
        ("a%20b%3Fc%23d", "stolon/cluster/a%20b%3Fc%23d/clusterdata"),
        ("%C3%A4%25", "stolon/cluster/%C3%A4%25/clusterdata"),
        ("main/", "stolon/cluster/main/clusterdata"),
    ] {
        let (stolon, _) = parse(&format!("stolon+consul:///{name}")).unwrap();
        assert_eq!(stolon.key("clusterdata"), path);
    }
}

#[test]
fn each_mistake_is_one_sentence() {
    let cases = [
        ("stolon+etcdv3://h/c", "Stolon's store has to be consul"),
        ("stolon://h/c", "Stolon's store has to be consul"),
        ("stolon+consul+ftp://h/c", "Consul is spoken to by"),
        ("stolon+consul+http+x://h/c", "Consul is spoken to by"),
        ("stolon+consul+http:/h/c?pguser=u", "a stolon DSN begins with stolon+consul+http://"),
        ("stolon:h/c", "a stolon DSN begins with stolon+consul+http://"),
        ("stolon+consul://h", "wants the cluster's name as its path"),
        ("stolon+consul://h/", "wants the cluster's name as its path"),
        ("stolon+consul://h/a/b", "may not hold /"),
        ("stolon+consul://h/a%2Fb", "may not hold /"),
        ("stolon+consul://h/..", "may not hold /"),
        ("stolon+consul://h/a%0Ab", "control characters"),
        ("stolon+consul://h/a%zz", "% without two hexadecimal digits"),
        ("stolon+consul://h/a%8", "% without two hexadecimal digits"),
        ("stolon+consul://h/a%00", "the cluster's name holds %00"),
        ("stolon+consul://h/a%FF", "the cluster's name is not UTF-8"),
        ("stolon+consul://h?pguser=a", "wants the cluster's name as its path"),
        ("stolon+consul://u@d@h/a", "holds an @; within the user or the password"),
        ("stolon+consul://h%zz/a", "a host in the URI has a %"),
        ("stolon+consul://[::1/a", "has no closing bracket"),
        ("stolon+consul://::1/a", "written in brackets"),
        ("stolon+consul://a b/a", "a character that no host name has"),
        ("stolon+consul://,h/a", "(number 1) is empty"),
        ("stolon+consul://h,/a", "(number 2) is empty"),
        ("stolon+consul://h,i:0/a", "(number 2) has a port that is no number"),
        ("stolon+consul://h:65536/a", "the Consul agent in the stolon DSN has a port that is no"),
        ("stolon+consul://u:a%@h/a", "the password in the URI has a %"),
        ("stolon+consul://%2Ftmp/a", "is a directory"),
        ("stolon+consul://h/a?pghost=x", "the leader's address is what Stolon says"),
        ("stolon+consul://h/a?pgport=1", "the leader's address is what Stolon says"),
        (
            "stolon+consul://h/a?pgusr=x",
            "pgusr is not a parameter of the backend DSN; did you mean",
        ),
        ("stolon+consul://h/a?pg=x", "pg is not a parameter"),
        ("stolon+consul://h/a?user=x", "did you mean pguser?"),
        ("stolon+consul://h/a?database=x", "did you mean pgdatabase?"),
        ("stolon+consul://h/a?sslmode=x", "did you mean pgsslmode?"),
        ("stolon+consul://h/a?pgconnect_timeout=soon", "connect_timeout has to be a whole number"),
        ("stolon+consul://h/a?pgservice=x", "the DSN parameter pgservice is not supported"),
        ("stolon+consul://h/a?pguser=%a", "parameter 1 of the URI's query has a %"),
        ("stolon+consul+https://h/a?cacert=", "cacert has to be the path of a PEM file"),
        ("stolon+consul+https://h/a?key=&cert=a", "key has to be the path of a PEM file"),
        ("stolon+consul+https://h/a?key=k", "cert and key in the stolon DSN belong together"),
        ("stolon+consul+https://h/a?servername=", "servername has to be a host name"),
        ("stolon+consul+https://h/a?servername=a%20b", "servername has to be a host name"),
        ("stolon+consul+https://a..b/a", "say with servername="),
        ("stolon+consul://h/a?tokn=x", "did you mean token?"),
        ("stolon+consul://h/a?token", "parameter 1 of the URI's query has no ="),
        ("stolon+consul://h/a?token=", "token has to be"),
        ("stolon+consul://h/a?token=a%0Ab", "token has to be"),
        ("stolon+consul://h/a?prefix=a//b", "prefix has to be a path"),
        ("stolon+consul://h/a?prefix=../b", "prefix has to be a path"),
        ("stolon+consul://h/a?cacert=x", "cacert is of use with stolon+consul+https:// only"),
        ("stolon+consul+https://h/a?cert=x", "cert and key in the stolon DSN belong together"),
        ("stolon+consul+https://h/a?pgsslmode=maybe", "sslmode has to be one of"),
    ];
    for (text, says) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.contains(says), "{text}: {error}");
        assert!(!error.contains('\n'), "{text}: {error}");
    }
    let long = "a".repeat(257);
    let error = parse(&format!("stolon+consul://h/{long}")).unwrap_err();
    assert!(error.contains("longer than 256 bytes"), "{error}");
}

#[test]
fn a_name_that_nobody_knows_is_named_as_it_was_written() {
    let error = parse("stolon+consul://h/a?pgbogus=1").unwrap_err();
    assert_eq!(error, "pgbogus is not a parameter of the backend DSN");
}

#[test]
fn a_password_with_a_slash_or_an_at_is_hinted_at_and_never_shown() {
    for text in [
        "stolon+consul://app:se/cret@h/a",
        "stolon+consul://app:se@cret:x@h/a",
        "stolon+consul://app:1/cret@h/a",
        "stolon+consul://app:1/a?cret=x@h/a",
        "stolon+consul://app:1/a?pgcret=x@h/a",
    ] {
        let error = parse(text).expect_err(text);
        assert!(!error.contains("cret"), "{error}");
        let says = ["%40", "parameter 1 of the URI's query is not"];
        assert!(says.iter().any(|says| error.contains(says)), "{text}: {error}");
    }
    let error = parse("stolon+consul://h:x/a").unwrap_err();
    assert!(error.ends_with("no number between 1 and 65535"), "{error}");
}

#[test]
fn many_agents_are_bounded() {
    let agents = |count: usize| vec!["h"; count].join(",");
    assert_eq!(parse(&format!("stolon+consul://{}/a", agents(64))).unwrap().0.agents.len(), 64);
    let error = parse(&format!("stolon+consul://{}/a", agents(65))).unwrap_err();
    assert!(error.contains("more than 64 Consul agents"), "{error}");
}
