use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn surrounded<T>(
    variables: &[(&str, &str)],
    home: Option<&Path>,
    work: impl FnOnce(&Surroundings<'_>) -> T,
) -> T {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    work(&Surroundings {
        variable: &|name| variables.get(name).map(|value| (*value).to_owned()),
        home: home.map(Path::to_owned),
        user: Some("os".to_owned()),
        socket_directory: PathBuf::from("/sock"),
    })
}

fn read(text: &str) -> Result<Dsn, DsnError> {
    surrounded(&[], None, |surroundings| Dsn::parse(text, surroundings))
}

/// `user:password@host,host/database`, every host as it is dialled.
fn summary(dsn: &Dsn) -> String {
    let mut text = dsn.user.clone();
    if let Some(password) = &dsn.password {
        write!(text, ":{}", password.reveal()).unwrap();
    }
    for (index, host) in dsn.hosts.iter().enumerate() {
        write!(text, "{}{host}", if index == 0 { '@' } else { ',' }).unwrap();
        if let Some(address) = host.address {
            write!(text, "={address}").unwrap();
        }
    }
    write!(text, " {}", dsn.database).unwrap();
    text
}

/// Reads what stands left of the bar on each line and compares with what stands right of it: a
/// summary, or `!` and how the error begins.
fn check(table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (text, expected) = line.rsplit_once(" | ").unwrap();
        match (read(text.trim()), expected.strip_prefix('!')) {
            (Ok(dsn), None) => assert_eq!(summary(&dsn), expected, "{text}"),
            (Err(error), Some(expected)) => {
                assert!(error.to_string().starts_with(expected), "{text}: {error}");
            }
            (Ok(dsn), Some(_)) => panic!("{text} was read as {}", summary(&dsn)),
            (Err(error), None) => panic!("{text}: {error}"),
        }
    }
}

/// After libpq's own table (`src/interfaces/libpq/t/001_uri.pl`).
#[test]
fn uris_are_read_as_libpq_reads_them() {
    check("
        postgresql://uri-user:secret@host:12345/db        | uri-user:secret@host:12345 db
        postgresql://uri-user@host:12345/db               | uri-user@host:12345 db
        postgresql://uri-user@host/db                     | uri-user@host:5432 db
        postgresql://host:12345/db                        | os@host:12345 db
        postgresql://uri-user@host:12345/                 | uri-user@host:12345 uri-user
        postgresql://uri-user@host/                       | uri-user@host:5432 uri-user
        postgresql://uri-user@                            | uri-user@/sock/.s.PGSQL.5432 uri-user
        postgresql://:secret@host                         | os:secret@host:5432 os
        postgresql://host:12345                           | os@host:12345 os
        postgresql://                                     | os@/sock/.s.PGSQL.5432 os
        postgres:///db                                    | os@/sock/.s.PGSQL.5432 db
        postgresql://?hostaddr=127.0.0.1                  | os@127.0.0.1:5432=127.0.0.1 os
        postgresql://example.com?hostaddr=63.1.2.4        | os@example.com:5432=63.1.2.4 os
        postgresql://%68ost/                              | os@host:5432 os
        postgresql://host/db?user=uri-user&port=12345     | uri-user@host:12345 db
        postgresql://host/db?u%73er=someotheruser         | someotheruser@host:5432 db
        postgresql://host/db?u%7aer=someotheruser         | !uzer is not a parameter of the backend DSN; did you mean user?
        postgresql://host?                                | os@host:5432 os
        postgresql://host?database=x                      | os@host:5432 x
        postgresql://[::1]:12345/db                       | os@[::1]:12345 db
        postgresql://[::1]/db                             | os@[::1]:5432 db
        postgresql://[2001:db8::1234]/                    | os@[2001:db8::1234]:5432 os
        postgresql://[::1]                                | os@[::1]:5432 os
        postgres://uri-user@/db                           | uri-user@/sock/.s.PGSQL.5432 db
        postgres://?user=u&host=/path/to/dir              | u@/path/to/dir/.s.PGSQL.5432 u
        postgres://%2Fvar%2Flib%2Fpostgresql/dbname       | os@/var/lib/postgresql/.s.PGSQL.5432 dbname
        postgres://%2Fdir:1234/db                         | os@/dir/.s.PGSQL.1234 db
        postgresql://host1:1,host2:2/db                   | os@host1:1,host2:2 db
        postgresql://host1,host2,host3:7/db               | os@host1:5432,host2:5432,host3:7 db
        postgresql://host1,host2/db?port=9                | os@host1:9,host2:9 db
        postgresql://host1,,host3/db                      | os@host1:5432,/sock/.s.PGSQL.5432,host3:5432 db
        postgresql://[::1]:1,host:2,1.2.3.4/db            | os@[::1]:1,host:2,1.2.3.4:5432 db
        postgresql://host/db?host=other                   | os@other:5432 db
        postgresql://u:p%40ss%2Fw%25@host                 | u:p@ss/w%@host:5432 u
        postgresql://u:p?x#y@host                         | u:p?x#y@host:5432 u
        postgresql://u:a+b@host                           | u:a+b@host:5432 u
        postgresql://u%C3%BC@host                         | uü@host:5432 uü
    ");
}

#[test]
fn what_is_wrong_with_a_uri_is_said_without_showing_it() {
    check("
        postgresql://host/?some_param=1      | !some_param is not a parameter of the backend DSN
        postgresql://host/?sslmode           | !parameter 1 of the URI's query has no =
        postgresql://host/?a&port=1          | !parameter 1 of the URI's query has no =
        postgresql://host/?port=1=2          | !parameter 1 of the URI's query has more than one =
        postgresql://host/?port=1&           | !parameter 2 of the URI's query has no =
        postgresql://h%/                     | !a host in the URI has a % without two hexadecimal
        postgresql://u:%zz@h/                | !the password in the URI has a % without two hexadecimal
        postgresql://u:%4@h/                 | !the password in the URI has a % without two hexadecimal
        postgresql://u%00@h/                 | !the user in the URI holds %00
        postgresql://h/d%00b                 | !the database in the URI holds %00
        postgresql://u%FF@h/                 | !the user in the URI is not UTF-8
        postgresql://[::1                    | !an IPv6 address in the URI has no closing bracket
        postgresql://[]                      | !an IPv6 address in the URI is empty
        postgresql://[::1]z                  | !after the closing bracket of an IPv6 address
        postgresql://[200z:db8::1234]/       | !host (entry 1) holds a character that no host name has
        postgresql://host:12345a/            | !port (entry 1) has to be a number between 1 and 65535
        postgresql://host:0/                 | !port (entry 1) has to be a number between 1 and 65535
        postgresql://host:65536/             | !port (entry 1) has to be a number between 1 and 65535
        postgresql://host:-1/                | !port (entry 1) has to be a number between 1 and 65535
        postgresql://host:1,host:x/          | !port (entry 2) has to be a number between 1 and 65535
        postgresql://a,b/?port=1,2,3         | !host and port have different numbers of entries
        postgresql://a,b/?hostaddr=1.1.1.1   | !host and hostaddr have different numbers of entries
        postgresql://a/?hostaddr=b           | !hostaddr has to be an IP address
        postgresql://ho st/                  | !host (entry 1) holds a character
        postgresql://%40abstract/            | !host (entry 1) begins with @
        postgresql://u:pa/ss@host/db         | !port (entry 1) has to be a number between 1 and 65535; in a URI
        postgresql://u:pa@ss@host/db         | !host (entry 1) holds a character
        postgre://host                       | !the scheme of the backend DSN is expected to be postgres://, postgresql:// or stolon+consul+http(s)://, not postgre://
        stolon+consul+http://h/c             | !the scheme of the backend DSN is expected to be postgres://, postgresql:// or stolon+consul+http(s)://, not stolon+consul+http://
        Postgres://host                      | !the scheme of the backend DSN is expected to be postgres://, postgresql:// or stolon+consul+http(s)://, not Postgres://
        host                                 | !the scheme of the backend DSN is expected to be postgres://, postgresql:// or stolon+consul+http(s)://
    ");
    for text in [
        "postgres://u:hush/me@host/db",
        "postgres://u:hush@me@host/db",
        "postgres://u:hush%@host/db",
        "postgres://u:x?hush=1@host/db/?y",
        "postgres://u:x/y?hush=1@host/db",
        "postgres://u/x?y&hush@host/db",
        "host=h password=my hush",
        "host=h password=my hush=x",
        "host=h password='hush",
        "hush://x",
        "hush",
    ] {
        let error = read(text).map(|dsn| summary(&dsn));
        let shown = error.as_ref().is_err_and(|error| error.to_string().contains("hush"));
        assert!(!shown || text.starts_with("hush://"), "{text}: {error:?}");
    }
}

#[test]
fn keywords_and_values_are_read_as_libpq_reads_them() {
    check(
        r"
        host=h port=1 user=u dbname=d               | u@h:1 d
        host = h  user	=	u                         | u@h:5432 u
        user=u password='a b\'c\\d' host=h          | u:a b'c\d@h:5432 u
        user=u password=a\ b\\ host=h               | u:a b\@h:5432 u
        user=u password='' host=h                   | u@h:5432 u
        user='' host=h                              | os@h:5432 os
        user=u host=a,b port=1,2                    | u@a:1,b:2 u
        user=u host=a,b,c port=7                    | u@a:7,b:7,c:7 u
        user=u host=''                              | u@/sock/.s.PGSQL.5432 u
        user=u host=/dir                            | u@/dir/.s.PGSQL.5432 u
        user=u host=h user=v                        | v@h:5432 v
        user=u host=h options='a://b'               | u@h:5432 u
        user=u password=x host                      | !parameter 3 of the connection string has no =
        user=u password='x                          | !parameter 2 of the connection string has no closing quote
        user=u hots=h                               | !hots is not a parameter of the backend DSN; did you mean host?
        user=u password=my se=cret                  | !parameter 3 of the connection string is not a parameter
        =x                                          | !parameter 1 of the connection string is not a parameter
    ",
    );
}

#[test]
fn parameters_that_are_not_done_are_refused_by_name() {
    check("
        postgres://h?replication=true       | !the DSN parameter replication is not supported
        postgres://h?sslcrl=x               | !the DSN parameter sslcrl is not supported: revocation
        postgres://h?service=x              | !the DSN parameter service is not supported: write
        postgres://h?gssencmode=require     | !gssencmode has to be one of disable, prefer
        postgres://h?gssencmode=disable     | os@h:5432 os
        postgres://h?sslcompression=1       | os@h:5432 os
        postgres://h?target_session_attrs=standby | !the DSN parameter target_session_attrs is not supported: Everline follows the leader
        postgres://h?target_session_attrs=x | !target_session_attrs has to be one of any, read-write, primary
        postgres://h?sslmode=on             | !sslmode has to be one of disable, allow
        postgres://h?ssl=true               | os@h:5432 os
        postgres://h?ssl=1                  | !ssl is not a parameter
        postgres://h?channel_binding=yes    | !channel_binding has to be one of disable, prefer, require
        postgres://h?connect_timeout=5s     | !connect_timeout has to be a whole number
        postgres://h?connect_timeout=99999999999 | !connect_timeout has to be a whole number
        postgres://h?require_auth=gss       | !require_auth leaves no method that Everline knows
        postgres://h?require_auth=md5,!none | !require_auth mixes methods with and without a !
        postgres://h?require_auth=x         | !require_auth knows the methods
        postgres://h?sslmode=verify-full    | !sslmode=verify-ca and verify-full need sslrootcert
        postgres://h?sslrootcert=system&sslmode=require | !sslrootcert=system wants sslmode=verify-full
        postgres://h?sslkey=x               | !sslkey is given without sslcert
        postgres://h?sslcert=x              | !sslcert is given without sslkey
        postgres://h?sslnegotiation=direct  | !sslnegotiation=direct wants sslmode=require
        postgres://h?ssl_min_protocol_version=SSLv3 | !ssl_min_protocol_version has to be TLSv1.2 or TLSv1.3
        postgres://h?ssl_max_protocol_version=TLSv1 | !ssl_max_protocol_version has to be
        postgres://h?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2 | !ssl_min_protocol_version is higher
        postgres://h?min_protocol_version=3.2 | !min_protocol_version has to be one of 3.0
        postgres://h?passfile=/does/not/exist | !passfile /does/not/exist: No such file
    ");
}

#[test]
fn values_reach_their_types() {
    let dsn = read(
        "postgres://u@h/d?connect_timeout=7&application_name=a%20b&options=-c%20x%3D1\
         &client_encoding=auto&keepalives_idle=11&keepalives_interval=12&keepalives_count=13\
         &tcp_user_timeout=1400&target_session_attrs=read-write&channel_binding=require\
         &require_auth=!password&sslrootcert=/r.crt&sslmode=verify-ca&sslsni=0\
         &ssl_min_protocol_version=tlsv1.3&fallback_application_name=c",
    )
    .unwrap();
    assert_eq!(dsn.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(dsn.application_name.as_deref(), Some("a b"));
    assert_eq!(dsn.settings, [("options".to_owned(), "-c x=1".to_owned())]);
    let idle = Some(Duration::from_secs(11));
    let interval = Some(Duration::from_secs(12));
    assert_eq!(dsn.keepalive, Keepalive::On { idle, interval, count: Some(13) });
    assert_eq!(dsn.tcp_user_timeout, Some(Duration::from_millis(1400)));
    assert_eq!(dsn.target_session_attrs, TargetSessionAttrs::ReadWrite);
    assert_eq!(dsn.channel_binding, ChannelBinding::Require);
    assert!(dsn.require_auth.accepts(AuthMethods::NONE));
    assert!(!dsn.require_auth.accepts(AuthMethods::PASSWORD));
    assert_eq!(dsn.ssl.root_cert, RootCert::File("/r.crt".into()));
    assert_eq!((dsn.ssl.mode, dsn.ssl.min_version), (SslMode::VerifyCa, TlsVersion::V1_3));
    assert!(!dsn.ssl.server_name);

    let dsn = read("postgres://h?connect_timeout=0&tcp_user_timeout=0&keepalives=0").unwrap();
    assert_eq!((dsn.connect_timeout, dsn.tcp_user_timeout), (None, None));
    assert_eq!(dsn.keepalive, Keepalive::Off);
    assert_eq!(dsn.ssl.mode, SslMode::Prefer);
    let system = read("postgres://h?sslrootcert=system").unwrap();
    assert_eq!(system.ssl.mode, SslMode::VerifyFull);
    let long = read("postgres://h?connect_timeout=2000000000").unwrap();
    assert_eq!(long.connect_timeout, Some(Duration::from_hours(24)));
}

#[test]
fn the_environment_fills_in_what_the_dsn_leaves_out() {
    let variables = [
        ("PGHOST", "eh1,eh2"),
        ("PGPORT", "77"),
        ("PGUSER", "eu"),
        ("PGPASSWORD", "ep"),
        ("PGDATABASE", "ed"),
        ("PGSSLMODE", "require"),
        ("PGAPPNAME", "ea"),
        ("PGHOSTADDR", ""),
        ("PGCLIENTENCODING", "LATIN1"),
    ];
    let read = |text| surrounded(&variables, None, |s| Dsn::parse(text, s)).unwrap();
    let dsn = read("postgres://");
    assert_eq!(summary(&dsn), "eu:ep@eh1:77,eh2:77 ed");
    assert_eq!(dsn.ssl.mode, SslMode::Require);
    assert_eq!(dsn.application_name.as_deref(), Some("ea"));
    assert_eq!(dsn.settings, []);
    let dsn = read("postgres://u:p@h:1/d?sslmode=disable");
    assert_eq!(summary(&dsn), "u:p@h:1 d");
    assert_eq!(dsn.ssl.mode, SslMode::Disable);
    // An address belongs to the host that the environment names, not to the DSN's.
    let variables = [("PGHOSTADDR", "1.2.3.4")];
    let read = |text| surrounded(&variables, None, |s| Dsn::parse(text, s)).unwrap();
    assert_eq!(summary(&read("postgres://h")), "os@h:5432 os");
    assert_eq!(summary(&read("postgres://")), "os@1.2.3.4:5432=1.2.3.4 os");

    let service = [("PGSERVICE", "x")];
    let error = surrounded(&service, None, |s| Dsn::parse("postgres://h", s)).unwrap_err();
    assert!(error.to_string().starts_with("the DSN parameter PGSERVICE is not supported"));
}

#[test]
fn files_in_the_home_directory_are_found() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let pgpass = home.path().join(".pgpass");
    std::fs::write(&pgpass, "h:5432:*:u:from-file\n").unwrap();
    std::fs::set_permissions(&pgpass, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(home.path().join(".postgresql")).unwrap();
    std::fs::write(home.path().join(".postgresql/root.crt"), "").unwrap();
    let dsn = surrounded(&[], Some(home.path()), |s| Dsn::parse("postgres://u@h/d", s)).unwrap();
    assert_eq!(dsn.password, None);
    assert_eq!(dsn.own_password().unwrap().reveal(), "from-file");
    assert_eq!(dsn.password_for("h", 5432, "d", "other"), None);
    assert!(matches!(dsn.ssl.root_cert, RootCert::File(_)));
    // A password of the DSN's own is for its own user alone.
    let own =
        surrounded(&[], Some(home.path()), |s| Dsn::parse("postgres://v:own@h/d", s)).unwrap();
    assert_eq!(own.password_for("h", 5432, "d", "v").unwrap().reveal(), "own");
    assert_eq!(own.password_for("h", 5432, "d", "u").unwrap().reveal(), "from-file");

    std::fs::set_permissions(&pgpass, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = surrounded(&[], Some(home.path()), |s| Dsn::parse("postgres://u@h/d", s));
    assert!(error.unwrap_err().to_string().contains("its permissions should be 0600"));
}

#[test]
fn sizes_are_bounded() {
    let hosts = vec!["h"; HOSTS_MAX + 1].join(",");
    let error = read(&format!("postgres://{hosts}")).unwrap_err();
    assert_eq!(error.to_string(), "host names more than 64 hosts");
    let long = format!("postgres://{}", "x".repeat(DSN_BYTES_MAX));
    assert_eq!(read(&long).unwrap_err(), DsnError::TooLong { max: DSN_BYTES_MAX });
    assert!(read(&format!("postgres://{}", "x".repeat(300))).is_err());
    assert!(read(&format!("postgres://%2F{}", "x".repeat(100))).is_err());
    assert!(read("postgres://h\0").is_err());
}

#[test]
fn the_nearest_name_is_near() {
    let names = ["host", "hostaddr", "port", "sslmode"];
    assert_eq!(nearest("hsot", names), Some("host"));
    assert_eq!(nearest("SSLMODE", names), Some("sslmode"));
    assert_eq!(nearest("ssl_mode", names), Some("sslmode"));
    assert_eq!(nearest("zebra", names), None);
    assert_eq!(nearest("", names), None);
    assert_eq!(nearest(&"x".repeat(100_000), names), None);
}

proptest! {
    #[test]
    fn nothing_panics(text in ".{0,60}") {
        for form in [text.clone(), format!("postgres://{text}"), format!("host={text}")] {
            let _ = read(&form);
        }
    }

    #[test]
    fn hostile_uris_do_not_panic(text in "[a-z@:/?&=%,\\[\\]0-9'\\\\ +.-]{0,60}") {
        let _ = read(&format!("postgres://{text}"));
        let _ = read(&format!("user={text}"));
        let _ = PassFile::parse(&text);
    }

    #[test]
    fn what_is_encoded_comes_back(user in "[^\0]{1,20}", password in "[^\0]{1,20}") {
        let encode = |text: &str| -> String {
            text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"))
        };
        let text = format!("postgres://{}:{}@h", encode(&user), encode(&password));
        let dsn = read(&text).unwrap();
        prop_assert_eq!(&dsn.user, &user);
        let read = dsn.password.unwrap();
        prop_assert_eq!(read.reveal(), password);
    }

    #[test]
    fn what_is_quoted_comes_back(password in "[^\0]{1,20}") {
        let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
        let dsn = read(&format!("user=u password='{quoted}'")).unwrap();
        let read = dsn.password.unwrap();
        prop_assert_eq!(read.reveal(), password);
    }
}
