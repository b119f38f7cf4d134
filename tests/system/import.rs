//! Moving from PgBouncer: the file that is made of `pgbouncer.ini` is started with, and means the
//! same.

use std::net::SocketAddr;
use std::process::Command;

use everline_lab::client::Client;
use everline_lab::everline::Everline;
use everline_lab::postgres::{Cluster, ClusterOptions};
use everline_lab::process::run_directory;
use everline_lab::{Error, Result, ports};

use crate::login::outcome;
use crate::scene::{is_available, keep_log, program, run, until};

const PREPARE: &str = "
    CREATE ROLE asker LOGIN PASSWORD 'asks' SUPERUSER;
    CREATE ROLE stored LOGIN PASSWORD 'kept';
    CREATE ROLE owner LOGIN PASSWORD 'owns'";

/// What a client of `database` is told of itself.
async fn who(at: SocketAddr, user: &str, password: &str, database: &str) -> Result<String> {
    let mut client = Client::connect(at).await?;
    let answers = client.login(user, password, database, &[]).await?;
    if answers.last().is_none_or(|last| last.tag != b'Z') {
        let refused = answers.iter().find(|message| message.tag == b'E');
        return Ok(refused.map_or("nothing", |_| "refused").to_owned());
    }
    client.answers("SELECT current_database(), session_user").await
}

async fn imported(ini: &std::path::Path) -> Result<(Everline, String)> {
    let toml = run_directory()?.join("imported.toml");
    let _ = std::fs::remove_file(&toml);
    let mut import = Command::new(env!("CARGO_BIN_EXE_everline"));
    import.arg("import-pgbouncer").arg(ini).arg("--output").arg(&toml);
    let wrong = |source| Error::Io { what: "the import".to_owned(), source };
    let output = import.output().map_err(wrong)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("says what it finds.\n"), "{said}");
    let again = import.output().map_err(wrong)?;
    let complaint = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!((again.status.code(), complaint.contains("exists")), (Some(1), true), "{complaint}");
    let everline = program().argument("--config").argument(&toml).start().await?;
    until(&everline, "leader", is_available).await;
    Ok((everline, said))
}

#[test]
fn an_imported_file_means_the_same() {
    run(async {
        let cluster = Cluster::start(ClusterOptions::single()).await?;
        cluster.primary().sql(PREPARE).await?;
        let theirs = ports::free_address()?;
        let list = "\"asker\" \"asks\"\n\"app\" \"app-secret\"\n\"owner\" \"owns\"\n";
        let place = tempfile::tempdir()
            .map_err(|source| Error::Io { what: "a directory".to_owned(), source })?;
        let file = |name: &str, text: &str| {
            let path = place.path().join(name);
            let written = std::fs::write(&path, text);
            written.map(|()| path).map_err(|source| Error::Io { what: name.to_owned(), source })
        };
        let list = file("pgbouncer.users", list)?;
        let settings = format!(
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = md5\nauth_file = {}\nauth_user = asker\npool_mode = transaction\n\
             application_name_add_host = 0\nmax_client_conn = 50\ndefault_pool_size = 3\n",
            theirs.port(),
            list.display(),
        );
        let more = file("pgbouncer.more", &settings)?;
        let host = format!("host=127.0.0.2 port={}", cluster.port());
        let ini = file(
            "pgbouncer.ini",
            &format!(
                "%include {}\n[databases]\napp = {host}\n\
                 a-b = {host} dbname=postgres pool_mode=session\n\
                 forced = {host} dbname=app user=owner password=owns max_db_connections=1\n",
                more.display()
            ),
        )?;
        let (everline, said) = imported(&ini).await?;
        assert!(said.contains("application_name_add_host: the console"), "{said}");
        let row = |database: &str, user: &str| {
            format!("T[current_database,session_user] D[{database},{user}] C[SELECT 1] Z[I]")
        };
        for (user, password, database, expected) in [
            ("app", "app-secret", "app", row("app", "app")),
            ("stored", "kept", "app", row("app", "stored")),
            ("app", "app-secret", "a-b", row("postgres", "app")),
            ("app", "app-secret", "forced", row("app", "owner")),
            ("stored", "kept", "forced", row("app", "owner")),
            ("app", "wrong", "app", "refused".to_owned()),
            ("nobody", "x", "app", "refused".to_owned()),
            ("app", "app-secret", "postgres", "refused".to_owned()),
        ] {
            let heard = who(everline.address(), user, password, database).await?;
            assert_eq!(heard, expected, "{user} in {database}");
        }
        let heard = outcome(everline.address(), "app", "wrong", "forced", &[]).await?;
        assert!(heard.contains("E[FATAL 28P01") && !heard.contains("owns"), "{heard}");
        keep_log(&everline);
        Ok(())
    });
}
