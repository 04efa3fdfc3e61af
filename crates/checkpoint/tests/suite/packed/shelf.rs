//! A store in memory that fails when it is told to, and a source that counts and misleads.

use paligemma_checkpoint::{
    Digest, Mark, MemorySource, ModelKey, Record, Source, SourceError, Store, StoreError,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;

/// A piece with its mark.
type Kept = (Mark, Vec<u8>);

/// Keeps models in memory.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(super) records: RefCell<BTreeMap<ModelKey, Record>>,
    pub(super) pieces: RefCell<BTreeMap<(ModelKey, usize), Kept>>,
    pub(super) files: RefCell<BTreeMap<(ModelKey, String), Vec<u8>>>,
    /// Pieces it still has room for.
    pub(super) room: Cell<Option<usize>>,
}

impl Store for Shelf {
    type Piece = Vec<u8>;

    async fn models(&self) -> Result<Vec<Record>, StoreError> {
        Ok(self.records.borrow().values().cloned().collect())
    }

    async fn model(&self, key: &ModelKey) -> Result<Option<Record>, StoreError> {
        Ok(self.records.borrow().get(key).cloned())
    }

    async fn put_model(&self, record: &Record) -> Result<(), StoreError> {
        self.records
            .borrow_mut()
            .insert(record.key(), record.clone());
        Ok(())
    }

    async fn delete(&self, key: &ModelKey) -> Result<(), StoreError> {
        self.records.borrow_mut().remove(key);
        Ok(())
    }

    async fn marks(&self, key: &ModelKey) -> Result<Vec<Mark>, StoreError> {
        let pieces = self.pieces.borrow();
        let here = pieces.iter().filter(|((model, _), _)| model == key);
        Ok(here.map(|(_, (mark, _))| mark.clone()).collect())
    }

    fn piece_of(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    async fn digest(&self, piece: &Vec<u8>) -> Result<Digest, StoreError> {
        Ok(Digest::of(piece))
    }

    async fn put_piece(
        &self,
        key: &ModelKey,
        mark: &Mark,
        piece: Vec<u8>,
    ) -> Result<(), StoreError> {
        match self.room.get() {
            Some(0) => {
                return Err(StoreError::Full {
                    what: format!("piece {}", mark.index),
                });
            }
            Some(room) => self.room.set(Some(room - 1)),
            None => {}
        }
        self.pieces
            .borrow_mut()
            .insert((*key, mark.index), (mark.clone(), piece));
        Ok(())
    }

    async fn piece(&self, key: &ModelKey, index: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let pieces = self.pieces.borrow();
        Ok(pieces.get(&(*key, index)).map(|(_, piece)| piece.clone()))
    }

    async fn forget(&self, key: &ModelKey, indices: &[usize]) -> Result<(), StoreError> {
        let mut pieces = self.pieces.borrow_mut();
        pieces.retain(|(model, index), _| model != key || !indices.contains(index));
        Ok(())
    }

    async fn put_file(&self, key: &ModelKey, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut files = self.files.borrow_mut();
        files.insert((*key, path.to_owned()), bytes.to_vec());
        Ok(())
    }

    async fn file(&self, key: &ModelKey, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.borrow().get(&(*key, path.to_owned())).cloned())
    }
}

/// A source whose publisher states digests, which counts what it gives and can be cut off.
pub(super) struct Hub {
    pub(super) files: MemorySource,
    /// What is said of the files, which need not be true.
    pub(super) digests: BTreeMap<String, Digest>,
    /// What is said to change with the files.
    pub(super) validators: BTreeMap<String, String>,
    pub(super) reads: RefCell<Vec<(String, Range<u64>)>>,
    /// Bytes of weights that it gives before it fails.
    pub(super) until: Cell<u64>,
}

impl Hub {
    pub(super) fn new(files: MemorySource) -> Self {
        let digests = files
            .paths()
            .map(|path| (path.to_owned(), Digest::of(files.get(path).unwrap())))
            .collect();
        Self {
            files,
            digests,
            validators: BTreeMap::new(),
            reads: RefCell::default(),
            until: Cell::new(u64::MAX),
        }
    }

    /// Bytes of weights it has given.
    pub(super) fn given(&self) -> u64 {
        let reads = self.reads.borrow();
        let weights = reads
            .iter()
            .filter(|(path, _)| path.ends_with(".safetensors"));
        weights.map(|(_, range)| range.end - range.start).sum()
    }
}

impl Source for Hub {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        self.files.size(path).await
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        if path.ends_with(".safetensors") {
            let length = range.end - range.start;
            if length > self.until.get() {
                return Err(SourceError::Failed {
                    path: path.to_owned(),
                    reason: "the connection was cut".to_owned(),
                });
            }
            self.until.set(self.until.get() - length);
        }
        self.reads
            .borrow_mut()
            .push((path.to_owned(), range.clone()));
        self.files.read(path, range).await
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        self.digests.get(path).copied()
    }

    fn validator(&self, path: &str) -> Option<String> {
        self.validators.get(path).cloned()
    }
}
