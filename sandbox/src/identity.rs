//! The certificate with which a server proves its identity.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::Account;

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Identity {
    /// The files `server.crt` and `server.key` in `dir`, readable for the server only.
    pub(crate) fn write(&self, dir: &Path, account: Option<Account>) -> Result<()> {
        for (name, text) in [("server.crt", &self.certificate), ("server.key", &self.key)] {
            let path = dir.join(name);
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            if let Some(Account { uid, gid }) = account {
                chown(&path, Some(uid), Some(gid))?;
            }
        }
        Ok(())
    }
}
