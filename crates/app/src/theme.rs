//! Light or dark: as the system says, unless the person says otherwise.

use leptos::prelude::*;

use crate::icon::{Glyph, Icon};
use crate::platform::page;

/// Where the choice is kept; `web/start.js` reads it before the page is drawn.
const KEY: &str = "theme";

/// What the person has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    fn stored() -> Self {
        let stored = page::window().local_storage().ok().flatten();
        match stored
            .and_then(|it| it.get_item(KEY).ok().flatten())
            .as_deref()
        {
            Some("light") => Theme::Light,
            Some("dark") => Theme::Dark,
            _ => Theme::System,
        }
    }

    fn next(self) -> Self {
        match self {
            Theme::System => Theme::Light,
            Theme::Light => Theme::Dark,
            Theme::Dark => Theme::System,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    fn glyph(self) -> Glyph {
        match self {
            Theme::System => Glyph::Contrast,
            Theme::Light => Glyph::Sun,
            Theme::Dark => Glyph::Moon,
        }
    }

    fn apply(self) {
        if let Some(root) = page::document().document_element() {
            // Neither an attribute with a constant name nor private storage that is switched off
            // is worth a message.
            let _ = root.set_attribute("data-theme", self.name());
        }
        if let Ok(Some(storage)) = page::window().local_storage() {
            let _ = storage.set_item(KEY, self.name());
        }
    }
}

/// Goes from the system's colours to light, to dark, and back.
#[component]
pub(crate) fn ThemeButton() -> impl IntoView {
    let theme = RwSignal::new(Theme::stored());
    let next = move |_| {
        theme.update(|theme| *theme = theme.next());
        theme.get().apply();
    };
    let label = move || format!("Colours: {}", theme.get().name());
    view! {
        <button class="quiet round" id="theme" type="button" aria-label=label title=label on:click=next>
            {move || view! { <Icon glyph=theme.get().glyph() /> }}
        </button>
    }
}
