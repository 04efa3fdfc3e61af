//! The dialog in which models are chosen, fetched and thrown away.

use leptos::html::Dialog;
use leptos::prelude::*;

use super::cache::CacheChoice;
use super::job::{About, Job};
use super::kept::KeptList;
use super::masks::MaskChooser;
use super::offer::OfferCard;
use super::progress::Progress;
use super::source::SourceForm;
use super::state::Models;
use super::trouble::TroubleNote;
use crate::icon::{Glyph, Icon};
use crate::platform::page as browser;
use crate::state::{EngineState, Page};
use crate::{status, wording};

/// Everything about models.
#[component]
pub(crate) fn ModelDialog(
    /// The page's state.
    page: Page,
    /// The models.
    models: Models,
) -> impl IntoView {
    let dialog = NodeRef::<Dialog>::new();
    Effect::new(move |_| {
        let is_open = models.is_open.get();
        if let Some(dialog) = dialog.get() {
            if is_open && !dialog.open() {
                // It fails only for a dialog that is open or not in the document.
                let _ = dialog.show_modal();
            } else if !is_open && dialog.open() {
                dialog.close();
            }
        }
    });
    // What follows from a click may lie below what is visible.
    let latest = Memo::new(move |_| {
        let trouble = models.trouble.with(|trouble| match trouble {
            Some(trouble) if trouble.about != About::Form => Some("models-error"),
            _ => None,
        });
        trouble.or_else(|| {
            models.job.with(|job| match job {
                Job::Offered(_) => Some("offer"),
                Job::Fetching(_) => Some("fetch-stage"),
                Job::None | Job::Examining | Job::Paused(_) => None,
            })
        })
    });
    Effect::new(move |_| {
        if let Some(id) = latest.get() {
            request_animation_frame(move || browser::focus(id));
        }
    });
    let closed = move |_| {
        models.is_open.set(false);
        models.doomed.set(None);
    };
    view! {
        <dialog id="models" class="models" aria-labelledby="models-title" node_ref=dialog on:close=closed>
            <div class="models-head">
                <h2 id="models-title">"Model"</h2>
                <button
                    class="quiet round"
                    id="models-close"
                    type="button"
                    aria-label="Close"
                    on:click=move |_| models.is_open.set(false)
                >
                    <Icon glyph=Glyph::Close />
                </button>
            </div>
            <PresentLine page models />
            <MaskChooser page models />
            <KeptList models />
            <CacheChoice models />
            <section class="get" aria-labelledby="get-title">
                <h3 id="get-title">"Get a model"</h3>
                <p class="small">
                    "A model’s files are downloaded once, from where you say and nowhere else. Its weights "
                    "are packed while they arrive and kept in this browser’s storage on this disk: about "
                    "2 GB for a model of 3 billion parameters, of which 6 GB are downloaded. From then on "
                    "it needs no network. To remove it, press Delete above, or clear this site’s data. "
                    "Pictures, prompts and answers never leave this machine."
                </p>
                <SourceForm models />
                <TroubleNote models />
                <OfferCard models />
                <Progress models />
            </section>
        </dialog>
    }
}

/// The model that answers now, or why none does.
#[component]
fn PresentLine(page: Page, models: Models) -> impl IntoView {
    let words = move || {
        page.engine.with(|engine| match engine {
            EngineState::Loading(way) => status::underway(way),
            EngineState::Ready(loaded) => format!(
                "{} answers now: {}, {} parameters, {}.",
                models.present_title(),
                loaded.model.family,
                wording::count_of_weights(loaded.model.parameters),
                wording::bytes(loaded.model.bytes),
            ),
            EngineState::Failed(problem) => format!(
                "No model answers now. {}: {}",
                wording::title(problem.kind),
                wording::explain(problem)
            ),
        })
    };
    let state = move || {
        page.engine.with(|engine| match engine {
            EngineState::Loading(_) => "loading",
            EngineState::Ready(_) => "ready",
            EngineState::Failed(_) => "error",
        })
    };
    view! {
        <p class="present" id="model-present" tabindex="-1" data-state=state>
            {words}
        </p>
    }
}
