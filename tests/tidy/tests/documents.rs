//! What is promised in words is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use everline_tidy::Offences;
use everline_tidy::tree::{File, file, files, root};

/// Documents that a stranger looks for.
const EXPECTED: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "docs/manual/README.md",
    "docs/manual/settings.md",
];

/// Most lines of ARCHITECTURE.md: it is read whole or not at all.
const ARCHITECTURE_LINES_MAX: usize = 250;

#[test]
fn what_a_stranger_looks_for_is_there() {
    let mut offences = Offences::default();
    for path in EXPECTED {
        if !root().join(path).is_file() {
            offences.of(path, "is missing");
        }
    }
    offences.none("documents and licences");
}

#[test]
fn links_lead_somewhere() {
    let mut offences = Offences::default();
    for document in files(".md") {
        let directory = Path::new(&document.path).parent().unwrap_or(Path::new("")).to_owned();
        for (number, target) in links(&document.text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let there = root().join(&directory).join(path);
            if path.is_empty() {
                check_anchor(&document, &document.text, anchor, number, &mut offences);
            } else if !there.exists() {
                offences.at(&document, number, format_args!("{target}: there is no such file"));
            } else if !anchor.is_empty() {
                let text = fs::read_to_string(&there).unwrap_or_default();
                check_anchor(&document, &text, anchor, number, &mut offences);
            }
        }
    }
    offences.none("a link leads nowhere");
}

#[test]
fn every_page_of_the_manual_is_in_its_index() {
    let index = file("docs/manual/README.md");
    let linked: BTreeSet<_> = links(&index.text).into_iter().map(|(_, target)| target).collect();
    let mut offences = Offences::default();
    for page in files(".md") {
        if let Some(name) = page.path.strip_prefix("docs/manual/")
            && !["README.md", "SUMMARY.md"].contains(&name)
            && !linked.contains(name)
        {
            offences.of(&page.path, "is not in docs/manual/README.md");
        }
    }
    offences.none("the manual's index names every page");
}

/// A file is named by its path from the root, in backquotes.
#[test]
fn the_files_that_documents_name_exist() {
    let mut offences = Offences::default();
    for document in files(".md") {
        for (index, line) in document.text.lines().enumerate() {
            for quoted in line.split('`').skip(1).step_by(2) {
                let named = FIRST_PARTS.iter().any(|first| quoted.starts_with(first));
                let pattern = quoted.contains(['*', '…', '<', ' ', '{']);
                if named && !pattern && !root().join(quoted).exists() {
                    offences.at(&document, index + 1, format_args!("{quoted}: no such file"));
                }
            }
        }
    }
    offences.none("a file that a document names is not there");
}

/// With what the path of one of our files begins.
const FIRST_PARTS: [&str; 5] = ["crates/", "tests/", "docs/", ".ci/", ".cargo/"];

#[test]
fn the_architecture_is_short_and_names_every_package() {
    let document = file("ARCHITECTURE.md");
    let lines = document.text.lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "{lines} lines, at most {ARCHITECTURE_LINES_MAX}");
    let mut offences = Offences::default();
    let packages = files("Cargo.toml").into_iter().filter(|file| file.path != "Cargo.toml");
    for package in packages {
        let directory = package.path.trim_end_matches("/Cargo.toml");
        if !document.text.contains(&format!("`{directory}")) {
            offences.of(directory, "is not in ARCHITECTURE.md");
        }
    }
    offences.none("the map names every package");
}

#[test]
fn the_changelog_speaks_of_this_version() {
    let text = file("CHANGELOG.md").text;
    let version = format!("## {}", workspace_version());
    let has = |heading: &str| text.lines().any(|line| line.starts_with(heading));
    assert!(has("## Unreleased") || has(&version), "neither ## Unreleased nor {version}");
}

#[test]
fn decisions_are_numbered_dated_and_whole() {
    let mut offences = Offences::default();
    let decisions: Vec<_> =
        files(".md").into_iter().filter(|file| file.path.starts_with("docs/decisions/")).collect();
    assert!(!decisions.is_empty(), "there are decisions");
    for (index, decision) in decisions.iter().enumerate() {
        let number = format!("{:04}", index + 1);
        if !decision.path.starts_with(&format!("docs/decisions/{number}-")) {
            offences.of(&decision.path, format_args!("should have the number {number}"));
        }
        if !decision.text.starts_with(&format!("# {number} ")) {
            offences.at(decision, 1, format_args!("does not begin with # {number}"));
        }
        for part in ["Date: 20", "Question:", "Options:", "Choice:", "Consequence:"] {
            if !decision.text.lines().any(|line| line.starts_with(part)) {
                offences.of(&decision.path, format_args!("has no line that begins with {part}"));
            }
        }
    }
    offences.none("a decision has a number, a date, a question, options, a choice, a consequence");
}

#[test]
fn the_licences_are_those_that_the_packages_name() {
    assert!(file("Cargo.toml").text.contains("license = \"Apache-2.0 OR MIT\""));
    assert!(file("LICENSE-APACHE").text.contains("Version 2.0, January 2004"));
    let mit = file("LICENSE-MIT").text;
    assert!(mit.contains("Permission is hereby granted") && mit.contains("Everline developers"));
}

/// Each relative link with its line; code blocks are no prose.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for (at, opening) in prose.match_indices("](") {
            let rest = prose.get(at + opening.len()..).unwrap_or_default();
            if let Some((target, _)) = rest.split_once(')') {
                found.push((index + 1, target.to_owned()));
            }
        }
    }
    found
}

fn check_anchor(from: &File, text: &str, anchor: &str, number: usize, offences: &mut Offences) {
    let mut headings = text.lines().filter(|line| line.starts_with('#'));
    if !headings.any(|heading| slug(heading.trim_start_matches('#').trim()) == anchor) {
        offences.at(from, number, format_args!("#{anchor}: there is no such heading"));
    }
}

/// A heading's anchor as GitHub makes it.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn workspace_version() -> String {
    let manifest = file("Cargo.toml").text;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    line.and_then(|line| line.strip_suffix('"')).expect("the workspace has a version").to_owned()
}

/// The manual's table of contents, as mdBook reads it, has every page.
#[test]
fn the_table_of_contents_has_every_page() {
    let pages = files(".md").into_iter();
    let pages = pages.filter(|file| file.path.starts_with("docs/manual/"));
    let (contents, pages): (Vec<_>, Vec<_>) =
        pages.partition(|file| file.path.ends_with("SUMMARY.md"));
    let contents = contents.first().map(|file| file.text.clone()).unwrap_or_default();
    let mut offences = Offences::default();
    for page in pages {
        let name = page.path.trim_start_matches("docs/manual/");
        if !contents.contains(&format!("]({name})")) {
            offences.of(&page.path, "is not in docs/manual/SUMMARY.md");
        }
    }
    offences.none("a page that nobody finds is not read");
}
