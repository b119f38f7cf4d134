//! Where PostgreSQL's programs are, and who runs them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::fetch;
use crate::network::Host;
use crate::{Error, Result, during};

/// The user that PostgreSQL runs as when the lab itself runs as root, which `postgres` refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// PostgreSQL's programs.
#[derive(Debug, Clone)]
pub struct Installation {
    bin: PathBuf,
    major: u16,
    version: String,
    owner: Option<Owner>,
}

static FOUND: OnceCell<Installation> = OnceCell::const_new();

impl Installation {
    /// The installation of this run, looked for once: `EVERLINE_TEST_PG_BIN`, then the version
    /// `EVERLINE_TEST_PG_VERSION` fetched, then PATH, `pg_config` and the usual places, then
    /// what was fetched before, then the newest version fetched.
    ///
    /// # Errors
    /// [`Error::Skip`] when there is none and none can be fetched.
    pub async fn find() -> Result<&'static Self> {
        Self::find_saying(|_| ()).await
    }

    /// As [`Installation::find`]; `say` hears one line before each thing that takes time.
    ///
    /// # Errors
    /// See [`Installation::find`].
    pub async fn find_saying(say: impl Fn(&str)) -> Result<&'static Self> {
        FOUND.get_or_try_init(|| Self::look(&say)).await
    }

    async fn look(say: &impl Fn(&str)) -> Result<Self> {
        let owner = unprivileged();
        if let Some(bin) = env::var_os("EVERLINE_TEST_PG_BIN") {
            let bin = PathBuf::from(bin);
            return Self::at(&bin, owner)
                .await
                .ok_or_else(|| Error::Skip(format!("no usable PostgreSQL in {}", bin.display())));
        }
        let cache = cache_directory(owner);
        if let Ok(version) = env::var("EVERLINE_TEST_PG_VERSION") {
            let bin = fetch::fetch(&version, &cache, say).await?;
            return Self::at(&bin, owner).await.ok_or_else(|| cannot_run(&bin));
        }
        let mut places = usual_places().await;
        places.extend(fetch::fetched(&cache));
        for bin in places {
            if let Some(found) = Self::at(&bin, owner).await {
                return Ok(found);
            }
        }
        let bin = fetch::fetch("*", &cache, say).await?;
        Self::at(&bin, owner).await.ok_or_else(|| cannot_run(&bin))
    }

    /// The installation in the directory `bin`, when its programs run.
    async fn at(bin: &Path, owner: Option<Owner>) -> Option<Self> {
        if !bin.join("initdb").exists() {
            return None;
        }
        let mut command = as_owner(Command::new(bin.join("postgres")), owner);
        let said = command.arg("--version").stderr(Stdio::null()).output().await.ok()?;
        let said = String::from_utf8(said.stdout).ok()?;
        // "postgres (PostgreSQL) 15.12 (Debian 15.12-0+deb12u2)"
        let version = said.split_ascii_whitespace().nth(2)?.to_owned();
        let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some(Self { bin: bin.to_owned(), major, version, owner })
    }

    /// The directory of its programs.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Its major version, such as 15.
    #[must_use]
    pub fn major(&self) -> u16 {
        self.major
    }

    /// Its version as it says it, such as "15.12".
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command that runs one of its programs as the user that may.
    pub(super) fn program(&self, name: &str) -> Command {
        self.as_owner(self.bin.join(name))
    }

    /// As [`Installation::program`], on a host of its own.
    pub(super) fn program_on(&self, host: &Host, name: &str) -> std::process::Command {
        let owner = self.owner.map(|owner| (owner.uid, owner.gid));
        let mut command = host.command(self.bin.join(name), owner);
        clean(&mut command);
        command
    }

    /// A command that runs `program` as the owner of the data directories.
    #[must_use]
    pub fn as_owner(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        as_owner(Command::new(program), self.owner)
    }

    /// Makes `directory`, which only the owner of the data directories may enter.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made or given away.
    pub fn make_directory(&self, directory: &Path) -> Result<()> {
        let what = || format!("making {}", directory.display());
        during(what, fs::create_dir_all(directory))?;
        self.give(directory, 0o700)
    }

    /// Writes a file, readable by the owner of the data directories alone.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written or given away.
    pub fn write(&self, path: &Path, content: &str) -> Result<()> {
        during(|| format!("writing {}", path.display()), fs::write(path, content))?;
        self.give(path, 0o600)
    }

    fn give(&self, path: &Path, mode: u32) -> Result<()> {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let what = || format!("owner and mode of {}", path.display());
        during(what, fs::set_permissions(path, fs::Permissions::from_mode(mode)))?;
        match self.owner {
            Some(owner) => during(what, chown(path, Some(owner.uid), Some(owner.gid))),
            None => Ok(()),
        }
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// [`Error::Failed`] with what it said when it fails.
pub(super) async fn run(what: &str, command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = during(|| what.to_owned(), output)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let detail = format!("{}: {}", output.status, said.trim());
    Err(Error::Failed { what: what.to_owned(), detail })
}

fn as_owner(mut command: Command, owner: Option<Owner>) -> Command {
    clean(command.as_std_mut());
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

/// Keeps from a program what surrounds the lab.
fn clean(command: &mut std::process::Command) {
    // A working directory that the owner may not enter makes initdb complain.
    command.current_dir("/");
    for (name, _) in env::vars_os() {
        // PGDATA, PGOPTIONS and the like of the surrounding shell are not meant for us.
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
}

/// Whom to become: nobody else when the lab is an ordinary user, else `postgres` or `nobody`.
fn unprivileged() -> Option<Owner> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next() == Some(name);
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (is_it && uid != 0).then_some(Owner { uid, gid })
        })
    };
    let nobody = Owner { uid: 65_534, gid: 65_534 };
    Some(named("postgres").or_else(|| named("nobody")).unwrap_or(nobody))
}

/// Where fetched installations are kept. Root's own cache is closed to the unprivileged user.
fn cache_directory(owner: Option<Owner>) -> PathBuf {
    let in_home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = match owner {
        Some(_) => PathBuf::from("/var/cache"),
        None => env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(in_home)
            .unwrap_or_else(env::temp_dir),
    };
    base.join("everline")
}

async fn usual_places() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = env::split_paths(&path)
        .filter_map(|bin| fs::canonicalize(bin.join("postgres")).ok())
        .filter_map(|postgres| postgres.parent().map(Path::to_owned))
        .collect();
    if let Ok(said) = Command::new("pg_config").arg("--bindir").output().await {
        places.push(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()));
    }
    let mut versions = Vec::new();
    for parent in
        ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt", "/usr/local/opt", "/usr/local"]
    {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let version = name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse();
            let looks_right = parent == "/usr/lib/postgresql" || name.starts_with('p');
            if looks_right && entry.path().join("bin/initdb").exists() {
                versions.push((version.unwrap_or(0.0_f32), entry.path().join("bin")));
            }
        }
    }
    versions.sort_by(|left, right| right.0.total_cmp(&left.0));
    places.extend(versions.into_iter().map(|(_, bin)| bin));
    places
}

fn cannot_run(bin: &Path) -> Error {
    Error::Skip(format!("the PostgreSQL fetched to {} does not run here", bin.display()))
}
