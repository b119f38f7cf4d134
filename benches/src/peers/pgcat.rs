//! PgCat, where it is on PATH. It knows MD5 alone for its clients, so it has no part in logins with
//! SCRAM.

use std::path::Path;

use everline_lab::postgres::APP_DATABASE;
use everline_lab::{Result, ports};

use super::{Kind, Peer, Running, Setup, directory, launch, pooling, shown};

pub(super) fn peer(program: &Path) -> Peer {
    pooling("PgCat", Kind::PgCat, program, "--version")
}

pub(super) fn start(peer: &Peer, setup: &Setup<'_>) -> Result<Running> {
    let address = ports::free_address()?;
    let configuration = directory(setup, "pgcat")?.join("pgcat.toml");
    let database = setup.database()?;
    let Setup { connections, tls, login, .. } = setup;
    let text = format!(
        "[general]\nhost = \"{}\"\nport = {}\nworker_threads = 1\nadmin_username = \"admin\"\n\
         admin_password = \"admin\"\nprepared_statements_cache_size = 500\n\
         tls_certificate = \"{}\"\ntls_private_key = \"{}\"\n\
         [pools.{APP_DATABASE}]\npool_mode = \"transaction\"\nquery_parser_enabled = false\n\
         prepared_statements_cache_size = 500\n\
         [pools.{APP_DATABASE}.users.0]\nusername = \"{}\"\npassword = \"{}\"\n\
         pool_size = {connections}\n\
         [pools.{APP_DATABASE}.shards.0]\nservers = [[\"{}\", {}, \"primary\"]]\n\
         database = \"{APP_DATABASE}\"\n",
        address.ip(),
        address.port(),
        tls.certificate.display(),
        tls.key.display(),
        login.user(),
        login.password(),
        database.ip(),
        database.port(),
    );
    setup.installation.write(&configuration, &text)?;
    launch(peer, setup, address, configuration.clone(), &[&shown(&configuration)])
}
