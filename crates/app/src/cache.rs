//! How the model's keys and values are kept: a person's choice, which the browser keeps from visit
//! to visit.

use paligemma_browser::protocol::CachePrecision;

use crate::platform::storage;

const KEY: &str = "kv-cache";
const INT8: &str = "int8";
const USUAL: &str = "usual";

/// What was chosen; none: as suits the weights.
pub(crate) fn kept() -> Option<CachePrecision> {
    read(&storage::text(KEY)?)
}

/// Keeps a choice.
pub(crate) fn keep(cache: Option<CachePrecision>) {
    storage::set_text(KEY, name(cache));
}

/// What the page does not offer it does not take from storage either: nobody could see it.
fn read(text: &str) -> Option<CachePrecision> {
    (text == INT8).then_some(CachePrecision::Int8)
}

fn name(cache: Option<CachePrecision>) -> &'static str {
    match cache {
        Some(CachePrecision::Int8) => INT8,
        Some(CachePrecision::F32 | CachePrecision::F16) | None => USUAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_again() {
        for cache in [None, Some(CachePrecision::Int8)] {
            assert_eq!(read(name(cache)), cache);
        }
        for spoilt in ["", "int4", "f32", "null", "\"int8\""] {
            assert_eq!(read(spoilt), None, "{spoilt}");
        }
    }
}
