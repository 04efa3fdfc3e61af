//! What can be wrong with a checkpoint, told so that a person can act on it.

use crate::packed::PackedError;
use crate::source::SourceError;

/// Why a checkpoint cannot be used. Every message is one sentence: the input,
/// the reason, and the next step.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The files could not be read at all.
    #[error(transparent)]
    Source(#[from] SourceError),

    /// A packed model.
    #[error(transparent)]
    Packed(PackedError),

    /// A file that every checkpoint has is not there.
    #[error("{file} is missing: {next}")]
    Missing {
        /// The file, relative to the checkpoint folder.
        file: String,
        /// What a person can do.
        next: &'static str,
    },

    /// A file ends before its own header says it should.
    #[error("{file} is truncated, {missing} bytes are missing at its end: download it again")]
    Truncated {
        /// The file, relative to the checkpoint folder.
        file: String,
        /// How many bytes the header promises beyond the file's end.
        missing: u64,
    },

    /// A file is not what it should be.
    #[error("{file} {reason}: {next}")]
    File {
        /// The file, relative to the checkpoint folder.
        file: String,
        /// What is wrong with it.
        reason: String,
        /// What a person can do.
        next: &'static str,
    },

    /// A field of a configuration file is absent, malformed or unsupported.
    #[error("{file}: `{field}` {reason}: {next}")]
    Config {
        /// The file, relative to the checkpoint folder.
        file: String,
        /// The field, with the section it is in: `text_config.head_dim`.
        field: String,
        /// What is wrong with it.
        reason: String,
        /// What a person can do.
        next: &'static str,
    },

    /// A tensor is absent, malformed or unsupported.
    #[error("{file}: tensor `{tensor}` {reason}: {next}")]
    Tensor {
        /// The file, relative to the checkpoint folder.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
        /// What a person can do.
        next: &'static str,
    },
}

/// The next step for a file whose content contradicts itself.
pub(crate) const DOWNLOAD_AGAIN: &str = "download it again, or export it anew";

/// The next step for a model that is sound but of another kind.
pub(crate) const OTHER_CHECKPOINT: &str =
    "use a PaliGemma or PaliGemma 2 checkpoint with float32, float16 or bfloat16 weights";

/// A string from a file, fit to be shown: control characters escaped, length
/// bounded.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 96;
    let mut shown: String = text.escape_debug().take(LONGEST).collect();
    if text.escape_debug().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
