//! The engine's choice of kernels as the protocol's.

use paligemma_engine as engine;

use crate::environment;
use crate::protocol::Tuned;

/// What the page has kept, for a load.
pub(super) fn options(kept: &[Tuned]) -> engine::TuningOptions {
    engine::TuningOptions {
        known: known(kept, &environment::browser()),
        ..engine::TuningOptions::default()
    }
}

/// What counts of it in this browser.
fn known(kept: &[Tuned], browser: &str) -> Vec<engine::Tuned> {
    let here = kept.iter().filter(|kept| kept.browser == browser);
    let known = here.filter_map(|kept| {
        Some(engine::Tuned {
            adapter: kept.adapter.clone(),
            variants: kept.variants.parse().ok()?,
        })
    });
    known.collect()
}

/// What was measured, for the page to keep.
pub(super) fn to_keep(measured: Option<engine::Tuned>) -> Option<Tuned> {
    measured.map(|tuned| Tuned {
        adapter: tuned.adapter,
        browser: environment::browser(),
        variants: tuned.variants.to_string(),
    })
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

    #[test]
    fn every_adapter_is_known_by_this_browsers_choices() {
        let kept = [
            tuned("one", "another", "tiled lanes=8"),
            tuned("one", "this", "no choice at all"),
            tuned("one", "this", "tiled lanes=2"),
            tuned("two", "this", "tiled lanes=4"),
        ];
        let known = known(&kept, "this");
        let known: Vec<(&str, String)> = known
            .iter()
            .map(|it| (it.adapter.as_str(), it.variants.to_string()))
            .collect();
        assert_eq!(
            known,
            [
                ("one", "tiled lanes=2".to_owned()),
                ("two", "tiled lanes=4".to_owned())
            ]
        );
    }
}
