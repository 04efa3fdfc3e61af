//! The bytes of a served file.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::Digest as _;

/// Makes the bytes in a range of a file.
type Make = dyn Fn(Range<u64>) -> Vec<u8> + Send + Sync;

/// A file's content. Clones share it.
#[derive(Clone)]
pub struct Content(Kind);

#[derive(Clone)]
enum Kind {
    Bytes(Arc<[u8]>),
    File {
        path: PathBuf,
        bytes: u64,
    },
    Generated {
        bytes: u64,
        sha256: Option<[u8; 32]>,
        make: Arc<Make>,
    },
}

impl Content {
    /// A file on this machine, read when it is asked for.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn file(path: &Path) -> Self {
        let bytes = std::fs::metadata(path).unwrap().len();
        Self(Kind::File {
            path: path.to_owned(),
            bytes,
        })
    }

    /// `bytes` bytes that `make` makes, a piece of at most 64 KiB at a time, on the server's
    /// thread. The SHA-256 of all of them is for the hub's list, which does without where it is
    /// `None`.
    pub fn generated(
        bytes: u64,
        sha256: Option<[u8; 32]>,
        make: impl Fn(Range<u64>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self(Kind::Generated {
            bytes,
            sha256,
            make: Arc::new(make),
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Bytes(bytes) => bytes.len() as u64,
            Kind::File { bytes, .. } | Kind::Generated { bytes, .. } => *bytes,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in a range that lies within it.
    pub(super) fn read(&self, range: Range<u64>) -> Vec<u8> {
        match &self.0 {
            Kind::Bytes(bytes) => bytes[range.start as usize..range.end as usize].to_vec(),
            Kind::File { path, .. } => {
                let mut file = File::open(path).unwrap();
                file.seek(SeekFrom::Start(range.start)).unwrap();
                let mut bytes = vec![0; (range.end - range.start) as usize];
                file.read_exact(&mut bytes).unwrap();
                bytes
            }
            Kind::Generated { make, .. } => {
                let bytes = make(range.clone());
                assert_eq!(bytes.len() as u64, range.end - range.start);
                bytes
            }
        }
    }

    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        match &self.0 {
            Kind::Bytes(bytes) => Some(sha2::Sha256::digest(bytes).into()),
            Kind::File { bytes, .. } => Some(sha2::Sha256::digest(self.read(0..*bytes)).into()),
            Kind::Generated { sha256, .. } => *sha256,
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}
