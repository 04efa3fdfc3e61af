//! What this is, and what computes.

use leptos::prelude::*;

use crate::icon::{Glyph, Icon};
use crate::models::{ModelButton, Models};
use crate::state::{EngineState, Page};
use crate::theme::ThemeButton;

/// The page's head.
#[component]
pub(crate) fn Header(
    /// The page's state.
    page: Page,
    /// The models.
    models: Models,
) -> impl IntoView {
    view! {
        <header class="head">
            <img class="logo" src="icons/logo.svg" alt="" width="36" height="36" />
            <div class="names">
                <h1>"PaliGemma in your browser"</h1>
                <p>"Ask a picture. Everything is computed on this machine; no picture leaves it."</p>
            </div>
            <ModelButton page models />
            <AdapterChip page />
            <ThemeButton />
        </header>
    }
}

/// Names the adapter, and says when it is the CPU.
#[component]
fn AdapterChip(page: Page) -> impl IntoView {
    let adapter = move || {
        page.engine.with(|engine| match engine {
            EngineState::Ready(loaded) => Some(loaded.adapter.clone()),
            _ => None,
        })
    };
    let name = move || adapter().map_or_else(|| "–".to_owned(), |adapter| adapter.name);
    let backend = move || adapter().map(|adapter| adapter.backend).unwrap_or_default();
    let kernels = move || adapter().map(|adapter| format!("Kernels: {}", adapter.kernels));
    let is_software = move || adapter().is_some_and(|adapter| adapter.is_software);
    view! {
        <p
            id="adapter"
            class="adapter"
            class:unknown=move || adapter().is_none()
            title=kernels
            class:software=is_software
            data-software=move || is_software().to_string()
        >
            <Icon glyph=Glyph::Chip />
            <span>
                <span class="visually-hidden">"Computed by "</span>
                <b>{name}</b>
                <small>
                    {move || {
                        if is_software() {
                            format!("{} on the CPU: correct, but slow", backend())
                        } else {
                            backend()
                        }
                    }}
                </small>
            </span>
        </p>
    }
}
