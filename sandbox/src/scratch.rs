//! Where throwaway files are: in memory, where there is room for them.
//!
//! A PostgreSQL cluster is hundreds of small files, and a file system on a disk is slow to make
//! files where others have just been deleted: for a test that takes a second it was nearly half of
//! the work.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

const MEMORY: &str = "/dev/shm";
/// For the clusters of several tests at once, one of which may be large.
const ROOM: u64 = 2 << 30;

/// A path below which throwaway directories may be made. TMPDIR says otherwise.
pub fn directory() -> PathBuf {
    let memory = Path::new(MEMORY);
    let has_room = || {
        access(memory, Access::WRITE_OK).is_ok()
            && statvfs(memory).is_ok_and(|memory| memory.f_bavail * memory.f_frsize >= ROOM)
    };
    if std::env::var_os("TMPDIR").is_none() && has_room() {
        return memory.to_owned();
    }
    std::env::temp_dir()
}
