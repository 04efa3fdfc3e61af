use paligemma_checkpoint::{CheckpointError, PackedError, SourceError};
use paligemma_gpu::GpuError;
use paligemma_model::ModelError;
use paligemma_processor::{MessageError, PictureError, ProcessorError};
use thiserror::Error;

use crate::bench::BenchError;
use crate::forward::ForwardError;
use crate::generation::GenerationError;

/// Why loading or running failed: one sentence that names the input, the reason and the next
/// step.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A file or a server.
    #[error(transparent)]
    Source(SourceError),
    /// The checkpoint's files.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// A packed model.
    #[error(transparent)]
    Packed(PackedError),
    /// A packed model was asked for by another recipe than its own.
    #[error(
        "the model is packed by the recipe {packed} and not by {asked}: leave the recipe out, or \
         pack the original again"
    )]
    Recipe {
        /// Its recipe.
        packed: String,
        /// The one that was asked for.
        asked: &'static str,
    },
    /// An adapter was given for a packed model.
    #[error(
        "the model is packed, and an adapter is merged before weights are packed: use the adapter \
         with the original checkpoint"
    )]
    AdapterForPacked,
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The model.
    #[error(transparent)]
    Model(ModelError),
    /// A picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Tokenizer, processor configuration or prompt.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
    /// How to generate.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// A forward pass that cannot be.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A measurement.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// Messages that are no prompt.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The folder has no tokenizer.
    #[error(
        "the checkpoint has no tokenizer.json; download it from the model's page beside config.json"
    )]
    NoTokenizer,
    /// Codes, and nothing that decodes them.
    #[error(
        "the model came without a mask decoder; put vae-oid.npz, as it was published for PaliGemma, beside it"
    )]
    NoMaskDecoder,
}

/// The cases a caller tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No GPU adapter, or one that refuses to open.
    NoAdapter,
    /// The adapter's limits are below what the model, or this prompt, needs.
    LimitsTooSmall,
    /// The GPU ran out of memory; with less else on it, it may work.
    OutOfMemory,
    /// The GPU was lost while working; loading again may help.
    DeviceLost,
    /// A picture that is none, is damaged or is too large.
    Picture,
    /// A file or a server could not be read.
    Source,
    /// What is kept of the model could not be read, for reasons of the store.
    Store,
    /// What is kept of the model is not what was written; it can be fetched again.
    Damaged,
    /// The checkpoint is not one this software can run, or is damaged.
    Checkpoint,
    /// The prompt does not fit the model.
    Prompt,
    /// A defect of ours.
    Internal,
}

impl EngineError {
    /// The case.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(_) => ErrorKind::Source,
            Self::Checkpoint(_)
            | Self::NoTokenizer
            | Self::NoMaskDecoder
            | Self::Recipe { .. }
            | Self::AdapterForPacked => ErrorKind::Checkpoint,
            Self::Packed(error) => match error {
                PackedError::Source(_) => ErrorKind::Source,
                PackedError::Store(_) => ErrorKind::Store,
                PackedError::Manifest(_) => ErrorKind::Checkpoint,
                PackedError::Piece { .. } | PackedError::File { .. } => ErrorKind::Damaged,
            },
            Self::Picture(_) => ErrorKind::Picture,
            Self::Generation(_) | Self::Forward(_) | Self::Bench(_) | Self::Message(_) => {
                ErrorKind::Prompt
            }
            Self::Gpu(error) => gpu_kind(error),
            Self::Model(error) => match error {
                ModelError::Gpu(error) => gpu_kind(error),
                ModelError::Checkpoint(_)
                | ModelError::Quantize { .. }
                | ModelError::Unsupported { .. }
                | ModelError::NotANumber => ErrorKind::Checkpoint,
                ModelError::PromptTooLong { .. }
                | ModelError::EmptyPrompt
                | ModelError::TokenId { .. }
                | ModelError::Embeddings { .. }
                | ModelError::Features { .. }
                | ModelError::PrefixInside { .. }
                | ModelError::Cache { .. }
                | ModelError::ImagePlaces { .. } => ErrorKind::Prompt,
                ModelError::Pixels { .. } | ModelError::MaskCode { .. } => ErrorKind::Internal,
            },
            Self::Processor(error) => match error {
                ProcessorError::Tokenizer { .. }
                | ProcessorError::MissingToken { .. }
                | ProcessorError::ImageTokenId { .. }
                | ProcessorError::PreprocessorConfig { .. }
                | ProcessorError::Geometry { .. } => ErrorKind::Checkpoint,
                _ => ErrorKind::Prompt,
            },
        }
    }
}

fn gpu_kind(error: &GpuError) -> ErrorKind {
    match error {
        GpuError::NoAdapter { .. }
        | GpuError::UnknownAdapter { .. }
        | GpuError::DeviceRefused { .. } => ErrorKind::NoAdapter,
        GpuError::LimitTooSmall { .. } => ErrorKind::LimitsTooSmall,
        GpuError::OutOfMemory => ErrorKind::OutOfMemory,
        GpuError::DeviceLost { .. } => ErrorKind::DeviceLost,
        GpuError::Refused { .. } | GpuError::Shape { .. } => ErrorKind::Internal,
    }
}

impl From<CheckpointError> for EngineError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Source(error) => Self::Source(error),
            CheckpointError::Packed(error) => error.into(),
            other => Self::Checkpoint(other),
        }
    }
}

impl From<SourceError> for EngineError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<PackedError> for EngineError {
    fn from(error: PackedError) -> Self {
        match error {
            PackedError::Source(error) => Self::Source(error),
            other => Self::Packed(other),
        }
    }
}

impl From<ModelError> for EngineError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Checkpoint(error) => error.into(),
            ModelError::Gpu(error) => Self::Gpu(error),
            other => Self::Model(other),
        }
    }
}
