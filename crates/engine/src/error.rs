use paligemma_checkpoint::{CheckpointError, SourceError};
use paligemma_gpu::GpuError;
use paligemma_model::ModelError;
use paligemma_processor::{PictureError, ProcessorError};
use thiserror::Error;

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
    /// The folder has no tokenizer.
    #[error(
        "the checkpoint has no tokenizer.json; download it from the model's page beside config.json"
    )]
    NoTokenizer,
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
            Self::Checkpoint(_) | Self::NoTokenizer => ErrorKind::Checkpoint,
            Self::Picture(_) => ErrorKind::Picture,
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
                | ModelError::ImagePlaces { .. } => ErrorKind::Prompt,
                ModelError::Pixels { .. } => ErrorKind::Internal,
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
        GpuError::NoAdapter { .. } | GpuError::DeviceRefused { .. } => ErrorKind::NoAdapter,
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
            other => Self::Checkpoint(other),
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
