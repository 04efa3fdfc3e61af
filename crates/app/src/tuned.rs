//! What the worker measured of the adapter, kept by the browser from visit to visit.

use paligemma_browser::protocol::Tuned;

use crate::platform::storage;

const KEY: &str = "tuned-kernels";

/// What is kept; none also where it cannot be read.
pub(crate) fn kept() -> Option<Tuned> {
    serde_json::from_str(&storage::text(KEY)?).ok()
}

/// Keeps it.
pub(crate) fn keep(tuned: &Tuned) {
    if let Ok(text) = serde_json::to_string(tuned) {
        storage::set_text(KEY, &text);
    }
}
