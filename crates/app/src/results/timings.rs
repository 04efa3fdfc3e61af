//! How long each stage took.

use leptos::prelude::*;
use paligemma_browser::protocol::Timings;

use crate::state::{EngineState, Page};
use crate::wording;

/// Load, picture, prefill, decode, and tokens a second.
#[component]
pub(crate) fn TimingTable(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let load = move || {
        page.engine.with(|engine| match engine {
            EngineState::Ready(loaded) => wording::duration(loaded.load_ms),
            _ => "–".to_owned(),
        })
    };
    let timings = move || {
        page.reply.with(|reply| {
            reply
                .as_ref()
                .and_then(|it| it.answer.as_ref())
                .map(|it| it.timings)
        })
    };
    let of =
        move |words: fn(Timings) -> String| move || timings().map_or_else(|| "–".to_owned(), words);
    let rows = [
        (
            "picture",
            "Picture",
            "Encoding the picture; kept, when another prompt follows",
            of(picture),
        ),
        (
            "prefill",
            "Prefill",
            "Reading picture and prompt, up to the first token",
            of(prefill),
        ),
        ("decode", "Decode", "Writing every later token", of(decode)),
        (
            "speed",
            "Speed",
            "Tokens a second while decoding",
            of(speed),
        ),
    ];
    let model = move || {
        page.engine.with(|engine| match engine {
            EngineState::Ready(loaded) => format!(
                "{}, {} parameters, {}, sees {side} × {side} pixels",
                loaded.model.family,
                wording::count_of_weights(loaded.model.parameters),
                wording::bytes(loaded.model.bytes),
                side = loaded.model.image_size,
            ),
            _ => "–".to_owned(),
        })
    };
    view! {
        <dl id="timings" class="timings" aria-label="Timings">
            <div data-stage="load" title="Fetching the model and putting it on the GPU">
                <dt>"Load"</dt>
                <dd>{load}</dd>
            </div>
            {rows
                .map(|(stage, name, meaning, value)| {
                    view! {
                        <div data-stage=stage title=meaning>
                            <dt>{name}</dt>
                            <dd>{value}</dd>
                        </div>
                    }
                })
                .collect_view()}
        </dl>
        <p id="model" class="model">{model}</p>
    }
}

fn picture(timings: Timings) -> String {
    if timings.vision_ms > 0.0 {
        wording::duration(timings.vision_ms)
    } else {
        "kept".to_owned()
    }
}

fn prefill(timings: Timings) -> String {
    wording::duration(timings.prefill_ms)
}

fn decode(timings: Timings) -> String {
    wording::duration(timings.decode_ms)
}

fn speed(timings: Timings) -> String {
    format!("{:.1} tok/s", timings.tokens_per_second)
}
