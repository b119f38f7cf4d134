//! The console: psql and drivers see PgBouncer's tables, and orders do what they say.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use everline_lab::postgres::{APP_DATABASE, APP_PASSWORD, APP_USER};
use everline_lab::{Error, ports};
use tokio::process::Command;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::driver::connect;
use crate::scene::{Fault, Scene, is_available, number, run};
use crate::tools::{command, said, tool};

/// Somebody on the console.
pub(crate) async fn console(address: SocketAddr) -> Client {
    enter(address, APP_USER, "everline").await.expect("a place on the console")
}

async fn enter(
    address: SocketAddr,
    user: &str,
    database: &str,
) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host(address.ip().to_string()).port(address.port());
    config.user(user).password(APP_PASSWORD).dbname(database);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// What a command returns, row by row.
async fn rows(client: &Client, command: &str) -> Vec<Vec<String>> {
    let answer = client.simple_query(command).await;
    let answer = answer.unwrap_or_else(|error| panic!("{command}: {error:?}"));
    let mut rows = Vec::new();
    for message in answer {
        if let SimpleQueryMessage::Row(row) = message {
            let text = |at| row.get(at).unwrap_or_default().to_owned();
            rows.push((0..row.len()).map(text).collect());
        }
    }
    rows
}

/// The value of a name in a table of names and values.
async fn value(client: &Client, command: &str, name: &str) -> String {
    let rows = rows(client, command).await;
    let row = rows.iter().find(|row| row[0] == name);
    row.unwrap_or_else(|| panic!("no {name} in {command}: {rows:?}"))[1].clone()
}

async fn refusal(client: &Client, command: &str) -> String {
    let error = client.simple_query(command).await.expect_err(command);
    let error = error.as_db_error().unwrap_or_else(|| panic!("{command}: {error:?}"));
    format!("{} {}", error.code().code(), error.message())
}

#[test]
fn psql_is_at_home_on_the_console() {
    run(async {
        let psql = tool("psql").await?;
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let client = connect(scene.address()).await;
        client.simple_query("SELECT 1").await.expect("a leader");
        let mut session = command(&psql, scene.address());
        session.env("PGDATABASE", "everline").args(["--no-psqlrc", "-At"]);
        let mut script = String::from("\\conninfo\n");
        for table in everline::admin::show::TABLES {
            let _ = writeln!(script, "\\echo == {0}\nSHOW {0};", table.name);
        }
        script.push_str("SHOW HELP;\nSELECT 1; SELECT version();\nSHOW server_version;\n");
        script.push_str("BEGIN;\nSET x = 'y';\nCOMMIT;\nSHOW VERSION \\gset\n\\echo :version\n");
        script.push_str("FROBNICATE;\nSELECT * FROM pg_class;\nSHOW STATE_OF 1;\n");
        let path = everline_lab::process::run_directory()?.join("console.sql");
        std::fs::write(&path, script)
            .map_err(|source| Error::Io { what: "a script".to_owned(), source })?;
        session.arg("--file").arg(&path);
        let (success, text) = said(&mut session).await?;
        assert!(success, "{text}");
        for expected in [
            "You are connected to database \"everline\" as user \"app\"",
            "state|healthy",
            "advice|Nothing to do.",
            "app|app|",
            "NOTICE:  Everline's console",
            "PostgreSQL 15.0 (Everline ",
            "ERROR:  invalid command 'FROBNICATE', use SHOW HELP;",
            "ERROR:  Everline's console has no tables, use SHOW HELP;",
            "at_a_failover|it stays connected",
            &format!("Everline {}", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.contains(expected), "no {expected:?} in {text}");
        }
        assert_eq!(text.matches("ERROR").count(), 2, "{text}");
        assert!(!text.contains(APP_PASSWORD), "{text}");
        Ok(())
    });
}

#[test]
fn a_driver_prepares_and_reads_binary_numbers() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        connect(scene.address()).await.simple_query("SELECT 1").await.expect("a leader");
        let admin = console(scene.address()).await;
        // tokio-postgres prepares, describes, and asks for all columns in binary form.
        let row = admin.query_one("SHOW POOLS", &[]).await.expect("one pool");
        assert_eq!(row.get::<_, &str>("database"), APP_DATABASE);
        assert_eq!(row.get::<_, i64>("sv_idle") + row.get::<_, i64>("sv_active"), 1);
        assert_eq!(row.get::<_, &str>("pool_mode"), "transaction");
        let statement = admin.prepare("SHOW CLIENTS").await.expect("a statement");
        for _ in 0..3 {
            assert!(admin.query(&statement, &[]).await.expect("clients").len() <= 1);
        }
        assert_eq!(admin.query_one("SELECT 7", &[]).await.expect("7").get::<_, i64>(0), 7);
        let error = admin.query("SELECT * FROM t", &[]).await.expect_err("no table");
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
        assert_eq!(admin.execute("PAUSE nowhere", &[]).await.expect("a pause"), 0);
        assert_eq!(admin.execute("RESUME nowhere", &[]).await.expect("its end"), 0);
        Ok(())
    });
}

#[test]
fn who_may_look_may_not_command() {
    run(async {
        let directory = everline_lab::process::run_directory()?.join("roles");
        std::fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("everline.toml");
        let user =
            |name: &str| format!("[[users]]\nname = {name:?}\npassword = {APP_PASSWORD:?}\n");
        let text = format!("stats_users = [\"eye\"]\n{}{}", user("eye"), user("nobody"));
        std::fs::write(&file, text).expect("a file");
        let arguments = ["--config", file.to_str().expect("a path")];
        let scene = Scene::adaptive(Fault::Kill, &arguments).await?;
        let eye = enter(scene.address(), "eye", "everline").await.expect("a place");
        assert_eq!(value(&eye, "SHOW HA", "state").await, "healthy");
        let denied = "42501 only an administrator may do that";
        for order in ["PAUSE", "RELOAD", "SHUTDOWN", "KILL app", "ELECT ANYONE"] {
            assert_eq!(refusal(&eye, order).await, denied, "{order}");
        }
        let error = enter(scene.address(), "nobody", "everline").await.expect_err("no place");
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{error:?}");
        let mut stranger = Config::new();
        stranger.host(scene.address().ip().to_string()).port(scene.address().port());
        stranger.user(APP_USER).password("wrong").dbname("everline");
        let error = stranger.connect(NoTls).await.err().expect("no way in");
        assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD), "{error:?}");
        Ok(())
    });
}

#[test]
fn the_console_answers_while_there_is_no_leader() {
    run(async {
        let mut scene = Scene::adaptive(Fault::Freeze, &["--clients-max", "1"]).await?;
        let client = connect(scene.address()).await;
        client.simple_query("SELECT 1").await.expect("a leader");
        scene.strike(Fault::Freeze).await?;
        scene.until("the loss", |status| !is_available(status)).await;
        // Every place for clients is taken, and the leader does not answer.
        let admin = console(scene.address()).await;
        assert_eq!(value(&admin, "SHOW HA", "available").await, "no");
        assert_eq!(rows(&admin, "SHOW CLIENTS").await.len(), 1);
        assert_eq!(rows(&admin, "SHOW OUTAGES").await[0][2], "no");
        assert!(rows(&admin, "SHOW HISTORY").await.len() >= 2);
        Ok(())
    });
}

#[test]
fn orders_do_what_they_say() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let (client, admin) = (connect(scene.address()).await, console(scene.address()).await);
        let pid = || async {
            let row = rows(&client, "SELECT pg_backend_pid()").await;
            row[0][0].clone()
        };
        let before = pid().await;
        assert_eq!(pid().await, before);
        admin.simple_query("RECONNECT").await.expect("new connections");
        assert_ne!(pid().await, before);

        admin.simple_query("PAUSE app").await.expect("a pause");
        let (held, resumed) = tokio::join!(client.simple_query("SELECT 1"), async {
            scene.until("a statement held", |status| number(status, "held") == 1).await;
            let id = rows(&admin, "SHOW CLIENTS").await[0][18].clone();
            let waits = value(&admin, &format!("SHOW STATE_OF {id}"), "waits_for").await;
            assert_eq!(waits, "RESUME");
            assert_eq!(rows(&admin, "SHOW DATABASES").await[0][11], "1");
            admin.simple_query("RESUME app").await
        });
        held.expect("it went on");
        resumed.expect("the end of the pause");
        assert_eq!(refusal(&admin, "RESUME").await, "55000 nothing is paused");

        admin.simple_query("DISABLE app").await.expect("closed");
        let error = enter(scene.address(), APP_USER, APP_DATABASE).await.expect_err("closed");
        assert_eq!(error.code(), Some(&SqlState::CANNOT_CONNECT_NOW), "{error:?}");
        client.simple_query("SELECT 1").await.expect("who is in stays in");
        admin.simple_query("ENABLE app").await.expect("open");
        drop(enter(scene.address(), APP_USER, APP_DATABASE).await.expect("open again"));
        scene.until("one client", |status| number(status, "clients") == 1).await;

        let id = rows(&admin, "SHOW CLIENTS").await[0][18].clone();
        let (running, killed) = tokio::join!(client.simple_query("SELECT pg_sleep(60)"), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            admin.simple_query(&format!("KILL_CLIENT {id}")).await
        });
        killed.expect("it is there");
        let error = running.expect_err("it was sent away");
        assert_eq!(error.code(), Some(&SqlState::ADMIN_SHUTDOWN), "{error:?}");
        scene.until("its end", |status| number(status, "clients") == 0).await;
        let gone = refusal(&admin, &format!("KILL_CLIENT {id}")).await;
        assert!(gone.starts_with("42704 there is no client"), "{gone}");
        // What was ended on purpose is no sign of a lost leader.
        let status = scene.status().await;
        assert_eq!(status["state"], "healthy", "{status:#}");

        let client = connect(scene.address()).await;
        admin.simple_query("KILL app").await.expect("clients");
        assert!(client.simple_query("SELECT 1").await.is_err());
        Ok(())
    });
}

#[test]
fn the_console_ends_the_server() {
    run(async {
        for order in ["SHUTDOWN", "SHUTDOWN WAIT_FOR_SERVERS", "SHUTDOWN WAIT_FOR_CLIENTS"] {
            let mut scene = Scene::adaptive(Fault::Kill, &[]).await?;
            let client = connect(scene.address()).await;
            client.simple_query("BEGIN; SELECT 1").await.expect("a leader");
            console(scene.address()).await.simple_query(order).await.expect(order);
            if order != "SHUTDOWN" {
                client.simple_query("SELECT 2").await.expect("its transaction goes on");
                client.simple_query("COMMIT").await.expect("and ends");
            }
            if order == "SHUTDOWN WAIT_FOR_CLIENTS" {
                client.simple_query("SELECT 3").await.expect("it may stay");
                assert!(scene.everline.status().is_none());
                drop(client);
            }
            let until = tokio::time::Instant::now() + Duration::from_secs(20);
            while scene.everline.status().is_none() {
                assert!(tokio::time::Instant::now() < until, "{order}: it still runs");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(scene.everline.status().expect("it has ended").success(), "{order}");
        }
        Ok(())
    });
}

#[test]
fn the_manuals_page_says_what_the_console_does() {
    run(async {
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        let (client, admin) = (connect(scene.address()).await, console(scene.address()).await);
        client.simple_query("SELECT 1").await.expect("a leader");
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/console.md");
        let page = std::fs::read_to_string(page).expect("the manual");
        let mut said = 0;
        for block in page.split("```sql\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            for command in block.lines().filter(|command| *command != "RELOAD;") {
                admin
                    .simple_query(command)
                    .await
                    .unwrap_or_else(|error| panic!("{command} {error}"));
                said += 1;
            }
        }
        admin.simple_query("RELOAD").await.expect("a reload");
        assert!(said > 20, "{said} commands in the manual");
        for table in everline::admin::show::TABLES {
            assert!(page.contains(&format!("SHOW {};", table.name)), "{}", table.name);
        }
        for (order, _) in everline::admin::control::HELP {
            let word = order.split(' ').next().unwrap_or_default();
            assert!(page.contains(word), "{order}");
        }
        Ok(())
    });
}

/// Columns of PgBouncer's that mean nothing here.
const NOT_OURS: &[&str] = &["prepared_statements", "load_balance_hosts", "reserve_pool_size"];

#[test]
fn tables_have_the_columns_of_pgbouncer() {
    run(async {
        let pgbouncer = tool("pgbouncer").await?;
        let directory = everline_lab::process::run_directory()?.join("pgbouncer");
        std::fs::create_dir_all(&directory).expect("a directory");
        let address = ports::free_address()?;
        let file = directory.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{APP_DATABASE} = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = {}\n\
             listen_port = {}\nauth_type = any\nadmin_users = {APP_USER}\nunix_socket_dir =\n",
            address.ip(),
            address.port()
        );
        std::fs::write(&file, text).expect("a file");
        let mut server = Command::new(pgbouncer);
        if rustix::process::geteuid().is_root() {
            server.args(["-u", "nobody"]); // it does not run as root
        }
        let log = std::fs::File::create(directory.join("log")).expect("a log");
        server.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut server = server.kill_on_drop(true).spawn().expect("PgBouncer");
        let scene = Scene::adaptive(Fault::Kill, &[]).await?;
        connect(scene.address()).await.simple_query("SELECT 1").await.expect("a leader");
        let mut theirs = enter(address, APP_USER, "pgbouncer").await;
        for _ in 0..100 {
            if theirs.is_ok() {
                break;
            }
            assert_eq!(server.try_wait().expect("a process"), None, "PgBouncer has ended");
            tokio::time::sleep(Duration::from_millis(50)).await;
            theirs = enter(address, APP_USER, "pgbouncer").await;
        }
        let (theirs, ours) = (theirs.expect("PgBouncer"), console(scene.address()).await);
        for table in [
            "CLIENTS",
            "SERVERS",
            "POOLS",
            "STATS",
            "STATS_TOTALS",
            "STATS_AVERAGES",
            "TOTALS",
            "DATABASES",
            "USERS",
            "LISTS",
            "CONFIG",
            "VERSION",
        ] {
            let (there, here) = (columns(&theirs, table).await, columns(&ours, table).await);
            let wanted: Vec<&String> =
                there.iter().filter(|name| !NOT_OURS.contains(&name.as_str())).collect();
            let found: Vec<&String> = here.iter().filter(|name| wanted.contains(name)).collect();
            assert_eq!(found, wanted, "SHOW {table}: in this order, and none missing");
        }
        // The lists count the same things.
        let names = |rows: Vec<Vec<String>>| rows.into_iter().map(|row| row[0].clone());
        let there: Vec<String> = names(rows(&theirs, "SHOW LISTS").await).collect();
        let here: Vec<String> = names(rows(&ours, "SHOW LISTS").await).collect();
        assert!(here.starts_with(&there[..here.len().min(there.len())]), "{there:?} {here:?}");
        for wrong in ["FOO", "SHOW FOO"] {
            let (there, here) = (refusal(&theirs, wrong).await, refusal(&ours, wrong).await);
            assert_eq!(there.split_once(' ').unwrap().1, here.split_once(' ').unwrap().1);
        }
        Ok(())
    });
}

/// The names of a table's columns.
async fn columns(client: &Client, table: &str) -> Vec<String> {
    let answer = client.simple_query(&format!("SHOW {table}")).await;
    let answer = answer.unwrap_or_else(|error| panic!("SHOW {table}: {error:?}"));
    for message in answer {
        if let SimpleQueryMessage::RowDescription(columns) = message {
            return columns.iter().map(|column| column.name().to_owned()).collect();
        }
    }
    panic!("SHOW {table} has no columns");
}
