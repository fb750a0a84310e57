//! The data folder: what outlives a run (servers' data, secrets, addresses), which launcher uses
//! it, and the env file.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A data folder that is ours until dropped, or until the process ends in any way.
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Everything the launcher once made up itself.
    own: BTreeMap<String, String>,
    _lock: File,
}

impl DataFolder {
    /// Opens `$NEXUS_DATA`, or `.nexus` in the current directory.
    pub(crate) fn open() -> Result<Self> {
        let path =
            std::env::var_os("NEXUS_DATA").map_or_else(|| PathBuf::from(".nexus"), PathBuf::from);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let path = path.canonicalize()?;
        // The kernel drops this lock with the process, so nothing stale is left behind by kill -9.
        let lock = File::create(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another run; stop that one, or set NEXUS_DATA and PORT to start a second",
                path.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let own = match dotenvy::from_path_iter(path.join("state")) {
            Ok(lines) => lines
                .collect::<Result<_, _>>()
                .context("the data folder's state file is damaged")?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { path, own, _lock: lock })
    }

    /// Where things are kept.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the user set in the environment. A value that we made up ourselves does not count: it
    /// comes from an earlier run's env file, and its servers may be gone.
    pub(crate) fn given(&self, name: &str) -> Option<String> {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        (self.own.get(name) != Some(&value)).then_some(value)
    }

    /// What we made up earlier.
    pub(crate) fn own(&self, name: &str) -> Option<&str> {
        self.own.get(name).map(String::as_str)
    }

    /// Keeps something we made up.
    pub(crate) fn keep(&mut self, name: &str, value: &str) -> Result<()> {
        self.own.insert(name.to_owned(), value.to_owned());
        write_private(
            &self.path.join("state"),
            &self.own.iter().map(|(name, value)| line(name, value)).collect::<String>(),
        )
    }

    /// Where the settings of a running Nexus are written.
    pub(crate) fn env_file(&self) -> PathBuf {
        self.path.join("env")
    }

    /// Writes the env file, whose settings a shell that reads it passes on; it appears complete or
    /// not at all.
    pub(crate) fn write_env(&self, settings: &[(String, String)]) -> Result<()> {
        let exports = settings.iter().map(|(name, value)| format!("export {}", line(name, value)));
        write_private(&self.env_file(), &exports.collect::<String>())
    }

    /// Nothing is running any more, or not yet.
    pub(crate) fn remove_env(&self) {
        let _ = std::fs::remove_file(self.env_file());
    }

    /// Deletes what runs have left here, and the folder if nothing else is in it.
    pub(crate) fn delete(self) -> Result<()> {
        for dir in ["postgres", "redis"].map(|name| self.path.join(name)) {
            if dir.exists() {
                std::fs::remove_dir_all(&dir)
                    .with_context(|| format!("cannot delete {}", dir.display()))?;
            }
        }
        for file in ["env", "state", "lock"] {
            let _ = std::fs::remove_file(self.path.join(file));
        }
        let _ = std::fs::remove_dir(&self.path);
        println!("{} is clean", self.path.display());
        Ok(())
    }
}

/// `NAME='value'`, which shells and dotenv read alike.
fn line(name: &str, value: &str) -> String {
    format!("{name}='{}'\n", value.replace('\'', r"'\''"))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let unfinished = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))
}
