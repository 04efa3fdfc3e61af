//! The panel of generation: folded away, as the usual way needs none of it.

use leptos::prelude::*;

use super::settings::{Field, Settings, Takes};
use crate::state::Page;

/// The folded panel.
#[component]
pub(super) fn GenerationPanel(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let settings = page.settings;
    let fields = move |fields: &[Field]| {
        let fields = fields.iter().copied();
        fields
            .map(|field| view! { <Typed page field /> })
            .collect_view()
    };
    view! {
        <details class="things" id="generation">
            <summary>
                "Generation: " {move || settings.with(Settings::summary)}
            </summary>
            <div class="settings">
                <label class="wide">
                    <input
                        type="checkbox"
                        name="draws"
                        prop:checked=move || settings.with(|settings| settings.draws)
                        on:change=move |event| {
                            settings.update(|it| it.draws = event_target_checked(&event));
                        }
                    />
                    "Draw tokens at random"
                </label>
                {fields(&Field::DRAWING)}
                <label class="wide" title="Only boxes, masks and the things of the prompt, for detect and segment">
                    <input
                        type="checkbox"
                        name="constrained"
                        prop:checked=move || settings.with(|settings| settings.constrained)
                        on:change=move |event| {
                            settings.update(|it| it.constrained = event_target_checked(&event));
                        }
                    />
                    "Hold boxes to their grammar"
                </label>
            </div>
            <details class="more">
                <summary>"More"</summary>
                <div class="settings">{fields(&Field::MORE)}</div>
            </details>
        </details>
    }
}

/// A field, with what to write once it holds something else.
#[component]
fn Typed(page: Page, field: Field) -> impl IntoView {
    let settings = page.settings;
    let is_wrong = Memo::new(move |_| settings.with(|settings| settings.is_wrong(field)));
    let advice = format!("{}-advice", field.name());
    let keys = match field.takes() {
        Takes::Number => "decimal",
        Takes::Count | Takes::Seed => "numeric",
        // There are no spaces on a pad of digits.
        Takes::Ids => "text",
    };
    view! {
        <div class="setting">
            <label title=field.meaning()>
                {field.title()}
                <input
                    type="text"
                    inputmode=keys
                    autocomplete="off"
                    name=field.name()
                    placeholder=field.hint()
                    aria-invalid=move || is_wrong.get().to_string()
                    aria-describedby=advice.clone()
                    disabled=move || !settings.with(|settings| settings.uses(field))
                    on:input=move |event| {
                        settings.update(|it| it.set(field, event_target_value(&event)));
                    }
                />
            </label>
            <small id=advice role="status">
                {move || is_wrong.get().then(|| field.takes().advice())}
            </small>
        </div>
    }
}
