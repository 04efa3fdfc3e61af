//! A packed model in a directory, written piece by piece.

#![cfg(not(target_arch = "wasm32"))]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::folder_lock::FolderLock;
use super::manifest::{MANIFEST_FILE, Manifest};
use super::plan::ModelKey;
use super::store::{Mark, Record, State, Store, StoreError};
use crate::digest::Digest;
use crate::source::check_path;

/// The record of a model that is not complete.
const PARTIAL_FILE: &str = "partial.json";

/// The marks of its pieces, one JSON object a line.
const MARKS_FILE: &str = "partial-marks.jsonl";

/// A directory with one packed model, as `manifest.json` describes it.
///
/// Until the model is complete there is no manifest, but `partial.json` and a list of marks, from
/// which an interrupted conversion goes on.
#[derive(Clone, Debug)]
pub struct FolderStore {
    root: PathBuf,
}

impl FolderStore {
    /// The packed model in `root`, which is made when it is written to.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a conversion into it began and did not end.
    pub fn is_unfinished(&self) -> bool {
        !self.path(MANIFEST_FILE).exists() && self.path(PARTIAL_FILE).exists()
    }

    /// Takes the right to write to it, which two programs must not do at once.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another program on this machine writes to it.
    pub fn lock(&self) -> Result<FolderLock, StoreError> {
        FolderLock::take(&self.root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("reading", &path, &error)),
        }
    }

    /// Writes a file so that it is there in full or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let written = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let unfinished = path.with_extension("tmp");
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            fs::rename(&unfinished, &path)
        };
        written().map_err(|error: io::Error| failed("writing", &path, &error))
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("removing", &path, &error))
            }
            _ => Ok(()),
        }
    }

    fn record(&self) -> Result<Option<Record>, StoreError> {
        if let Some(text) = self.read(MANIFEST_FILE)? {
            let manifest = Manifest::parse(&text)?;
            return Ok(Some(Record {
                plan: manifest.plan,
                state: State::Complete,
            }));
        }
        let Some(text) = self.read(PARTIAL_FILE)? else {
            return Ok(None);
        };
        let record = serde_json::from_slice(&text);
        record.map(Some).map_err(|_| self.damaged(PARTIAL_FILE))
    }

    /// The marks, in the order in which they were made; the last of a piece counts.
    fn marked(&self) -> Result<Vec<Mark>, StoreError> {
        if let Some(text) = self.read(MANIFEST_FILE)? {
            let manifest = Manifest::parse(&text)?;
            let digests = manifest.digests.into_iter().enumerate();
            return Ok(digests
                .map(|(index, sha256)| Mark {
                    index,
                    sha256,
                    hashing: Vec::new(),
                })
                .collect());
        }
        let text = self.read(MARKS_FILE)?.unwrap_or_default();
        // A line that was being written when the power went has no meaning.
        let lines = text.split(|byte| *byte == b'\n');
        let marks = lines.filter_map(|line| serde_json::from_slice::<Mark>(line).ok());
        let mut marks: Vec<Mark> = marks.collect();
        marks.reverse();
        marks.sort_by_key(|mark| mark.index);
        marks.dedup_by_key(|mark| mark.index);
        Ok(marks)
    }

    fn damaged(&self, name: &str) -> StoreError {
        StoreError::Folder {
            what: self.path(name).display().to_string(),
            reason: "is damaged",
            next: "convert the model again into an empty folder",
        }
    }

    fn holds(&self, key: &ModelKey) -> Result<bool, StoreError> {
        Ok(self.record()?.is_some_and(|record| record.key() == *key))
    }
}

pub(super) fn failed(doing: &str, path: &Path, error: &io::Error) -> StoreError {
    let folder = |reason, next| StoreError::Folder {
        what: path.display().to_string(),
        reason,
        next,
    };
    match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => folder(
            "cannot be there, as what would be a folder above it is a file",
            "choose another folder",
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => folder(
            "is closed to this program",
            "mend the permissions, or choose another folder",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full {
            what: path.display().to_string(),
        },
        _ => StoreError::Failed {
            what: format!("{doing} {}", path.display()),
            reason: error.to_string(),
        },
    }
}

/// A line of its own, even after one that was torn off.
fn line(mark: &Mark) -> Vec<u8> {
    let mut line = vec![b'\n'];
    // Numbers and strings: there is nothing in it that JSON cannot hold.
    line.extend(serde_json::to_vec(mark).unwrap_or_default());
    line.push(b'\n');
    line
}

impl Store for FolderStore {
    type Piece = Vec<u8>;

    async fn models(&self) -> Result<Vec<Record>, StoreError> {
        Ok(self.record().ok().flatten().into_iter().collect())
    }

    async fn model(&self, key: &ModelKey) -> Result<Option<Record>, StoreError> {
        Ok(self.record()?.filter(|record| record.key() == *key))
    }

    async fn put_model(&self, record: &Record) -> Result<(), StoreError> {
        let key = record.key();
        if self.record()?.is_some_and(|there| there.key() != key) {
            return Err(StoreError::Folder {
                what: self.root.display().to_string(),
                reason: "holds another packed model",
                next: "choose an empty folder",
            });
        }
        match record.state {
            State::Partial => {
                if self.record()?.is_none() {
                    // Marks without a record are another model's.
                    self.remove(MARKS_FILE)?;
                }
                let text = serde_json::to_vec(record).unwrap_or_default();
                self.write(PARTIAL_FILE, &text)
            }
            State::Complete => {
                let marks = self.marked()?;
                let indices = marks.iter().map(|mark| mark.index);
                if !indices.eq(0..record.plan.pieces()) {
                    return Err(self.damaged(MARKS_FILE));
                }
                let manifest = Manifest {
                    plan: record.plan.clone(),
                    digests: marks.into_iter().map(|mark| mark.sha256).collect(),
                };
                self.write(MANIFEST_FILE, manifest.to_json().as_bytes())?;
                self.remove(MARKS_FILE)?;
                self.remove(PARTIAL_FILE)
            }
        }
    }

    async fn delete(&self, key: &ModelKey) -> Result<(), StoreError> {
        let Some(record) = self.model(key).await? else {
            return Ok(());
        };
        self.remove(MARKS_FILE)?;
        self.remove(MANIFEST_FILE)?;
        self.remove(PARTIAL_FILE)?;
        for index in 0..record.plan.pieces() {
            self.remove(&Manifest::piece_file(index))?;
        }
        for file in &record.plan.files {
            self.remove(&file.path)?;
        }
        Ok(())
    }

    async fn marks(&self, key: &ModelKey) -> Result<Vec<Mark>, StoreError> {
        if !self.holds(key)? {
            return Ok(Vec::new());
        }
        self.marked()
    }

    fn piece_of(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    async fn digest(&self, piece: &Vec<u8>) -> Result<Digest, StoreError> {
        Ok(Digest::of(piece))
    }

    async fn put_piece(
        &self,
        _key: &ModelKey,
        mark: &Mark,
        piece: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.write(&Manifest::piece_file(mark.index), &piece)?;
        if self.path(MANIFEST_FILE).exists() {
            // A repair: the manifest has its digest.
            return Ok(());
        }
        let path = self.path(MARKS_FILE);
        let append = || {
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            file.write_all(&line(mark))?;
            file.sync_data()
        };
        append().map_err(|error: io::Error| failed("writing", &path, &error))
    }

    async fn piece(&self, key: &ModelKey, index: usize) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.holds(key)? {
            return Ok(None);
        }
        self.read(&Manifest::piece_file(index))
    }

    async fn forget(&self, key: &ModelKey, indices: &[usize]) -> Result<(), StoreError> {
        if !self.holds(key)? || self.path(MANIFEST_FILE).exists() {
            return Ok(());
        }
        let mut marks = self.marked()?;
        marks.retain(|mark| !indices.contains(&mark.index));
        let text: Vec<u8> = marks.iter().flat_map(line).collect();
        self.write(MARKS_FILE, &text)?;
        indices
            .iter()
            .try_for_each(|index| self.remove(&Manifest::piece_file(*index)))
    }

    async fn put_file(&self, _key: &ModelKey, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_path(path).map_err(|error| StoreError::Failed {
            what: "writing a side file".to_owned(),
            reason: error.to_string(),
        })?;
        self.write(path, bytes)
    }

    async fn file(&self, key: &ModelKey, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.holds(key)? || check_path(path).is_err() {
            return Ok(None);
        }
        self.read(path)
    }
}
