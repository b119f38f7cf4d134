//! A certificate of our own, for clients that insist on TLS where nobody has given us one.

use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Names that it is for: whoever comes from elsewhere should be shown a real one.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes a certificate and its key; both are kept in memory and gone with the process.
///
/// It says of itself that it is no authority: rustls refuses one that is as a server's.
///
/// # Errors
/// What rcgen says, when there are no random numbers.
pub(super) fn certificate()
-> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let mut params = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Everline");
    params.is_ca = IsCa::ExplicitNoCa;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((certificate.der().clone(), key.into()))
}
