//! PgDog, where it is on PATH.

use std::path::Path;

use everline_lab::postgres::APP_DATABASE;
use everline_lab::{Result, ports};

use super::{Kind, Login, Peer, Running, Setup, directory, launch, pooling, shown};

pub(super) fn peer(program: &Path) -> Peer {
    pooling("PgDog", Kind::PgDog, program, "--version")
}

pub(super) fn start(peer: &Peer, setup: &Setup<'_>) -> Result<Running> {
    let address = ports::free_address()?;
    let configuration = directory(setup, "pgdog")?.join("pgdog.toml");
    let users = configuration.with_file_name("users.toml");
    let database = setup.database()?;
    let auth = match setup.login {
        Login::Trust => "trust",
        Login::Scram => "scram",
    };
    let Setup { connections, tls, login, .. } = setup;
    let text = format!(
        "[general]\nhost = \"{}\"\nport = {}\nworkers = 1\ndefault_pool_size = {connections}\n\
         pooler_mode = \"transaction\"\nauth_type = \"{auth}\"\ntls_certificate = \"{}\"\n\
         tls_private_key = \"{}\"\n[[databases]]\nname = \"{APP_DATABASE}\"\nhost = \"{}\"\n\
         port = {}\n",
        address.ip(),
        address.port(),
        tls.certificate.display(),
        tls.key.display(),
        database.ip(),
        database.port(),
    );
    setup.installation.write(&configuration, &text)?;
    let (user, password) = (login.user(), login.password());
    let user = format!(
        "[[users]]\nname = \"{user}\"\ndatabase = \"{APP_DATABASE}\"\npassword = \"{password}\"\n"
    );
    setup.installation.write(&users, &user)?;
    let arguments = ["--config", &shown(&configuration), "--users", &shown(&users)];
    launch(peer, setup, address, configuration.clone(), &arguments)
}
