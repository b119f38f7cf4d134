//! Everline: keeps every application connected while PostgreSQL fails over.
//!
//! This crate is everything that waits: sockets, names, timers, files. What is decided is decided
//! in `everline-core`, what bytes mean is known by `everline-wire`.

pub mod backend;
pub mod check;
pub mod cli;
pub mod config;
pub mod log;
pub mod net;
