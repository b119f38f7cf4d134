//! For those who watch: counters, status, the HTTP listener.

pub mod http;
pub mod metrics;
pub mod status;
