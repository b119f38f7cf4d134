//! A disk of a bounded size for one node: a file system in memory that can be filled up.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Installation;
use super::install::run;
use crate::process::leave_to_reaper;
use crate::{Error, Result, during};

/// How much is written at a time when it is filled up; then byte by byte.
const PIECE_BYTES: usize = 64 * 1024;

/// A mounted file system. It is unmounted when dropped, and its directory goes.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Mounts one of so many MiB over `directory`, which is empty.
    ///
    /// # Errors
    /// [`Error::Skip`] where nothing can be mounted.
    pub(super) async fn mount(
        installation: &Installation,
        directory: &Path,
        mebibytes: u32,
    ) -> Result<Self> {
        let mut mount = tokio::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "everline-lab"]);
        mount.arg(directory);
        let skip = |error: Error| Error::Skip(format!("no disk of our own: {error}"));
        run("mounting a disk", &mut mount).await.map_err(skip)?;
        leave_to_reaper(&format!("^{}", directory.display()))?;
        let disk = Self { directory: directory.to_owned() };
        installation.make_directory(directory)?;
        Ok(disk)
    }

    /// Writes until there is no room for a single byte.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made.
    pub(super) fn fill(&self) -> Result<()> {
        let ballast = self.ballast();
        let mut file = during(|| ballast.display().to_string(), File::create(&ballast))?;
        for piece in [vec![0; PIECE_BYTES], vec![0; 1]] {
            while file.write_all(&piece).is_ok() {}
        }
        Ok(())
    }

    /// Gives the room back.
    pub(super) fn free(&self) {
        let _ = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.directory.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.directory).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = umount.status();
        let _ = fs::remove_dir(&self.directory);
    }
}
