//! PgBouncer: Debian's, or the one that is named.

use std::net::SocketAddr;
use std::path::Path;

use everline_lab::{Result, ports};
use rustix::process::Signal;

use super::{Kind, Login, Peer, Running, Setup, directory, launch, pooling, shown};

/// Names another PgBouncer than that on PATH.
pub(super) const VARIABLE: &str = "EVERLINE_BENCH_PGBOUNCER";
/// The first version, major and minor, that keeps prepared statements in transaction pooling.
const PREPARES_SINCE: [u32; 2] = [1, 21];

pub(super) fn peer(program: &Path) -> Peer {
    let mut peer = pooling("PgBouncer", Kind::PgBouncer, program, "--version");
    let version = peer.name.rsplit(' ').next().unwrap_or_default();
    let version: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    peer.prepares = version >= PREPARES_SINCE.to_vec();
    peer
}

pub(super) fn start(peer: &Peer, setup: &Setup<'_>) -> Result<Running> {
    let address = ports::free_address()?;
    let directory = directory(setup, "pgbouncer")?;
    let users = directory.join("users");
    let (user, password) = (setup.login.user(), setup.login.password());
    setup.installation.write(&users, &format!("\"{user}\" \"{password}\"\n"))?;
    let configuration = directory.join("pgbouncer.ini");
    let text = configuration_text(peer, setup, setup.database()?, address, &users);
    setup.installation.write(&configuration, &text)?;
    launch(peer, setup, address, configuration.clone(), &[&shown(&configuration)])
}

/// Leads a running PgBouncer to another server, as its users do it: a new file and RELOAD.
pub(crate) fn redirect(running: &mut Running, setup: &Setup<'_>, to: SocketAddr) -> Result<()> {
    let users = running.configuration.with_file_name("users");
    let text = configuration_text(&running.peer, setup, to, running.address, &users);
    setup.installation.write(&running.configuration, &text)?;
    running.signal(Signal::HUP);
    Ok(())
}

fn configuration_text(
    peer: &Peer,
    setup: &Setup<'_>,
    database: SocketAddr,
    address: SocketAddr,
    users: &Path,
) -> String {
    let auth = match setup.login {
        Login::Trust => "trust",
        Login::Scram => "scram-sha-256",
    };
    let mode = if peer.session_pooling { "session" } else { "transaction" };
    let prepared = if peer.prepares { "max_prepared_statements = 200\n" } else { "" };
    let Setup { connections, tls, .. } = setup;
    format!(
        "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\n\
         unix_socket_dir =\nauth_type = {auth}\nauth_file = {}\npool_mode = {mode}\n{prepared}\
         default_pool_size = {connections}\nmax_client_conn = 20000\nserver_login_retry = 1\n\
         ignore_startup_parameters = extra_float_digits\nclient_tls_sslmode = allow\n\
         client_tls_cert_file = {}\nclient_tls_key_file = {}\nserver_tls_sslmode = disable\n\
         log_connections = 0\nlog_disconnections = 0\n",
        database.ip(),
        database.port(),
        address.ip(),
        address.port(),
        users.display(),
        tls.certificate.display(),
        tls.key.display(),
    )
}
