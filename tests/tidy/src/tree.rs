//! The repository's files.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that are made, not written.
const MADE: [&str; 2] = ["target", ".git"];

/// A file, read whole.
#[derive(Debug)]
pub struct File {
    /// Where it stands, from the repository's root, with forward slashes.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl File {
    /// Whether it holds nothing but tests, or what is run by hand.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let beside = ["/tests/", "/examples/"].iter().any(|part| self.path.contains(part));
        beside || self.path.ends_with("_tests.rs") || self.path.starts_with("tests/")
    }

    /// Whether it belongs to one of these packages' sources, named by their directories.
    #[must_use]
    pub fn is_in(&self, crates: &[&str]) -> bool {
        let mut parts = self.path.split('/');
        parts.next() == Some("crates") && parts.next().is_some_and(|name| crates.contains(&name))
    }
}

/// The repository's root: of the package that Cargo runs, which may be a copy of the one that was
/// compiled.
#[must_use]
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    let package = package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).join("../..")
}

/// All files whose names end in this, in the order of their paths.
///
/// # Panics
/// When the tree cannot be read.
#[must_use]
pub fn files(ending: &str) -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), "", ending, &mut found);
    found.sort_by(|left, right| left.path.cmp(&right.path));
    assert!(!found.is_empty(), "no file ends in {ending}");
    found
}

/// All Rust files of the packages under `crates/`, tests left out.
#[must_use]
pub fn sources() -> Vec<File> {
    let sources = files(".rs").into_iter();
    sources.filter(|file| file.path.starts_with("crates/") && !file.is_test()).collect()
}

/// One file.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn file(path: &str) -> File {
    let text = fs::read_to_string(root().join(path));
    File { path: path.to_owned(), text: text.unwrap_or_else(|error| panic!("{path}: {error}")) }
}

fn walk(directory: &Path, prefix: &str, ending: &str, found: &mut Vec<File>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{prefix}: {error}"));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{prefix}: {error}"));
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap_or_else(|error| panic!("{path}: {error}"));
        if kind.is_dir() {
            if !MADE.contains(&name.as_str()) {
                walk(&entry.path(), &format!("{path}/"), ending, found);
            }
        } else if kind.is_file() && name.ends_with(ending) {
            found.push(file(&path));
        }
    }
}
