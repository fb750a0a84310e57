//! How a cluster comes into being: the binaries, the account it belongs to, initdb once, copies
//! afterwards.

use std::fs::{File, Metadata};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::{self, Account};

/// The directory that holds the PostgreSQL programs: from PATH, else the highest version that
/// Debian installed.
pub(super) fn binaries() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let from_path = std::env::split_paths(&path)
        // Debian links single programs into PATH; the others are beside the link's target.
        .filter_map(|dir| dir.join("initdb").canonicalize().ok()?.parent().map(Path::to_owned));
    let mut installed: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            Some((entry.as_ref().ok()?.file_name().to_str()?.parse().ok()?, entry.ok()?.path()))
        })
        .collect();
    installed.sort();
    from_path
        .chain(installed.into_iter().rev().map(|(_, dir)| dir.join("bin")))
        .find(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file())
        .context("PostgreSQL is not installed: neither PATH nor /usr/lib/postgresql/*/bin holds initdb and postgres")
}

/// Makes sure that a cluster exists in `data`, and says which account it has to run under.
pub(super) fn prepare(
    binaries: &Path,
    data: &Path,
    from: Option<&Path>,
) -> Result<Option<Account>> {
    if !is_cluster(data) {
        match from {
            Some(template) => copy(template, data)?,
            None => copy(&template(binaries)?, data)?,
        }
    }
    // PostgreSQL refuses root, so root runs a cluster as its owner.
    let owner = std::fs::metadata(data)?;
    Ok(is_root().then(|| Account { uid: owner.uid(), gid: owner.gid() }))
}

/// Copies a stopped cluster, sharing its blocks where the file system can.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() && !is_cluster(to) {
        std::fs::remove_dir_all(to)?; // what an interrupted copy left behind
    }
    // Copied beside and renamed, so that a cluster is either whole or not there.
    let unfinished = to.with_extension("unfinished");
    let _ = std::fs::remove_dir_all(&unfinished);
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(&unfinished))?;
    std::fs::rename(&unfinished, to).with_context(|| format!("cannot create {}", to.display()))
}

/// A freshly initialised cluster with an empty database `nexus`, made once per PostgreSQL version
/// and user.
fn template(binaries: &Path) -> Result<PathBuf> {
    let version = run(Command::new(binaries.join("postgres")).arg("--version"))?;
    let version = version.split_whitespace().nth(2).unwrap_or("unknown").replace('.', "_");
    let uid = rustix::process::geteuid().as_raw();
    let home = reachable_temp_dir();
    let template = home.join(format!("nexus-postgres-{version}-{uid}"));
    let account = if is_root() { Some(unprivileged_account()?) } else { None };

    // One process makes it; the others wait here and find it made.
    let lock = File::create(template.with_extension("lock"))?;
    lock.lock()?;
    if is_cluster(&template) {
        // Every account may write there: only trust what the right account owns.
        let owner = std::fs::metadata(&template)?.uid();
        if owner != account.map_or(uid, |account| account.uid) {
            bail!("{} belongs to somebody else; remove it", template.display());
        }
        return Ok(template);
    }
    let unfinished = template.with_extension("unfinished");
    let _ = std::fs::remove_dir_all(&unfinished);
    std::fs::DirBuilder::new().mode(0o700).create(&unfinished)?;
    if let Some(Account { uid, gid }) = account {
        chown(&unfinished, Some(uid), Some(gid))?;
    }
    run(process::command(binaries.join("initdb"), account, "KILL")
        .args(["--username=nexus", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
        .args(["--no-sync", "--no-instructions", "--wal-segsize=1", "-D"])
        .arg(&unfinished)
        .current_dir("/"))?;
    create_database(binaries, account, &unfinished)?;
    std::fs::rename(&unfinished, &template)?;
    Ok(template)
}

/// Single-user mode needs neither a port nor a client.
fn create_database(binaries: &Path, account: Option<Account>, data: &Path) -> Result<()> {
    let mut command = process::command(binaries.join("postgres"), account, "KILL");
    command.args(["--single", "-F", "-D"]).arg(data).arg("postgres").current_dir("/");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(b"CREATE DATABASE nexus\n")?;
    }
    if !child.wait()?.success() {
        bail!("cannot create the database nexus");
    }
    Ok(())
}

/// SIGKILL leaves the cluster's small System V segment behind, and a machine has only 4,096 of
/// them.
pub(super) fn release_shared_memory(data: &Path) {
    // Seventh line of postmaster.pid: key and id. An orderly shutdown removes the file.
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    if let Some(id) = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
        let _ = Command::new("ipcrm").args(["-m", id]).stderr(Stdio::null()).status();
    }
}

fn is_cluster(dir: &Path) -> bool {
    dir.join("PG_VERSION").is_file()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn unprivileged_account() -> Result<Account> {
    let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let find = |name: &str| {
        let fields: Vec<&str> =
            accounts.lines().map(|l| l.split(':').collect()).find(|f: &Vec<_>| f[0] == name)?;
        Some(Account { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .context("PostgreSQL cannot run as root, and there is no other account")
}

/// The system's temporary directory, or the first usual one that every account can reach.
fn reachable_temp_dir() -> PathBuf {
    let open_to_all = |metadata: Metadata| metadata.permissions().mode() & 0o001 != 0;
    let reachable = |dir: &Path| dir.ancestors().all(|dir| dir.metadata().is_ok_and(open_to_all));
    [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()]
        .into_iter()
        .find(|dir| !is_root() || reachable(dir))
        .unwrap_or_else(std::env::temp_dir)
}

/// Runs a helper program to its end and returns what it printed.
fn run(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
