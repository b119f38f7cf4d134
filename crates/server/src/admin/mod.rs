//! For those who watch and command: one snapshot, read by page, probes, metrics and console alike.

pub mod averages;
pub mod command;
pub mod console;
pub mod control;
pub mod events;
pub mod exposition;
pub mod guests;
pub mod http;
mod process;
pub mod show;
pub mod status;
pub mod table;
pub mod words;
