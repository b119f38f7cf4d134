//! Odyssey, where it is on PATH.

use std::path::Path;

use everline_lab::{Result, ports};

use super::{Kind, Login, Peer, Running, Setup, directory, launch, pooling, shown};

pub(super) fn peer(program: &Path) -> Peer {
    pooling("Odyssey", Kind::Odyssey, program, "--version")
}

pub(super) fn start(peer: &Peer, setup: &Setup<'_>) -> Result<Running> {
    let address = ports::free_address()?;
    let configuration = directory(setup, "odyssey")?.join("odyssey.conf");
    let database = setup.database()?;
    let password = setup.login.password();
    let auth = match setup.login {
        Login::Trust => "authentication \"none\"".to_owned(),
        Login::Scram => format!(
            "authentication \"scram-sha-256\"\n    password \"{password}\"\n    \
             storage_password \"{password}\""
        ),
    };
    let Setup { connections, tls, .. } = setup;
    let text = format!(
        "daemonize no\nlog_to_stdout yes\nlog_session no\nlog_query no\nlog_stats no\n\
         log_format \"%p %t %l %m\\n\"\nworkers 1\nresolvers 1\nclient_max 20000\n\
         listen {{\n  host \"{}\"\n  port {}\n  tls \"allow\"\n  tls_cert_file \"{}\"\n  \
         tls_key_file \"{}\"\n}}\nstorage \"postgres\" {{\n  type \"remote\"\n  host \"{}\"\n  \
         port {}\n}}\ndatabase default {{\n  user default {{\n    {auth}\n    \
         storage \"postgres\"\n    pool \"transaction\"\n    pool_size {connections}\n    \
         pool_discard no\n    pool_reserve_prepared_statement yes\n  }}\n}}\n",
        address.ip(),
        address.port(),
        tls.certificate.display(),
        tls.key.display(),
        database.ip(),
        database.port(),
    );
    setup.installation.write(&configuration, &text)?;
    launch(peer, setup, address, configuration.clone(), &[&shown(&configuration)])
}
