use std::collections::BTreeMap;
use std::path::Path;

use super::keys::{OF_DATABASE, OF_USER, SETTINGS};
use super::{Imported, from};
use crate::config::dsn::Surroundings;
use crate::config::{Config, Given, PoolMode};

const LIST: &str = "\"app\" \"s3cret\"\n\"hashed\" \"SCRAM-SHA-256$4096:x$y:z\"\n";

const USUAL: &str = "[databases]
         shop = host=10.0.0.1 port=5433 dbname=shop_2 pool_size=7 reserve_pool_size=2
         ; a comment
         \"odd \"\" name\" = host=10.0.0.1 port=5433 user=owner password='it''s' pool_mode=session
         other = host=10.0.0.9
         * = host=10.0.0.1 port=5433 auth_user=asker max_db_connections=9 timezone=UTC
         [pgbouncer]
         listen_addr = *, ::1, db.local
         listen_port = 6000
         unix_socket_dir = /run/p
         pool_mode = transaction
         auth_type = scram-sha-256
         auth_file = users.txt
         auth_user = asker
         max_client_conn = 900
         min_pool_size = 1
         server_idle_timeout = 0
         server_lifetime = 0.5
         query_timeout = 2.5
         client_tls_sslmode = require
         client_tls_cert_file = c.pem
         client_tls_key_file = /k.pem
         client_tls_ca_file = ca.pem
         server_tls_sslmode = verify-full
         server_tls_ca_file = root.pem
         stats_users = a, b
         query_wait_notify = 5
         log_connections = 0
         nonsense = 1
         [users]
         batch = pool_mode=statement max_user_connections=3 query_timeout=7
         [peers]
         1 = host=10.0.0.2";

/// What it becomes, without empty lines.
const OURS: &str = "\
backend_dsn = \"postgres://asker@10.0.0.1:5433/shop_2?sslmode=verify-full&sslrootcert=%2Fetc%2Fp%2Froot.pem\"
unix_socket_mode = \"0777\"
listen = [\"0.0.0.0:6000\", \"[::]:6000\", \"[::1]:6000\", \"unix:/run/p/.s.PGSQL.6000\"]
auth = \"scram-sha-256\"
auth_file = \"/etc/p/users.txt\"
auth_query = \"SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname = $1 AND rolcanlogin\"
tls_clients = \"require\"
tls_cert = \"/etc/p/c.pem\"
tls_key = \"/k.pem\"
pool_mode = \"transaction\"
pool_size_max = 20
pool_size_min = 1
clients_max = 900
max_backend_connections = 50
pool_idle_timeout = \"24h\"
pool_lifetime = \"500ms\"
query_timeout = \"2500ms\"
stats_users = [\"a\", \"b\"]
[databases.\"shop\"]
backend_database = \"shop_2\"
pool_size_max = 9
[databases.\"odd \\\" name\"]
backend_user = \"owner\"
backend_password = \"it's\"
pool_mode = \"session\"
[databases.\"*\"]
connections_max = 9
[[users]]
name = \"batch\"
pool_mode = \"statement\"
connections_max = 3
query_timeout = \"7s\"";

fn import(text: &str, others: &[(&str, &str)]) -> Result<Imported, String> {
    let mut files: BTreeMap<&str, &str> = others.iter().copied().collect();
    files.insert("pgbouncer.ini", text);
    let mut read = |path: &Path| {
        let found = files.get(path.to_str().unwrap());
        found.map(|text| (*text).to_owned()).ok_or_else(|| "No such file".to_owned())
    };
    from(Path::new("pgbouncer.ini"), Path::new("/etc/p"), &mut read).map_err(|e| e.to_string())
}

/// What is written, without the first line and empty ones, and what is remarked.
fn told(text: &str) -> (Vec<String>, Vec<String>) {
    let imported = import(text, &[("/etc/p/users.txt", LIST)]).unwrap();
    let lines = imported.toml.lines().skip(1).filter(|line| !line.is_empty());
    (lines.map(str::to_owned).collect(), imported.remarks)
}

#[test]
fn a_usual_file_becomes_ours() {
    let (lines, remarks) = told(USUAL);
    assert_eq!(lines.join("\n"), OURS);
    for (at, words) in [
        ("line 6: *: timezone: ", "ALTER DATABASE"),
        ("line 5: other: is at 10.0.0.9 port 5432", "one cluster"),
        ("line 8: listen_addr: db.local: ", "address"),
        ("line 17: server_idle_timeout: 0 is for ever", "one day"),
        ("line 27: query_wait_notify: ", "told nothing"),
        ("line 28: log_connections: not needed: ", "console"),
        ("line 29: nonsense: ", "not known"),
        ("line 33: 1: wants a peer_id", ""),
        ("backend_dsn: the password of asker is not known", ".pgpass"),
        ("auth_query: PgBouncer asks in the database", "auth_query_database"),
        ("max_backend_connections: ", "50 is written"),
    ] {
        let found = remarks.iter().any(|remark| remark.contains(at) && remark.contains(words));
        assert!(found, "{at}: {remarks:#?}");
    }
    assert_eq!(remarks.len(), 11, "{remarks:#?}");
}

#[test]
fn what_is_not_said_is_as_pgbouncer_has_it() {
    let (lines, _) = told("[databases]\napp =\n[pgbouncer]\nauth_file=/etc/p/users.txt");
    let expected = "\
backend_dsn = \"postgres://app:s3cret@%2Ftmp:5432/app\"
unix_socket_mode = \"0777\"
listen = [\"unix:/tmp/.s.PGSQL.6432\"]
auth = \"md5\"
auth_file = \"/etc/p/users.txt\"
pool_mode = \"session\"
pool_size_max = 20
clients_max = 100
only_listed_databases = true
max_backend_connections = 50
[databases.\"app\"]";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn the_result_is_read_back_as_it_was_meant() {
    let imported = import(
        "%include more.ini
         [databases]
         a = host=h1,h2 pool_size=40 pool_mode=statement
         b = host=h1,h2 dbname=a user=u password=p
         \"c\\\" = host=h1,h2
         [pgbouncer]
         auth_type = any",
        &[("more.ini", "[pgbouncer]\nauth_type = pam\nmax_db_connections = 30\npeer_id = 3\n")],
    )
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("everline.toml");
    std::fs::write(&path, &imported.toml).unwrap();
    let socket_directory = "/tmp".into();
    let surroundings =
        Surroundings { variable: &|_| None, user: None, home: None, socket_directory };
    let config = Config::load(Given::default(), Some(&path), &surroundings);
    let config = config.unwrap();
    let sharing = &config.pool.sharing;
    assert_eq!(config.backend.dsn.user, "u");
    assert_eq!(config.backend.dsn.hosts.len(), 2);
    assert_eq!(sharing.bounds("a", "x").mode, PoolMode::Statement);
    assert_eq!(sharing.bounds("c\\", "x").database_connections_max, Some(30));
    assert_eq!(sharing.backend_user("b").map(|(user, _)| user.as_str()), Some("u"));
    assert!(!sharing.serves("else") && sharing.serves("c\\"));
    assert_eq!((config.frontend.clients_max, config.frontend.peers.own), (100, 3));
}

#[test]
fn a_mistake_is_one_sentence_with_its_line() {
    let deep: String = "%include pgbouncer.ini".to_owned();
    for (text, problem) in [
        ("[databases", "pgbouncer.ini line 1: a ] is missing"),
        ("a = b", "pgbouncer.ini line 1: stands before the first [section]"),
        ("[databases]\na", "pgbouncer.ini line 2: wants a ="),
        ("[databases]\n= b", "pgbouncer.ini line 2: wants a key"),
        ("[databases]\na = host", "pgbouncer.ini line 2: a: wants pairs of name=value"),
        ("[databases]\na = password='x", "pgbouncer.ini line 2: a: a quote is not closed"),
        ("[databases]\na = pool_size=x", "pgbouncer.ini line 2: a: wants a whole number"),
        ("[pgbouncer]\nlisten_port=1", "[databases] names no database"),
        ("%include gone.ini", "gone.ini: No such file"),
        (&deep, "pgbouncer.ini: too many files include one another"),
        ("[databases]\na=\n[pgbouncer]\nquery_timeout=x", "pgbouncer.ini line 4: query_timeout: "),
    ] {
        let met = import(text, &[]).unwrap_err();
        assert!(met.starts_with(problem), "{text}: {met}");
    }
}

#[test]
fn the_manual_has_each_setting() {
    let page = include_str!("../../../../../docs/manual/pgbouncer.md");
    for (key, _) in SETTINGS.iter().chain(OF_DATABASE).chain(OF_USER) {
        assert!(page.contains(&format!("`{key}`")), "{key} has no place in the manual");
    }
}
