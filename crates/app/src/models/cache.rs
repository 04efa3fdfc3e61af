//! Whether the model's keys and values are kept in 8 bits.

use leptos::prelude::*;
use paligemma_browser::protocol::CachePrecision;

use super::state::Models;

/// The switch, and when it helps.
#[component]
pub(crate) fn CacheChoice(
    /// The models.
    models: Models,
) -> impl IntoView {
    let is_chosen = move || models.session.cache.get() == Some(CachePrecision::Int8);
    let choose = move |event: web_sys::Event| {
        let cache = event_target_checked(&event).then_some(CachePrecision::Int8);
        models.session.keep_cache_as(cache);
        models.reload();
    };
    let effect = move || {
        if models.can_reload() {
            "The model is loaded again when you change this."
        } else {
            "It takes effect when a model is loaded next."
        }
    };
    view! {
        <section aria-labelledby="cache-title">
            <h3 id="cache-title">"Memory"</h3>
            <label class="check">
                <input
                    id="cache-int8"
                    type="checkbox"
                    aria-describedby="cache-about"
                    prop:checked=is_chosen
                    on:change=choose
                />
                "Keys and values in 8 bits"
            </label>
            // The figure is that of the demo model as published in benches/FIDELITY.md.
            <p class="small" id="cache-about">
                "In 8 bits, what the model keeps of the picture, the prompt and its answer takes about half the "
                "memory or less: that helps with pictures of 448 or 896 pixels and with long answers. Answers "
                "hardly change: the demo model’s boxes overlap those without it by 99.9 %, and as many are right. "
                {effect}
            </p>
        </section>
    }
}
