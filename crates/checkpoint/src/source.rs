//! Where the files of a checkpoint come from.

use crate::digest::Digest;
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;

/// Why a [`Source`] could not deliver.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    /// A read asked for a file that is not there.
    #[error("{path} is not there: check that the checkpoint is complete")]
    Missing {
        /// The path asked for.
        path: String,
    },

    /// The path is not one inside the checkpoint.
    #[error("{path:?} is refused, it {reason}: use a checkpoint whose files lie in its own folder")]
    Refused {
        /// The path asked for.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A read reached past the end of the file, or the file changed meanwhile.
    #[error(
        "{path} gave {got} bytes where {wanted} were asked for: check that the file is complete and unchanged, then try again"
    )]
    Short {
        /// The path asked for.
        path: String,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes there were.
        got: u64,
    },

    /// Whoever has the file wants to know who asks for it.
    #[error("{path} could not be read, {reason}: {remedy}")]
    Denied {
        /// The path asked for.
        path: String,
        /// What stands in the way.
        reason: String,
        /// What to do about it.
        remedy: String,
    },

    /// The file is no longer the one that was begun with.
    #[error(
        "{path} has changed since it was begun with ({how}): delete what has arrived, then begin anew"
    )]
    Changed {
        /// The path asked for.
        path: String,
        /// By what that is seen.
        how: String,
    },

    /// Trying again is of no use before somebody has done something.
    #[error("{path} could not be read, {reason}: {remedy}")]
    Blocked {
        /// The path asked for.
        path: String,
        /// What stands in the way.
        reason: String,
        /// What to do about it.
        remedy: String,
    },

    /// The file system, the network or the store failed.
    #[error("{path} could not be read, {reason}: check that it can be reached, then try again")]
    Failed {
        /// The path asked for.
        path: String,
        /// What the platform says.
        reason: String,
    },
}

/// The files of one checkpoint: a folder, a web address, files a person chose.
///
/// Paths are relative to the checkpoint folder and use `/`, as in
/// `model.safetensors`. Futures need not be `Send`: those of a browser are not.
pub trait Source {
    /// Bytes of the file, or `None` if there is no such file.
    fn size(&self, path: &str) -> impl Future<Output = Result<Option<u64>, SourceError>>;

    /// The bytes in `range` (byte offsets): exactly as many as asked for, or an
    /// error.
    fn read(
        &self,
        path: &str,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Vec<u8>, SourceError>>;

    /// The SHA-256 of the whole file, where whoever publishes it says so.
    fn digest(&self, path: &str) -> Option<Digest> {
        let _ = path;
        None
    }

    /// What changes when the file does, such as an `ETag`, where the source knows such a thing
    /// and has been asked for the file's size. Only for files without a digest.
    fn validator(&self, path: &str) -> Option<String> {
        let _ = path;
        None
    }
}

impl<S: Source> Source for &S {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        (**self).size(path).await
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        (**self).read(path, range).await
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        (**self).digest(path)
    }

    fn validator(&self, path: &str) -> Option<String> {
        (**self).validator(path)
    }
}

/// Refuses a path that could lead out of the checkpoint, on any file system or
/// web server: file names in an index are as hostile as the rest of it.
///
/// # Errors
/// [`SourceError::Refused`] unless every segment between `/` is a plain name.
pub fn check_path(path: &str) -> Result<(), SourceError> {
    let reason = if path.is_empty() {
        "is empty"
    } else if path.starts_with('/') {
        "is an absolute path"
    } else if path.contains(|c: char| c.is_control() || "\\:?#%".contains(c)) {
        "has characters that a file name should not have"
    } else if path.split('/').any(|part| matches!(part, "." | "..")) {
        "leaves the checkpoint's folder"
    } else if path.split('/').any(str::is_empty) {
        "has an empty part"
    } else {
        return Ok(());
    };
    Err(SourceError::Refused {
        path: path.chars().take(96).collect(),
        reason,
    })
}

/// Reads `range` and holds the source to its promise: what follows relies on
/// the length.
pub(crate) async fn read_exact<S: Source>(
    source: &S,
    path: &str,
    range: Range<u64>,
) -> Result<Vec<u8>, SourceError> {
    let wanted = range.end.saturating_sub(range.start);
    if wanted == 0 {
        // An empty range is not a request that HTTP can express.
        return Ok(Vec::new());
    }
    let bytes = source.read(path, range).await?;
    if bytes.len() as u64 != wanted {
        return Err(SourceError::Short {
            path: path.to_owned(),
            wanted,
            got: bytes.len() as u64,
        });
    }
    Ok(bytes)
}

/// `bytes[range]`, or how many bytes there are of it.
fn cut(path: &str, bytes: &[u8], range: &Range<u64>) -> Result<Vec<u8>, SourceError> {
    let within = || {
        let start = usize::try_from(range.start).ok()?;
        let end = usize::try_from(range.end).ok()?;
        bytes.get(start..end)
    };
    within()
        .map(<[u8]>::to_vec)
        .ok_or_else(|| short(path, range, bytes.len() as u64))
}

fn short(path: &str, range: &Range<u64>, size: u64) -> SourceError {
    SourceError::Short {
        path: path.to_owned(),
        wanted: range.end.saturating_sub(range.start),
        got: range.end.min(size).saturating_sub(range.start),
    }
}

/// Files held in memory, by name.
#[derive(Clone, Default, Debug)]
pub struct MemorySource {
    files: BTreeMap<String, Vec<u8>>,
}

impl MemorySource {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, or replaces the one of this name.
    pub fn insert(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), bytes.into());
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &str) -> Option<Vec<u8>> {
        self.files.remove(path)
    }

    /// The bytes of a file.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The names of all files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

impl<P: Into<String>, B: Into<Vec<u8>>> FromIterator<(P, B)> for MemorySource {
    fn from_iter<I: IntoIterator<Item = (P, B)>>(files: I) -> Self {
        let files = files.into_iter().map(|(path, b)| (path.into(), b.into()));
        Self {
            files: files.collect(),
        }
    }
}

impl Source for MemorySource {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        check_path(path)?;
        Ok(self.get(path).map(|bytes| bytes.len() as u64))
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        check_path(path)?;
        let bytes = self.get(path).ok_or_else(|| SourceError::Missing {
            path: path.to_owned(),
        })?;
        cut(path, bytes, &range)
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use folder::Folder;

#[cfg(not(target_arch = "wasm32"))]
mod folder {
    use super::{Source, SourceError, check_path, short};
    use std::fs::{self, File, Metadata};
    use std::io::{ErrorKind, Read, Seek, SeekFrom};
    use std::ops::Range;
    use std::path::{Path, PathBuf};
    use std::time::UNIX_EPOCH;

    /// A checkpoint in a directory.
    ///
    /// Symbolic links are followed, because the hub's own cache is made of
    /// them; the path itself may not lead out of the directory.
    #[derive(Clone, Debug)]
    pub struct Folder {
        root: PathBuf,
    }

    impl Folder {
        /// The checkpoint in `root`; nothing is read yet.
        pub fn new(root: impl Into<PathBuf>) -> Self {
            Self { root: root.into() }
        }

        /// The directory.
        pub fn root(&self) -> &Path {
            &self.root
        }

        fn find(&self, path: &str) -> Result<Option<(PathBuf, Metadata)>, SourceError> {
            check_path(path)?;
            let full = self.root.join(path);
            match fs::metadata(&full) {
                Ok(metadata) if metadata.is_file() => Ok(Some((full, metadata))),
                Ok(_) => Err(failed(&full, "it is not a file")),
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    Ok(None)
                }
                Err(e) => Err(failed(&full, e)),
            }
        }
    }

    fn failed(path: &Path, reason: impl ToString) -> SourceError {
        SourceError::Failed {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }

    impl Source for Folder {
        async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
            Ok(self.find(path)?.map(|(_, metadata)| metadata.len()))
        }

        async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
            let (full, metadata) = self.find(path)?.ok_or_else(|| SourceError::Missing {
                path: path.to_owned(),
            })?;
            let shown = full.display().to_string();
            if range.end > metadata.len() || range.start > range.end {
                return Err(short(&shown, &range, metadata.len()));
            }
            let wanted = range.end - range.start;
            let length = usize::try_from(wanted).map_err(|e| failed(&full, e))?;
            let mut file = File::open(&full).map_err(|e| failed(&full, e))?;
            file.seek(SeekFrom::Start(range.start))
                .map_err(|e| failed(&full, e))?;
            let mut bytes = Vec::with_capacity(length);
            file.take(wanted)
                .read_to_end(&mut bytes)
                .map_err(|e| failed(&full, e))?;
            if bytes.len() != length {
                return Err(short(&shown, &range, range.start + bytes.len() as u64));
            }
            Ok(bytes)
        }

        /// The time of the last change, in nanoseconds since 1970.
        fn validator(&self, path: &str) -> Option<String> {
            let (_, metadata) = self.find(path).ok()??;
            let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(since.as_nanos().to_string())
        }
    }
}
