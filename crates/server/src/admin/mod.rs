//! For those who watch: status, the HTTP listener.

pub mod http;
pub mod status;
