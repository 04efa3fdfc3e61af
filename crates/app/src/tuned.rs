//! What the worker measured of adapters, kept by the browser from visit to visit.

use paligemma_browser::protocol::Tuned;
use serde_json::Value;

use crate::platform::storage;

const KEY: &str = "tuned-kernels";
/// A text that is longer is not ours.
const MOST_BYTES: usize = 256 << 10;
/// Adapters that are kept. Drivers and browsers change, and what was measured with old ones is of
/// no use.
const MOST_ADAPTERS: usize = 32;

/// What is kept, the latest first; nothing also where it cannot be read.
pub(crate) fn kept() -> Vec<Tuned> {
    storage::text(KEY).map_or_else(Vec::new, |text| read(&text))
}

/// Keeps it beside what is kept of other adapters; returns all of it.
pub(crate) fn keep(tuned: Tuned) -> Vec<Tuned> {
    let all = with(tuned, kept());
    if let Ok(text) = serde_json::to_string(&all) {
        storage::set_text(KEY, &text);
    }
    all
}

fn read(text: &str) -> Vec<Tuned> {
    if text.len() > MOST_BYTES {
        return Vec::new();
    }
    let all = match serde_json::from_str(text) {
        Ok(Value::Array(all)) => all,
        // Of one adapter, as the page kept it before it kept several.
        Ok(one) => vec![one],
        Err(_) => Vec::new(),
    };
    let all = all.into_iter();
    all.filter_map(|one| serde_json::from_value(one).ok())
        .take(MOST_ADAPTERS)
        .collect()
}

/// Puts it before the others, in place of what was known of the same adapter in the same browser.
fn with(tuned: Tuned, mut others: Vec<Tuned>) -> Vec<Tuned> {
    others.retain(|other| other.adapter != tuned.adapter || other.browser != tuned.browser);
    others.insert(0, tuned);
    others.truncate(MOST_ADAPTERS);
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuned(adapter: &str, browser: &str, variants: &str) -> Tuned {
        Tuned {
            adapter: adapter.to_owned(),
            browser: browser.to_owned(),
            variants: variants.to_owned(),
        }
    }

    fn text(of: &impl serde::Serialize) -> String {
        serde_json::to_string(of).unwrap()
    }

    #[test]
    fn adapters_are_kept_beside_each_other() {
        let (one, two) = (tuned("1", "b", "old"), tuned("2", "b", "v"));
        let updated = tuned("1", "b2", "v");
        let all = with(updated.clone(), with(two.clone(), vec![one.clone()]));
        assert_eq!(all, [updated.clone(), two.clone(), one]);
        let anew = tuned("1", "b", "new");
        let all = with(anew.clone(), all);
        assert_eq!(all, [anew, updated, two]);
        assert_eq!(read(&text(&all)), all);
    }

    #[test]
    fn the_oldest_go_first() {
        let names = (0..2 * MOST_ADAPTERS).map(|index| index.to_string());
        let all = names.fold(Vec::new(), |all, name| with(tuned(&name, "b", "v"), all));
        assert_eq!(all.len(), MOST_ADAPTERS);
        assert_eq!(all[0].adapter, (2 * MOST_ADAPTERS - 1).to_string());
        let last = all.last().unwrap();
        assert_eq!(last.adapter, MOST_ADAPTERS.to_string());
        // Not even where somebody else has put more.
        let twice = [all.clone(), all.clone()].concat();
        assert_eq!(read(&text(&twice)), all);
    }

    #[test]
    fn one_adapter_as_it_was_kept_before_is_read() {
        let one = tuned("a", "b", "tiled lanes=8");
        assert_eq!(read(&text(&one)), [one]);
    }

    #[test]
    fn what_is_not_ours_says_nothing() {
        let nested = "[".repeat(100_000);
        let large = format!("[{}]", " ".repeat(MOST_BYTES));
        for spoilt in [
            "",
            "{",
            "null",
            "7",
            "[]",
            "[7, null, {}]",
            r#""tiled lanes=8""#,
            r#"{"adapter":1}"#,
            r#"[{"adapter":"a","browser":"b"}]"#,
            &nested,
            &large,
        ] {
            assert_eq!(read(spoilt), [], "{spoilt:.40}");
        }
        let one = tuned("a", "b", "v");
        assert_eq!(read(&format!("[7, {}, {{}}]", text(&one))), [one]);
    }
}
