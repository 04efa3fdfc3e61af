//! What a page can do about a failure.

use serde::{Deserialize, Serialize};

/// Why something failed, in terms a page can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The case, for the page to choose its presentation.
    pub kind: ProblemKind,
    /// One sentence: what happened, to what, and what to do next.
    pub message: String,
}

/// The cases a page tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The page is not served over HTTPS or from localhost.
    InsecureContext,
    /// The browser has no WebGPU.
    NoWebGpu,
    /// WebGPU is there, but no adapter.
    NoAdapter,
    /// The adapter's limits are below what the model, or this prompt, needs.
    LimitsTooSmall,
    /// The GPU ran out of memory.
    OutOfMemory,
    /// The GPU was lost, or failed so that the model must be loaded again.
    DeviceLost,
    /// The file is not a picture, is damaged, or is too large to decode.
    Picture,
    /// The checkpoint could not be fetched.
    Network,
    /// The hub wants an access token, or another one.
    Token,
    /// The model's files are no longer those that fetching began with.
    Changed,
    /// There is no room to keep the model, or the browser keeps nothing.
    Storage,
    /// The kept model is damaged: fetching it again mends it.
    Damaged,
    /// The person stopped it.
    Cancelled,
    /// The checkpoint is not one this software can run, or is damaged.
    Checkpoint,
    /// The prompt does not fit the model.
    Prompt,
    /// The worker could not be started or died.
    Worker,
    /// A defect of ours.
    Internal,
}
