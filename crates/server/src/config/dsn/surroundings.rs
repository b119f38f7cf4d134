//! What a DSN may take from outside itself.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The environment of one reading: passed in, so that a test does not touch the process's own.
pub struct Surroundings<'a> {
    /// An environment variable by its name; `None` when it is not set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The home directory, for `.pgpass` and `.postgresql/`.
    pub home: Option<PathBuf>,
    /// The name of the operating system's user, the last default of `user`.
    pub user: Option<String>,
    /// The directory of the Unix socket that is asked when no host is named.
    pub socket_directory: PathBuf,
}

impl Surroundings<'static> {
    /// The process's own surroundings.
    pub fn process() -> Self {
        Self {
            variable: &|name| std::env::var(name).ok(),
            home: std::env::var_os("HOME")
                .filter(|home: &OsString| !home.is_empty())
                .map(PathBuf::from),
            user: os_user(),
            socket_directory: socket_directory(),
        }
    }
}

impl Surroundings<'_> {
    /// A variable that is set and not empty: libpq takes an empty one as not set.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("home", &self.home).finish_non_exhaustive()
    }
}

/// The name in `/etc/passwd` of the user whom this process runs as.
///
/// Directories behind nsswitch are not asked: a service that runs as such a user names its
/// PostgreSQL role.
fn os_user() -> Option<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut columns = line.split(':');
        let name = columns.next()?;
        (columns.nth(1)? == uid).then(|| name.to_owned())
    })
}

/// Debian's and Red Hat's packages have the socket under `/run`, PostgreSQL's own default is
/// `/tmp`.
fn socket_directory() -> PathBuf {
    ["/run/postgresql", "/var/run/postgresql"]
        .into_iter()
        .map(Path::new)
        .find(|directory| directory.is_dir())
        .unwrap_or(Path::new("/tmp"))
        .to_owned()
}
