//! The engine's choice of kernels as the protocol's.

use paligemma_engine as engine;

use crate::environment;
use crate::protocol::Tuned;

/// What the page has kept, for a load.
pub(super) fn options(kept: Option<&Tuned>) -> engine::TuningOptions {
    let here = kept.filter(|kept| kept.browser == environment::browser());
    let known = here.and_then(|kept| {
        Some(engine::Tuned {
            adapter: kept.adapter.clone(),
            variants: kept.variants.parse().ok()?,
        })
    });
    engine::TuningOptions {
        known: known.into_iter().collect(),
        ..engine::TuningOptions::default()
    }
}

/// What was measured, for the page to keep.
pub(super) fn to_keep(measured: Option<engine::Tuned>) -> Option<Tuned> {
    measured.map(|tuned| Tuned {
        adapter: tuned.adapter,
        browser: environment::browser(),
        variants: tuned.variants.to_string(),
    })
}
