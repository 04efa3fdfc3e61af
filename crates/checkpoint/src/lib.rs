//! Reads PaliGemma and PaliGemma 2 checkpoints as they are published: the
//! configuration, safetensors in one file or in shards, and the tensor names of
//! every layout.
//!
//! A checkpoint is hostile until checked. [`Checkpoint::open`] reads only
//! configuration and headers and compares them with each other and with the
//! files' sizes; [`Checkpoint::slices`] then delivers the weights a few rows at
//! a time, so that no tensor is ever held whole.

mod checkpoint;
mod config;
mod digest;
mod error;
mod fields;
mod header;
mod index;
mod lora;
mod mask;
mod names;
mod packed;
mod published;
mod quantize;
mod recipe;
mod slices;
mod source;
mod tensor;

pub use checkpoint::{Checkpoint, WeightFile};
pub use config::{Config, Family, TextConfig, VisionConfig};
pub use digest::{Digest, NotADigest};
pub use error::CheckpointError;
pub use lora::{AdapterOrigin, AdapterSummary, LoraAdapter};
pub use mask::{LARGEST_MASK_FILE, MASK_FILES, MaskWeights};
pub use names::{canonical_name, expected_tensors};
pub use packed::{
    FORMAT_VERSION, Ingest, IngestError, Input, Kept, MANIFEST_FILE, Manifest, ManifestError, Mark,
    ModelKey, Origin, PIECE_BYTES, PackedError, PackedSource, PackedTensor, Pieces, Plan, Progress,
    Record, SideFile, Span, Stage, State, Store, StoreError,
};
#[cfg(not(target_arch = "wasm32"))]
pub use packed::{FolderLock, FolderStore};
pub use published::Published;
pub use quantize::{
    Int4Row, Packed, Precision, QuantizeError, RowLayout, int4_row, pack, unpack_row,
};
pub use recipe::{Recipe, Storage};
pub use slices::{Slice, Slices};
#[cfg(not(target_arch = "wasm32"))]
pub use source::Folder;
pub use source::{MemorySource, Source, SourceError, check_path};
pub use tensor::{Dtype, TensorInfo};
