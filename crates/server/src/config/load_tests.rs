use std::collections::BTreeMap;
use std::path::PathBuf;

use everline_wire::sqlstate::SqlState;

use super::*;
use crate::config::PoolMode;
use crate::config::settings::{SETTINGS, find};

const DSN: &str = "postgres://app:secret@db.example/app";

/// Loads from flags, variables and the text of a file.
fn load(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> Result<Config, String> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let surroundings = Surroundings {
        variable: &|name| variables.get(name).map(|value| (*value).to_owned()),
        home: None,
        user: None,
        socket_directory: PathBuf::from("/tmp"),
    };
    let mut given = Given::default();
    for (key, value) in flags {
        given.add_flag(find(key).unwrap(), vec![(*value).to_owned()]);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("everline.toml");
    std::fs::write(&path, file).unwrap();
    let place = path.display().to_string();
    Config::load(given, Some(&path), &surroundings)
        .map_err(|error| error.to_string().replace(&place, "FILE"))
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = load(&[("backend_dsn", DSN)], &[], "").unwrap();
    assert_eq!(config.backend.ha, HaMode::Fixed);
    assert_eq!(config.backend.dial_timeout, Duration::from_secs(5));
    assert_eq!(config.frontend.listen[0].to_string(), "127.0.0.1:6432");
    assert_eq!(config.frontend.auth.door, Door::One(hba::Method::Scram));
    assert_eq!(config.http_listen.unwrap().to_string(), "127.0.0.1:6433");
    assert_eq!(config.pool.connections_max, 50);
    assert_eq!(config.pool.sharing.all.query_wait, Duration::from_mins(2));
    assert_eq!(config.failover.hold, Duration::from_secs(5));
    assert_eq!(config.failover.unknown, SqlState::TRANSACTION_RESOLUTION_UNKNOWN);
    assert_eq!(config.log.filter, "info");
    let adaptive = load(&[("backend_dsn", DSN), ("enable_backend_adaptive_ha", "true")], &[], "");
    let disconnect_percent = Percent::new(60).unwrap();
    let unhealthy_min = Duration::from_secs(30);
    assert_eq!(
        adaptive.unwrap().backend.ha,
        HaMode::Adaptive { disconnect_percent, unhealthy_min }
    );
}

#[test]
fn flags_win_over_the_environment_that_over_the_file_that_over_the_default() {
    let file =
        "failover_hold = '3s'\nclients_max = 3\nworkers = 3\nbackend_dsn = 'postgres://f:p@f'";
    let variables = [
        ("EVERLINE_FAILOVER_HOLD", "2s"),
        ("EVERLINE_CLIENTS_MAX", "2"),
        ("EVERLINE_WORKERS", ""),
        ("EVERLINE_LISTEN", "127.0.0.1:1,127.0.0.1:2"),
    ];
    let config = load(&[("failover_hold", "1s")], &variables, file).unwrap();
    assert_eq!(config.failover.hold, Duration::from_secs(1));
    assert_eq!(config.frontend.clients_max, 2);
    assert_eq!(config.workers, 3);
    assert_eq!(config.frontend.listen.len(), 2);
    assert_eq!(config.backend.dsn.user, "f");
}

#[test]
fn the_names_that_gel_documents_are_accepted() {
    let variables = [
        ("GEL_SERVER_BACKEND_DSN", DSN),
        ("EDGEDB_SERVER_BACKEND_DSN", "postgres://other:x@other"),
        ("EVERLINE_ENABLE_BACKEND_ADAPTIVE_HA", "1"),
        ("GEL_SERVER_BACKEND_ADAPTIVE_HA_DISCONNECT_PERCENT", "75"),
        ("EDGEDB_SERVER_BACKEND_ADAPTIVE_HA_UNHEALTHY_MIN_TIME", "12"),
        ("GEL_SERVER_MAX_BACKEND_CONNECTIONS", "17"),
    ];
    let config = load(&[], &variables, "").unwrap();
    assert_eq!(config.backend.dsn.user, "app");
    let disconnect_percent = Percent::new(75).unwrap();
    let unhealthy_min = Duration::from_secs(12);
    assert_eq!(config.backend.ha, HaMode::Adaptive { disconnect_percent, unhealthy_min });
    assert_eq!(config.pool.connections_max, 17);
}

fn each_is_one_sentence(cases: &[(&str, &str, &str)]) {
    for (key, value, expected) in cases {
        let mut flags = vec![(*key, *value)];
        if *key != "backend_dsn" {
            flags.push(("backend_dsn", DSN));
        }
        let met = load(&flags, &[], "").unwrap_err();
        assert!(met.starts_with(expected), "\nmet:      {met}\nexpected: {expected}");
        assert!(!met.contains("hush") && !met.contains('\n'), "{met}");
    }
}

#[test]
fn what_clients_are_told_is_checked_too() {
    each_is_one_sentence(&[
        (
            "retryable_sqlstate",
            "57P01",
            "--retryable-sqlstate: \"57P01\" would make connection pools throw",
        ),
        (
            "sqlstate_preset",
            "django",
            "--sqlstate-preset: \"django\" has to be default or rails or",
        ),
        (
            "retryable_message",
            "the server went away",
            "--retryable-message: \"the server went away\" has \"went away\" in it",
        ),
        (
            "commit_in_lost_transaction",
            "ignore",
            "--commit-in-lost-transaction: \"ignore\" has to be error or rollback",
        ),
        ("restart_savepoint", "maybe", "--restart-savepoint: \"maybe\" has to be true or false"),
        ("held_statements_max", "0", "--held-statements-max: \"0\""),
        (
            "retryable_sqlstate",
            "08007",
            "--retryable-sqlstate: 08007 would be both retryable_sqlstate and",
        ),
        ("unknown_sqlstate", "25006", "--unknown-sqlstate: \"25006\" would make drivers repeat"),
        ("retryable_sqlstate", "57P03", "--retryable-sqlstate: \"57P03\" would make"),
        ("in_transaction_sqlstate", "53300", "--in-transaction-sqlstate: \"53300\" would make"),
        ("unknown_sqlstate", "40001", "--unknown-sqlstate: \"40001\" would make drivers repeat"),
        ("unknown_sqlstate", "40P01", "--unknown-sqlstate: \"40P01\" would make drivers repeat"),
        ("startup_sqlstate", "hello", "--startup-sqlstate: \"hello\" has to be an SQLSTATE"),
    ]);
}

#[test]
fn every_mistake_is_one_sentence_that_names_its_place() {
    let cases: &[(&str, &str, &str)] = &[
        ("failover_hold", "5", "--failover-hold: \"5\" has to be a time with its unit"),
        ("failover_hold", "2days", "--failover-hold: \"2days\" has to be one day at most"),
        ("heartbeat_interval", "0s", "--heartbeat-interval: \"0s\" has to be longer than nothing"),
        (
            "backend_adaptive_ha_disconnect_percent",
            "0",
            "--backend-adaptive-ha-disconnect-percent: \"0\" has to be a whole percentage",
        ),
        (
            "backend_adaptive_ha_disconnect_percent",
            "101",
            "--backend-adaptive-ha-disconnect-percent: \"101\" has to be a whole percentage",
        ),
        (
            "max_backend_connections",
            "1",
            "--max-backend-connections: \"1\" has to be a number from 2 to",
        ),
        ("listen", "here", "--listen: \"here\" has to be an IP address with a port"),
        ("listen", "127.0.0.1:1,127.0.0.1:1", "--listen: \"127.0.0.1:1\" is given twice"),
        ("http_listen", "on", "--http-listen: \"on\" has to be an IP address"),
        ("pool_mode", "all", "--pool-mode: \"all\" has to be transaction or session or statement"),
        ("auth", "kerberos", "--auth: \"kerberos\" has to be scram-sha-256 or md5"),
        ("resolver", "1.1.1.1", "--resolver: \"1.1.1.1\" has to be system or the ADDRESS:PORT"),
        ("tls_cert", "a.pem", "--tls-cert: wants tls_key beside it"),
        ("tls_key", "a.pem", "--tls-key: wants tls_cert beside it"),
        ("log", "loud", "--log: \"loud\" has to be error, warn"),
        ("log_format", "xml", "--log-format: \"xml\" has to be human or json"),
        (
            "backend_dsn",
            "mysql://u:hush@h",
            "--backend-dsn: the scheme of the backend DSN is expected to be postgres://",
        ),
        (
            "backend_dsn",
            "postgres://u:hush@h?sslmod=require",
            "--backend-dsn: sslmod is not a parameter of the backend DSN; did you mean sslmode?",
        ),
        (
            "workers",
            &"9".repeat(100),
            "--workers: \"999999999999999999999999999999999999999999999999999999999999…\" has",
        ),
    ];
    each_is_one_sentence(cases);
    let met = load(&[], &[("EVERLINE_BACKEND_DSN", DSN)], "\nworkers = 'x'").unwrap_err();
    assert!(met.starts_with("FILE line 2: workers: \"x\" has to be a number"), "{met}");
    let met = load(&[], &[("EDGEDB_SERVER_BACKEND_DSN", "x")], "").unwrap_err();
    assert!(met.starts_with("EDGEDB_SERVER_BACKEND_DSN: the scheme"), "{met}");
    assert!(load(&[], &[], "").unwrap_err().starts_with("no backend is given"));
}

#[test]
fn codes_that_are_safe_are_taken() {
    let flags = [
        ("backend_dsn", DSN),
        ("retryable_sqlstate", "40P01"),
        ("in_transaction_sqlstate", "08006"),
        ("unknown_sqlstate", "40003"),
        ("startup_sqlstate", "08001"),
    ];
    assert_eq!(load(&flags, &[], "").unwrap().failover.unknown.as_str(), "40003");
}

#[test]
fn a_preset_stands_where_no_code_is_given() {
    for (preset, given, expected) in [
        ("default", None, "40001 40001 08007"),
        ("rails", None, "40P01 40P01 08007"),
        ("cockroach", None, "40001 40001 40003"),
        ("disconnect", None, "08006 08006 08007"),
        ("rails", Some(("unknown_sqlstate", "40003")), "40P01 40P01 40003"),
        ("rails", Some(("in_transaction_sqlstate", "40001")), "40P01 40001 08007"),
    ] {
        let mut flags = vec![("backend_dsn", DSN), ("sqlstate_preset", preset)];
        flags.extend(given);
        let failover = load(&flags, &[], "").unwrap().failover;
        let codes = [failover.retryable, failover.in_transaction, failover.unknown];
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        assert_eq!(codes.join(" "), expected, "{preset} {given:?}");
    }
    // What the presets avoid is refused when it is brought about by hand.
    let flags =
        [("backend_dsn", DSN), ("sqlstate_preset", "disconnect"), ("unknown_sqlstate", "08006")];
    let met = load(&flags, &[], "").unwrap_err();
    assert!(met.starts_with("--unknown-sqlstate: 08006 would be both"), "{met}");
}

#[test]
fn who_may_log_in() {
    let open = "postgres://app@db.example/app";
    let met = load(&[("backend_dsn", open)], &[], "").unwrap_err();
    assert!(met.starts_with("nobody could log in"), "{met}");
    assert!(load(&[("backend_dsn", open), ("auth", "trust")], &[], "").is_ok());
    assert!(load(&[("backend_dsn", open)], &[("PGPASSWORD", "x")], "").is_ok());

    let verifier = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let users =
        format!("[[users]]\nname='a'\npassword='b'\n[[users]]\nname='c'\npassword='{verifier}'");
    let users = load(&[("backend_dsn", open)], &[], &users).unwrap().frontend.auth.users;
    assert!(matches!(users[0].credential, Credential::Password(_)));
    assert!(matches!(users[1].credential, Credential::Verifier(_)));
    assert!(!format!("{users:?}").contains("AAAA"));

    let md5 = "[[users]]\nname='a'\npassword='md512345678901234567890123456789012'";
    let met = load(&[("backend_dsn", open)], &[], md5).unwrap_err();
    assert!(met.contains("an MD5 hash cannot check a SCRAM login"), "{met}");
    let met =
        load(&[("backend_dsn", open)], &[], "[[users]]\nname='a'\npassword='SCRAM-SHA-256$x'");
    assert!(met.unwrap_err().contains("verifier is malformed"));
}

#[test]
fn the_dial_timeout_is_the_dsns_unless_it_is_set() {
    let dsn = "postgres://app:secret@db.example/app?connect_timeout=7";
    let timeout = |flags: &[(&str, &str)]| load(flags, &[], "").unwrap().backend.dial_timeout;
    assert_eq!(timeout(&[("backend_dsn", dsn)]), Duration::from_secs(7));
    assert_eq!(timeout(&[("backend_dsn", dsn), ("dial_timeout", "2s")]), Duration::from_secs(2));
}

#[test]
fn paths_in_the_file_count_from_its_directory() {
    let file = "tls_cert = 'a.pem'\ntls_key = '/b.pem'";
    let tls = load(&[("backend_dsn", DSN)], &[], file).unwrap().frontend.tls.unwrap();
    assert!(tls.cert.is_absolute() && tls.cert.ends_with("a.pem"));
    assert_eq!(tls.key, PathBuf::from("/b.pem"));
}

#[test]
fn no_secret_is_ever_shown() {
    let file = "[[users]]\nname='a'\npassword='hush'";
    let config = load(&[("backend_dsn", "postgres://app:hush@h/app")], &[], file).unwrap();
    assert!(!format!("{config:?}").contains("hush"));
    let mut given = Given::default();
    given.add_flag(&SETTINGS[0], vec!["postgres://app:hush@h".to_owned()]);
    assert!(!format!("{given:?}").contains("hush"));
}

#[test]
fn a_stolon_dsn_brings_its_source_and_its_token_from_wherever_it_is() {
    const STOLON: &str = "stolon+consul+http://c1,c2/main?pguser=u&pgpassword=p";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let in_dsn = format!("{STOLON}&token=from-dsn");
    let environment = ("CONSUL_HTTP_TOKEN", "from-env");
    for (dsn, flags, variables, token) in [
        (STOLON, vec![], vec![], None),
        (STOLON, vec![], vec![environment], Some("from-env")),
        (STOLON, vec![("consul_token_file", path)], vec![environment], Some("from-file")),
        (STOLON, vec![], vec![("CONSUL_HTTP_TOKEN_FILE", path)], Some("from-file")),
        (&in_dsn, vec![("consul_token_file", path)], vec![environment], Some("from-dsn")),
    ] {
        let mut variables = variables;
        variables.push(("GEL_SERVER_BACKEND_DSN", dsn)); // Gel's name works as for postgres://
        let backend = load(&flags, &variables, "").unwrap().backend;
        let Source::Stolon(stolon) = backend.source else { panic!("{dsn} is no source") };
        assert_eq!(stolon.token.as_ref().map(Secret::reveal), token);
        assert_eq!((backend.dsn.user.as_str(), backend.ha), ("u", HaMode::Fixed));
    }
    for (key, value, says) in [
        ("enable_backend_adaptive_ha", "true", "adaptive HA has no place beside a stolon DSN"),
        ("consul_token_file", "/nowhere", "--consul-token-file: /nowhere: No such file"),
    ] {
        let error = load(&[("backend_dsn", STOLON), (key, value)], &[], "").unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn databases_and_users_have_settings_of_their_own() {
    let file = "
        pool_size_max = 8
        only_listed_databases = true
        [databases.shop]
        backend_database = 'shop_2'
        pool_mode = 'session'
        connections_max = 5
        [databases.'*']
        pool_size_min = 1
        [[users]]
        name = 'batch'
        password = 'secret'
        pool_mode = 'statement'
        query_timeout = '5s'
        [[users]]
        name = 'no secret'
        clients_max = 3
    ";
    let config = load(&[("backend_dsn", DSN)], &[], file).unwrap();
    let sharing = config.pool.sharing;
    assert_eq!(sharing.backend_name("shop"), "shop_2");
    assert_eq!(sharing.bounds("shop", "x").mode, PoolMode::Session);
    assert_eq!(sharing.bounds("shop", "batch").mode, PoolMode::Statement);
    assert_eq!(sharing.bounds("else", "x").size_min, 1);
    assert_eq!(sharing.bounds("else", "no secret").user_clients_max, Some(3));
    assert_eq!(config.frontend.auth.users.len(), 1, "who has no secret is not one to log in");
    for (line, problem) in [
        ("[databases.a]\npool_mode='all'", "FILE line 2: pool_mode: \"all\" has to be transaction"),
        ("[databases.a]\nclients_max=0", "FILE line 2: clients_max: \"0\" has to be a number"),
        ("[databases.a]\nquery_wait_timeout='0s'", "FILE line 2: query_wait_timeout: \"0s\" has"),
        ("[databases.a]\nbackend_database=''", "FILE line 2: backend_database: \"\" is no name"),
    ] {
        let met = load(&[("backend_dsn", DSN)], &[], line).unwrap_err();
        assert!(met.starts_with(problem), "{met}");
    }
}
