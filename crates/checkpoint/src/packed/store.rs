//! Where packed models are kept.

use serde::{Deserialize, Serialize};
use std::future::Future;

use super::manifest::ManifestError;
use super::plan::{ModelKey, Plan};
use crate::digest::Digest;

/// Why a [`Store`] could not do what it was asked to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room.
    #[error(
        "there is no room for {what}: delete a stored model or free disk space, then resume; what \
         has arrived is kept"
    )]
    Full {
        /// What was to be written.
        what: String,
    },

    /// There is no such place here, as in some private windows.
    #[error("{reason}, so the model cannot be kept: {next}")]
    Unavailable {
        /// What the platform says.
        reason: String,
        /// What a person can do.
        next: &'static str,
    },

    /// Written by a newer version of this software.
    #[error(
        "the stored models were written by a newer version of this software: reload to update it"
    )]
    Newer,

    /// What is stored is not what was written.
    #[error("{what} in the store is damaged: delete the model and fetch it again")]
    Damaged {
        /// What is damaged.
        what: String,
    },

    /// A packed model's manifest in a folder is of another version, or damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),

    /// A folder that cannot be written to as it is.
    #[error("{what} {reason}: {next}")]
    Folder {
        /// Where.
        what: String,
        /// Why not.
        reason: &'static str,
        /// What a person can do.
        next: &'static str,
    },

    /// Somebody else writes there.
    #[error(
        "another program is writing to {what}: wait until it has ended, or choose another folder"
    )]
    Busy {
        /// Where.
        what: String,
    },

    /// The platform failed.
    #[error("{what} failed ({reason}): try again, and restart the program if it happens again")]
    Failed {
        /// What was tried.
        what: String,
        /// What the platform says.
        reason: String,
    },
}

/// How far a model in a store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Pieces are missing, or have not been checked.
    Partial,
    /// Everything is there and was checked.
    Complete,
}

/// A model in a store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// What it is made from, and where each row lies.
    pub plan: Plan,
    /// How far it is.
    pub state: State,
}

impl Record {
    /// Identifies the model.
    pub fn key(&self) -> ModelKey {
        self.plan.key()
    }
}

/// That a piece is there, written with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Which piece.
    pub index: usize,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Where the hashing of the file that it came from stands after it, opaque; empty where no
    /// file is hashed.
    #[serde(default)]
    pub hashing: Vec<u8>,
}

/// Keeps packed models: a folder, a browser's database.
///
/// A piece is opaque here, so that it may go from the store to the GPU without entering this
/// program's memory. Keys come from the plan, so that the same model is found again. One writer at
/// a time is the caller's business. Futures need not be `Send`.
pub trait Store {
    /// A piece's bytes, as the platform holds them.
    type Piece;

    /// Every model, complete or not. What cannot be read is left out.
    fn models(&self) -> impl Future<Output = Result<Vec<Record>, StoreError>>;

    /// One model.
    fn model(&self, key: &ModelKey) -> impl Future<Output = Result<Option<Record>, StoreError>>;

    /// Writes a model's record, in place of the one there was. One that is
    /// [`State::Complete`] has reached the disk when this returns.
    fn put_model(&self, record: &Record) -> impl Future<Output = Result<(), StoreError>>;

    /// Removes a model and everything of it.
    fn delete(&self, key: &ModelKey) -> impl Future<Output = Result<(), StoreError>>;

    /// The marks of the pieces that are there, by index.
    fn marks(&self, key: &ModelKey) -> impl Future<Output = Result<Vec<Mark>, StoreError>>;

    /// Hands bytes over to the platform.
    fn piece_of(&self, bytes: &[u8]) -> Self::Piece;

    /// The SHA-256 of a piece.
    fn digest(&self, piece: &Self::Piece) -> impl Future<Output = Result<Digest, StoreError>>;

    /// Writes a piece of a model that has a record, and the piece's mark, both or neither.
    fn put_piece(
        &self,
        key: &ModelKey,
        mark: &Mark,
        piece: Self::Piece,
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// A piece as it is stored, not checked; `None` if it is not there.
    fn piece(
        &self,
        key: &ModelKey,
        index: usize,
    ) -> impl Future<Output = Result<Option<Self::Piece>, StoreError>>;

    /// Removes pieces with their marks.
    fn forget(
        &self,
        key: &ModelKey,
        indices: &[usize],
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// Writes a side file of a model that has a record, in place of the one there was.
    fn put_file(
        &self,
        key: &ModelKey,
        path: &str,
        bytes: &[u8],
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// A side file; `None` if it is not there.
    fn file(
        &self,
        key: &ModelKey,
        path: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>>;
}
