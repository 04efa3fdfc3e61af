//! Reading a packed model: its side files, and its pieces once they were checked.

use std::future::Future;

use super::manifest::{MANIFEST_FILE, Manifest, ManifestError};
use super::plan::ModelKey;
use super::store::{State, Store, StoreError};
use crate::config::{CONFIG_FILE, Config, GENERATION_CONFIG_FILE};
use crate::digest::Digest;
use crate::error::CheckpointError;
use crate::source::{Source, SourceError, read_exact};

/// The largest manifest; that of the 28B model has about 300,000 bytes.
const LARGEST_MANIFEST: u64 = 16 << 20;

/// Why a packed model cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PackedError {
    /// The folder or server.
    #[error(transparent)]
    Source(#[from] SourceError),

    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// A piece is not what it was, or not there.
    #[error(
        "{} of the packed model is {what}: download it again, or convert the model again",
        Manifest::piece_file(*index)
    )]
    Piece {
        /// Which.
        index: usize,
        /// `missing` or `damaged`.
        what: &'static str,
    },

    /// A side file is not what it was, or not there.
    #[error("{path} of the packed model is {what}: download it again, or convert the model again")]
    File {
        /// Which.
        path: String,
        /// `missing` or `damaged`.
        what: &'static str,
    },
}

/// A packed model, wherever it lies.
pub trait Pieces {
    /// A piece's bytes, as the platform holds them.
    type Piece;

    /// What it contains.
    fn manifest(&self) -> &Manifest;

    /// A side file, checked; `None` if the model has none of this name.
    fn file(&self, path: &str) -> impl Future<Output = Result<Option<Vec<u8>>, PackedError>>;

    /// A piece, checked against its SHA-256.
    fn piece(&self, index: usize) -> impl Future<Output = Result<Self::Piece, PackedError>>;
}

/// A packed model in a folder or on a server.
#[derive(Debug)]
pub struct PackedSource<S> {
    source: S,
    manifest: Manifest,
}

impl<S: Source> PackedSource<S> {
    /// Whether there is a packed model.
    ///
    /// # Errors
    /// If the source cannot say.
    pub async fn is_there(source: &S) -> Result<bool, SourceError> {
        Ok(source.size(MANIFEST_FILE).await?.is_some())
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// If it cannot be read, is of another version, or contradicts itself.
    pub async fn open(source: S) -> Result<Self, PackedError> {
        let size = source.size(MANIFEST_FILE).await?;
        let size = size.ok_or_else(|| SourceError::Missing {
            path: MANIFEST_FILE.to_owned(),
        })?;
        if size > LARGEST_MANIFEST {
            return Err(PackedError::Manifest(ManifestError::Malformed {
                reason: format!("has {size} bytes, above the limit of {LARGEST_MANIFEST}"),
            }));
        }
        let text = read_exact(&source, MANIFEST_FILE, 0..size).await?;
        let mut manifest = Manifest::parse(&text)?;
        // Part of the key from here on, whatever the manifest says of itself.
        let digests: Vec<u8> = manifest.digests.iter().flat_map(|d| d.0).collect();
        manifest.plan.pieces_sha256 = Some(Digest::of(&digests));
        Ok(Self { source, manifest })
    }

    /// Where the files come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// What it contains.
    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }
}

impl<S: Source> Pieces for PackedSource<S> {
    type Piece = Vec<u8>;

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn file(&self, path: &str) -> Result<Option<Vec<u8>>, PackedError> {
        let Some(file) = self.manifest.plan.files.iter().find(|f| f.path == path) else {
            return Ok(None);
        };
        let bytes = read_exact(&self.source, path, 0..file.bytes).await?;
        if file
            .sha256
            .is_some_and(|sha256| sha256 != Digest::of(&bytes))
        {
            return Err(PackedError::File {
                path: path.to_owned(),
                what: "damaged",
            });
        }
        Ok(Some(bytes))
    }

    async fn piece(&self, index: usize) -> Result<Vec<u8>, PackedError> {
        let wanted = self.manifest.digests.get(index);
        let bytes = self.manifest.plan.piece_len(index) as u64;
        let file = Manifest::piece_file(index);
        let piece = read_exact(&self.source, &file, 0..bytes).await?;
        if wanted != Some(&Digest::of(&piece)) {
            return Err(PackedError::Piece {
                index,
                what: "damaged",
            });
        }
        Ok(piece)
    }
}

/// A complete model in a store.
#[derive(Debug)]
pub struct Kept<'a, T> {
    store: &'a T,
    key: ModelKey,
    manifest: Manifest,
}

impl<'a, T: Store> Kept<'a, T> {
    /// Opens a model; `None` if it is not there or not complete.
    ///
    /// # Errors
    /// If the store fails, or a piece is missing.
    pub async fn open(store: &'a T, key: ModelKey) -> Result<Option<Self>, PackedError> {
        let Some(record) = store.model(&key).await? else {
            return Ok(None);
        };
        if record.state != State::Complete {
            return Ok(None);
        }
        let marks = store.marks(&key).await?;
        let pieces = record.plan.pieces();
        if let Some(index) = (0..pieces).find(|&i| marks.get(i).is_none_or(|m| m.index != i)) {
            return Err(PackedError::Piece {
                index,
                what: "missing",
            });
        }
        let digests = marks.iter().take(pieces).map(|mark| mark.sha256).collect();
        Ok(Some(Self {
            store,
            key,
            manifest: Manifest {
                plan: record.plan,
                digests,
            },
        }))
    }
}

impl<T: Store> Pieces for Kept<'_, T> {
    type Piece = T::Piece;

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn file(&self, path: &str) -> Result<Option<Vec<u8>>, PackedError> {
        let Some(file) = self.manifest.plan.files.iter().find(|f| f.path == path) else {
            return Ok(None);
        };
        let broken = |what| PackedError::File {
            path: path.to_owned(),
            what,
        };
        let bytes = self.store.file(&self.key, path).await?;
        let bytes = bytes.ok_or_else(|| broken("missing"))?;
        let right = bytes.len() as u64 == file.bytes
            && file
                .sha256
                .is_none_or(|sha256| sha256 == Digest::of(&bytes));
        if !right {
            return Err(broken("damaged"));
        }
        Ok(Some(bytes))
    }

    async fn piece(&self, index: usize) -> Result<T::Piece, PackedError> {
        let broken = |what| PackedError::Piece { index, what };
        let piece = self.store.piece(&self.key, index).await?;
        let piece = piece.ok_or_else(|| broken("missing"))?;
        let found = self.store.digest(&piece).await?;
        if self.manifest.digests.get(index) != Some(&found) {
            return Err(broken("damaged"));
        }
        Ok(piece)
    }
}

impl Config {
    /// The configuration of a packed model, whose tensors are then known to be those it needs.
    ///
    /// # Errors
    /// If `config.json` is missing, damaged or not a PaliGemma's, or if the tensors are others.
    pub async fn of_packed<P: Pieces>(pieces: &P) -> Result<Self, CheckpointError> {
        let Some(config) = pieces.file(CONFIG_FILE).await? else {
            return Err(CheckpointError::Missing {
                file: CONFIG_FILE.to_owned(),
                next: "convert the model again, from a folder that has it",
            });
        };
        let generation = pieces.file(GENERATION_CONFIG_FILE).await?;
        let config = Self::from_json(&config, generation.as_deref())?;
        let checked = pieces.manifest().check_tensors(&config);
        checked.map_err(PackedError::from)?;
        Ok(config)
    }
}

/// A side file that is too large, or not as the checkpoint's reader wants it.
impl From<PackedError> for CheckpointError {
    fn from(error: PackedError) -> Self {
        match error {
            PackedError::Source(error) => Self::Source(error),
            other => Self::Packed(other),
        }
    }
}
