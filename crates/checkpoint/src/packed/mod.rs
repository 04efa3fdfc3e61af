//! Packed models: weights as the GPU reads them, in pieces of one size.
//!
//! What is described here is stored on people's disks and published on their servers: it may be
//! added to under a new [`FORMAT_VERSION`], never changed. A field that says where weights came
//! from and that nobody needs in order to read them, such as [`Plan::adapter`], needs no new
//! version; it is left out where there is nothing to say, so that the keys of older models stay.
//!
//! A packed model is a folder (or a place in a [`Store`]) with
//! - **`manifest.json`**, a [`Manifest`]: where the weights came from, the recipe, the side files,
//!   the tensors, the pieces;
//! - **side files** as they were published: `config.json`, `tokenizer.json` and their like;
//! - **pieces** `pieces/00000.bin`, `pieces/00001.bin`, …, each `piece_bytes` long but for the
//!   last, which ends with its last row.
//!
//! A piece holds rows of one or more tensors, a [`Span`] of each: the rows' weights, then their
//! scales, each at a multiple of 16 bytes, the rest zeros. Rows are packed as the crate's
//! quantization describes; a tensor whose storage is `numbers` is little-endian f32 without
//! padding. No row crosses the end of a piece, so every piece can be made, checked, replaced and
//! sent to the GPU by itself.

mod folder;
mod folder_lock;
mod hashing;
mod ingest;
mod maker;
mod manifest;
mod pieces;
mod plan;
mod store;
mod tally;

#[cfg(not(target_arch = "wasm32"))]
pub use folder::FolderStore;
#[cfg(not(target_arch = "wasm32"))]
pub use folder_lock::FolderLock;
pub use ingest::{Ingest, IngestError, Progress, Stage};
pub use manifest::{FORMAT_VERSION, MANIFEST_FILE, Manifest, ManifestError};
pub use pieces::{Kept, PackedError, PackedSource, Pieces};
pub use plan::{Input, ModelKey, Origin, PIECE_BYTES, PackedTensor, Plan, SideFile, Span};
pub use store::{Mark, Record, State, Store, StoreError};
