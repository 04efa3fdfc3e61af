//! In the page itself: which model answers, and what should be known about it.

use leptos::prelude::*;

use super::job::Job;
use super::state::Models;
use super::words;
use crate::icon::{Glyph, Icon};
use crate::state::{EngineState, Page};
use crate::wording;

/// Names the model and opens the dialog.
#[component]
pub(crate) fn ModelButton(
    /// The page's state.
    page: Page,
    /// The models.
    models: Models,
) -> impl IntoView {
    let title = move || {
        models
            .present
            .with(|present| present.as_ref().map(|it| it.title.clone()))
            .unwrap_or_else(|| "Model".to_owned())
    };
    let details = move || {
        if let Some(words) = arriving(models) {
            return words;
        }
        page.engine.with(|engine| match engine {
            EngineState::Ready(loaded) => wording::bytes(loaded.model.bytes),
            EngineState::Loading(_) => "on its way".to_owned(),
            EngineState::Failed(_) => "not loaded".to_owned(),
        })
    };
    let key = move || {
        models
            .present
            .with(|present| present.as_ref().and_then(|it| it.key.clone()))
    };
    view! {
        <button
            class="model-button"
            id="models-open"
            type="button"
            aria-haspopup="dialog"
            title="Choose, fetch and remove models"
            data-present=key
            on:click=move |_| models.open()
        >
            <Icon glyph=Glyph::Box />
            <span>
                <span class="visually-hidden">"Model: "</span>
                <b>{title}</b>
                <small>{details}</small>
            </span>
        </button>
    }
}

/// What is being fetched, so that a closed dialog does not hide it.
fn arriving(models: Models) -> Option<String> {
    models.job.with(|job| {
        let Job::Fetching(fetch) = job else {
            return None;
        };
        if fetch.waiting.is_some() {
            return Some("waiting for the network".to_owned());
        }
        let (done, total) = words::measure(fetch.progress.as_ref()?);
        Some(format!("fetching {}", wording::part_of(done, total)))
    })
}

/// What should be known about this visit.
#[component]
pub(crate) fn Remarks(
    /// The models.
    models: Models,
) -> impl IntoView {
    view! {
        <div role="status">
            {move || {
                models
                    .remark
                    .get()
                    .map(|remark| {
                        view! {
                            <div class="remark" id="model-remark">
                                <p>{remark}</p>
                                <button class="quiet" type="button" on:click=move |_| models.open()>
                                    "Model"
                                </button>
                                <button
                                    class="quiet round"
                                    type="button"
                                    aria-label="Dismiss"
                                    on:click=move |_| models.remark.set(None)
                                >
                                    <Icon glyph=Glyph::Close />
                                </button>
                            </div>
                        }
                    })
            }}
        </div>
    }
}
