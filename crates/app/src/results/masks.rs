//! What can be done with masks: how strongly they are drawn, and whose.

use leptos::prelude::*;

use crate::palette;
use crate::state::{EngineState, Page};

/// The slider and a switch for each kind; nothing where there are no masks.
#[component]
pub(crate) fn MaskControls(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let masks = page.masks;
    let detections = page.detections();
    let kinds = Memo::new(move |_| detections.with(|all| masks.kinds(all)));
    let colours = Memo::new(move |_| {
        detections.with(|all| {
            let labels = all.iter().map(|it| it.label.clone());
            let classes = palette::colours(all.iter().map(|it| it.label.as_str()));
            labels.zip(classes).collect::<Vec<_>>()
        })
    });
    let choose = move |event| {
        if let Ok(percent) = event_target_value(&event).parse::<u32>() {
            masks.opacity.set(percent.min(100));
        }
    };
    let kind = move |(label, count): (String, usize)| {
        let label = StoredValue::new(label);
        let colour = move || {
            let label = label.get_value();
            let own = colours.with(|all| {
                let mut all = all.iter();
                all.find(|(other, _)| *other == label).and_then(|it| it.1)
            });
            palette::class(own)
        };
        let is_on = move || label.with_value(|label| masks.is_kind_on(label));
        let name = label.with_value(|label| match label.as_str() {
            "" => "no label".to_owned(),
            label => label.to_owned(),
        });
        view! {
            <li>
                <button
                    type="button"
                    class="quiet kind"
                    data-kind=label.get_value()
                    aria-pressed=move || is_on().to_string()
                    title="Show or hide the masks of this kind"
                    on:click=move |_| label.with_value(|label| masks.switch_kind(label))
                >
                    <span class=move || format!("swatch {}", colour()) aria-hidden="true"></span>
                    {name}
                    <small>{format!("× {count}")}</small>
                </button>
            </li>
        }
    };
    view! {
        <Show when=move || kinds.with(|kinds| !kinds.is_empty())>
            <div class="mask-controls" id="mask-controls" role="group" aria-label="Masks">
                <label class="opacity" for="mask-opacity">
                    "Masks"
                    <input
                        id="mask-opacity"
                        type="range"
                        min="0"
                        max="100"
                        step="5"
                        aria-label="Opacity of the masks, in percent"
                        prop:value=move || masks.opacity.get().to_string()
                        on:input=choose
                    />
                </label>
                <ul>
                    <For each=move || kinds.get() key=|kind| kind.clone() children=kind />
                </ul>
            </div>
        </Show>
        <MaskHint page />
    }
}

/// Where masks would come from, when the answer has codes and nothing decodes them.
#[component]
fn MaskHint(page: Page) -> impl IntoView {
    let is_wanting = move || {
        let gives_masks = page.engine.with(|engine| match engine {
            EngineState::Ready(loaded) => loaded.model.gives_masks,
            _ => true,
        });
        let has_codes = page.reply.with(|reply| {
            let reply = reply.as_ref();
            reply.is_some_and(|it| it.answer.is_some() && it.text.contains("<seg"))
        });
        has_codes && !gives_masks && page.masks.shown.with(Vec::is_empty)
    };
    view! {
        <Show when=is_wanting>
            <p class="hint" id="mask-hint">
                "The model has written masks, and came without what decodes them: choose vae-oid.npz under "
                "Model, then run the prompt again."
            </p>
        </Show>
    }
}

/// The switch of one object's mask, in its row; nothing where it has none.
#[component]
pub(crate) fn MaskSwitch(
    /// The page's state.
    page: Page,
    /// Which detection's.
    index: usize,
    /// What it is called.
    #[prop(into)]
    label: Signal<String>,
) -> impl IntoView {
    let masks = page.masks;
    view! {
        <Show when=move || masks.has(index)>
            <input
                type="checkbox"
                class="mask-switch"
                data-mask=index.to_string()
                aria-label=move || format!("Mask of {} {}", label.get(), index + 1)
                title="Show or hide this mask"
                prop:checked=move || masks.is_on(index)
                on:change=move |_| masks.switch(index)
            />
        </Show>
    }
}
