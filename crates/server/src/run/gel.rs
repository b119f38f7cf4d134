//! Gel's clients: where they come in, and what their sessions share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::{Parts, RunError, live};
use crate::config::{Config, GelConfig};
use crate::frontend::Context;
use crate::frontend::gel::{Gel, accept};
use crate::net::listen::bind_tcp;
use crate::net::socket::SocketOptions;
use crate::net::stream::Stream;
use crate::net::tls::FrontendTls;

/// How often an address is tried that the process before us has not left yet.
const BIND_EVERY: Duration = Duration::from_millis(100);

/// How long the next accept waits after one has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts Gel's clients, where they are to be.
///
/// The socket is not handed from process to process: one that takes over waits until it is free.
pub(super) fn listen(
    config: &Config,
    parts: &mut Parts,
    context: &Arc<Context>,
) -> Result<(), RunError> {
    let Some(settings) = config.gel else { return Ok(()) };
    let address = settings.listen;
    let gel = Arc::new(share(config, &settings, context)?);
    let listener = match bind_tcp(address, false) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && config.takeover.is_some() => None,
        Err(source) => return Err(RunError::Listen { place: address.to_string(), source }),
    };
    let (accepting, stop) = (parts.accepting.clone(), parts.stop.clone());
    let sessions = parts.sessions.clone();
    parts.essential.spawn(async move {
        let accept = async {
            let listener = bound(listener, address).await;
            tracing::info!(%address, "listening for Gel's clients");
            loop {
                match accept_one(&listener).await {
                    Ok(stream) => drop(sessions.spawn(accept::serve(Arc::clone(&gel), stream))),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a client");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            biased; // told to stop, nobody new is let in
            () = accepting.cancelled() => {}
            () = accept => {}
        }
        stop.cancelled().await;
        "listener"
    });
    Ok(())
}

async fn bound(listener: Option<TcpListener>, address: SocketAddr) -> TcpListener {
    let mut listener = listener;
    loop {
        if let Some(listener) = listener.take() {
            return listener;
        }
        sleep(BIND_EVERY).await;
        listener = bind_tcp(address, false).ok();
    }
}

async fn accept_one(listener: &TcpListener) -> io::Result<Stream> {
    let (stream, _) = listener.accept().await?;
    SocketOptions::default().apply(&stream)?;
    Ok(Stream::Tcp(stream))
}

fn share(config: &Config, gel: &GelConfig, context: &Arc<Context>) -> Result<Gel, RunError> {
    let files = config.frontend.tls.as_ref();
    if files.is_none() {
        tracing::warn!(
            "no tls_cert is given: Gel's clients are shown a certificate that nobody has signed"
        );
    }
    let tls = FrontendTls::for_gel(files)?;
    let dsn = &config.backend.dsn;
    let names = (dsn.database.clone(), dsn.user.clone());
    let policy = live::gel_policy(config, gel);
    Ok(Gel::new(Arc::clone(context), tls, policy, names, config.pool.connections_max))
}
