//! Everline: keeps every application connected while PostgreSQL fails over.
//!
//! This crate is everything that waits: sockets, names, timers, files. What is decided is decided
//! in `everline-core`, what bytes mean is known by `everline-wire`.

pub mod admin;
pub mod backend;
pub mod check;
pub mod cli;
pub mod config;
pub mod frontend;
pub mod log;
mod main_from;
pub mod metrics;
pub mod net;
pub mod run;
pub mod signals;
pub mod sources;
pub mod status;
pub mod supervisor;

pub use main_from::main_from;
