//! A choice of kernels that was measured on an adapter.

use serde::{Deserialize, Serialize};

/// What a tuning run found, for the page to keep and to give back with later loads. Where anything
/// of it is not what it was, or is no choice at all, the worker does as if it had not been given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuned {
    /// The adapter.
    pub adapter: String,
    /// The browser, which compiles the kernels.
    pub browser: String,
    /// What suits them.
    pub variants: String,
}
