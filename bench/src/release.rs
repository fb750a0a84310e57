//! A release of Nexus: the binaries of one folder. A comparison needs a folder of each release.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::servers::Servers;

/// Where a release's binaries are.
#[derive(Debug, Clone)]
pub struct Release(PathBuf);

impl Release {
    /// The release that was built together with the driver.
    pub fn of_driver() -> Result<Self> {
        let own = std::env::current_exe()?;
        Ok(Release(own.parent().context("no directory")?.to_owned()))
    }

    /// A release that was built elsewhere.
    pub fn at(dir: &Path) -> Result<Self> {
        let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
        Ok(Release(dir))
    }

    /// One of its binaries.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        ensure!(path.is_file(), "{} is not built", path.display());
        Ok(path)
    }

    /// Makes its schema in a database.
    pub fn migrate(&self, servers: &Servers, database: &str) -> Result<()> {
        let mut migrate = servers.command(&self.binary("nexus-api")?, "migrate")?;
        let status = migrate.arg("migrate").env("DATABASE_URL", database).status()?;
        ensure!(status.success(), "nexus-api migrate ended with {status}");
        Ok(())
    }
}
