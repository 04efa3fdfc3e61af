//! Wherever a checkpoint's bytes come from, as one type.

use std::ops::Range;

use paligemma_checkpoint::{Digest, Source, SourceError};

use crate::http::HttpFolder;
use crate::hub::PinnedRepository;
use crate::local::LocalFiles;

/// One of the places that a browser can read a checkpoint from.
pub enum BrowserSource {
    /// Any web server.
    Folder(HttpFolder),
    /// A commit of a hub's repository.
    Hub(PinnedRepository),
    /// Files that the person chose.
    Local(LocalFiles),
}

impl BrowserSource {
    /// Bytes that have come over the network so far, those that came again included.
    pub fn received(&self) -> u64 {
        match self {
            Self::Folder(folder) => folder.received(),
            Self::Hub(repository) => repository.received(),
            Self::Local(_) => 0,
        }
    }
}

impl Source for BrowserSource {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        match self {
            Self::Folder(folder) => folder.size(path).await,
            Self::Hub(repository) => repository.size(path).await,
            Self::Local(files) => files.size(path).await,
        }
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Folder(folder) => folder.read(path, range).await,
            Self::Hub(repository) => repository.read(path, range).await,
            Self::Local(files) => files.read(path, range).await,
        }
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        match self {
            Self::Folder(folder) => folder.digest(path),
            Self::Hub(repository) => repository.digest(path),
            Self::Local(files) => files.digest(path),
        }
    }

    fn validator(&self, path: &str) -> Option<String> {
        match self {
            Self::Folder(folder) => folder.validator(path),
            Self::Hub(repository) => repository.validator(path),
            Self::Local(files) => files.validator(path),
        }
    }
}
