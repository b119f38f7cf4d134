//! What the fuzzers do with their input.
//!
//! Each target is a function over bytes that panics when a promise is broken. `fuzz/` lets
//! libFuzzer look for such bytes; the test in `tests/replay.rs` gives each function what was
//! found so far, in every run of the tests.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is what it is about")]
#![expect(clippy::missing_panics_doc, reason = "a panic is what it is about")]

pub mod conversation;
pub mod gel;
pub mod input;
pub mod model;
pub mod postgres;
#[cfg(feature = "server")]
pub mod server;
pub mod stray;

/// What a target does with its input.
pub type Target = fn(&[u8]);

/// All targets by their names, which are those of their programs and of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("postgres_frames", postgres::frames),
    ("startup", postgres::startup_packet),
    ("scram", postgres::scram),
    ("sql", postgres::sql),
    ("proxy_header", postgres::proxy_header),
    ("conversation", conversation::differential),
    ("conversation_stray", stray::conversation),
    ("gel_frames", gel::frames),
    ("gel_session", gel::session),
    #[cfg(feature = "server")]
    ("dsn", server::dsn),
    #[cfg(feature = "server")]
    ("settings_file", server::settings_file),
    #[cfg(feature = "server")]
    ("clusterdata", server::clusterdata),
    #[cfg(feature = "server")]
    ("consul", server::consul),
];

/// Gives `data` to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target's name");
    target(data);
}
