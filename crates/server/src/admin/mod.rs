//! For those who watch and command: one snapshot, read by page, probes, metrics and console alike.

pub mod events;
pub mod exposition;
pub mod guests;
pub mod http;
mod process;
pub mod status;
pub mod words;
