//! How a model is to be loaded.

use serde::{Deserialize, Serialize};

use super::Tuned;

/// What goes along with every load, whatever is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadOptions {
    /// What is kept of this machine's adapters; the worker knows which of them is there.
    pub tuned: Vec<Tuned>,
    /// How keys and values are kept; none: as suits the weights, in 16 bits beside quantized ones,
    /// else in 32.
    pub cache: Option<CachePrecision>,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CachePrecision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Bytes: about half the memory of 16-bit floats, and felt a little.
    Int8,
}
