//! One writer at a time to a folder.

#![cfg(not(target_arch = "wasm32"))]

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::folder::failed;
use super::store::StoreError;

/// The file that is locked; it is there while somebody writes.
const LOCK_FILE: &str = "partial.lock";

/// The right to write to a folder, of one program on this machine. The operating system takes it
/// back when the program ends, however it ends: a lock file that is left over locks nothing.
#[derive(Debug)]
#[must_use = "it is released when it is dropped"]
pub struct FolderLock {
    /// `None` where the file system knows no locks.
    file: Option<File>,
    path: PathBuf,
}

impl FolderLock {
    /// Takes the right to write to `root`, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another program has it.
    pub(super) fn take(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(LOCK_FILE);
        let failed = |error: io::Error| failed("locking", &path, &error);
        fs::create_dir_all(root).map_err(failed)?;
        loop {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(false);
            let file = file.open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    let file = Some(file);
                    return Ok(Self { file, path });
                }
                // Whoever had it has just removed it: this is no longer the folder's lock.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Busy {
                        what: root.display().to_string(),
                    });
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Self { file: None, path });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody takes what is about to go. What stays because
        // it cannot be removed hinders nobody.
        let _ = fs::remove_file(&self.path);
        drop(self.file.take());
    }
}

/// Whether the file is the one that lies at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

/// Elsewhere a file that is open is not removed.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}
