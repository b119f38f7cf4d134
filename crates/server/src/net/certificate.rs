//! What we read from a certificate ourselves: how it is signed, and for whom it is.

use aws_lc_rs::digest::{Algorithm, SHA224, SHA256, SHA384, SHA512, digest};
use bytes::Bytes;
use rustls_pki_types::CertificateDer;

/// The `tls-server-end-point` channel binding of a certificate: its hash with the hash algorithm
/// of its own signature, SHA-256 in place of MD5 and SHA-1.
///
/// `None` where the signature has no hash algorithm of its own (Ed25519) or an unknown one: the
/// RFC leaves the binding undefined there.
///
/// Source: RFC 5929, section 4.1.
#[must_use]
pub fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Bytes> {
    let algorithm = signature_hash(certificate)?;
    Some(Bytes::copy_from_slice(digest(algorithm, certificate).as_ref()))
}

/// The common names of a certificate's subject; one that is no text, or holds a NUL, is left out.
///
/// `Name ::= SEQUENCE OF SET OF SEQUENCE { type OID, value }`, the subject being the sixth part of
/// `tbsCertificate` where that begins with a version, else the fifth.
#[must_use]
pub(super) fn common_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    subject(certificate).map(names).unwrap_or_default()
}

fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = take(SEQUENCE, certificate)?;
    let (mut rest, _) = take(SEQUENCE, certificate)?;
    if let Some((_, after)) = take(CONTEXT_0, rest) {
        rest = after;
    }
    // Serial number, algorithm, issuer, validity.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = take(tag, rest)?.1;
    }
    Some(take(SEQUENCE, rest)?.0)
}

fn names(mut subject: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((mut set, rest)) = take(SET, subject) {
        subject = rest;
        while let Some((pair, rest)) = take(SEQUENCE, set) {
            set = rest;
            let Some((COMMON_NAME, value)) = take(OID, pair) else { continue };
            let texts = [UTF8_STRING, PRINTABLE_STRING, IA5_STRING, TELETEX_STRING];
            let text = texts.iter().find_map(|tag| take(*tag, value)).map(|(text, _)| text);
            let text = text.and_then(|text| str::from_utf8(text).ok());
            found.extend(text.filter(|text| !text.contains('\0')).map(str::to_owned));
        }
    }
    found
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, … }`, the algorithm being
/// `SEQUENCE { OID, parameters }`.
fn signature_hash(certificate: &[u8]) -> Option<&'static Algorithm> {
    let (certificate, _) = take(SEQUENCE, certificate)?;
    let (_, rest) = take(SEQUENCE, certificate)?;
    let (identifier, _) = take(SEQUENCE, rest)?;
    let (oid, parameters) = take(OID, identifier)?;
    match oid {
        // md2, md5 and sha1 with RSA; sha1 with DSA and with ECDSA
        RSA_MD2 | RSA_MD5 | RSA_SHA1 | DSA_SHA1 | ECDSA_SHA1 => Some(&SHA256),
        RSA_SHA224 | ECDSA_SHA224 | DSA_SHA224 => Some(&SHA224),
        RSA_SHA256 | ECDSA_SHA256 | DSA_SHA256 => Some(&SHA256),
        RSA_SHA384 | ECDSA_SHA384 => Some(&SHA384),
        RSA_SHA512 | ECDSA_SHA512 => Some(&SHA512),
        RSA_PSS => pss_hash(parameters),
        _ => None,
    }
}

/// `RSASSA-PSS-params ::= SEQUENCE { [0] hashAlgorithm SEQUENCE { OID, … } DEFAULT sha1, … }`
fn pss_hash(parameters: &[u8]) -> Option<&'static Algorithm> {
    let (parameters, _) = take(SEQUENCE, parameters)?;
    let Some((explicit, _)) = take(CONTEXT_0, parameters) else {
        return Some(&SHA256); // sha1 by default
    };
    let (identifier, _) = take(SEQUENCE, explicit)?;
    match take(OID, identifier)?.0 {
        HASH_SHA1 | HASH_SHA256 => Some(&SHA256),
        HASH_SHA224 => Some(&SHA224),
        HASH_SHA384 => Some(&SHA384),
        HASH_SHA512 => Some(&SHA512),
        _ => None,
    }
}

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;
const SET: u8 = 0x31;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const CONTEXT_0: u8 = 0xa0;

const RSA_MD2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 2];
const RSA_MD5: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
const RSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const RSA_SHA224: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 14];
const DSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3];
const DSA_SHA224: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 1];
const DSA_SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 2];
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const ECDSA_SHA224: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
const HASH_SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const HASH_SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const HASH_SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const HASH_SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
const HASH_SHA224: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4];

/// Takes one DER element with this tag: its content and what follows it.
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, first], mut rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        rest = after;
        digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
    };
    rest.split_at_checked(length)
}
