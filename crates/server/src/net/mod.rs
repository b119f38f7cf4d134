//! Sockets of both sides: options, TLS, one type for all of them.

mod certificate;
pub mod end;
pub mod handover;
pub mod listen;
pub mod notify;
mod self_signed;
pub mod socket;
pub mod stream;
pub mod tls;
mod verify;
