//! The models that this browser keeps, and the room they take.

use leptos::prelude::*;
use paligemma_browser::protocol::{KeptModel, ModelSource, Room};

use super::form::Origin;
use super::job::Job;
use super::state::Models;
use super::{start, words};
use crate::platform::page as browser;
use crate::wording;

/// The list, and the room.
#[component]
pub(crate) fn KeptList(
    /// The models.
    models: Models,
) -> impl IntoView {
    let all = move || {
        models
            .library
            .with(|library| library.as_ref().map(|it| it.models.clone()))
            .unwrap_or_default()
    };
    let nothing = move || {
        models.library.with(|library| match library {
            None => Some("What is kept is not known yet.".to_owned()),
            Some(library) => match &library.cannot_keep {
                Some(why) => Some(format!("This browser keeps no models: {why}")),
                None if library.models.is_empty() => Some("No model is kept yet.".to_owned()),
                None => None,
            },
        })
    };
    view! {
        <section class="kept" aria-labelledby="kept-title">
            <h3 id="kept-title" tabindex="-1">"Kept in this browser"</h3>
            {move || nothing().map(|words| view! { <p class="small">{words}</p> })}
            <ul id="kept">
                // A row that has changed is another row.
                <For
                    each=all
                    key=|it| (it.key.clone(), it.stored_bytes, it.complete, it.last_used_ms as u64)
                    let:model
                >
                    <Row models model />
                </For>
            </ul>
            <RoomBar models />
        </section>
    }
}

/// A kept model and what can be done with it.
#[component]
fn Row(models: Models, model: KeptModel) -> impl IntoView {
    let state = match &model {
        it if it.unreadable => "unreadable",
        it if it.complete => "complete",
        _ => "partial",
    };
    let title = if start::is_demo(model.source.as_ref(), &Models::demo_url()) {
        "Demo model".to_owned()
    } else {
        model.title.clone()
    };
    let key = StoredValue::new(model.key.clone());
    let is = move |other: Option<&str>| key.with_value(|key| other == Some(key));
    let is_present = move || {
        models
            .present
            .with(|present| is(present.as_ref().and_then(|it| it.key.as_deref())))
    };
    let is_arriving = move || {
        models
            .job
            .with(|job| matches!(job, Job::Fetching(_)) && is(job.key()))
    };
    let details = details(&model);
    let id = model.key.clone();
    view! {
        <li class="kept-row" class:present=is_present data-model-key=id data-state=state>
            <div>
                <b>{title}</b>
                <small>
                    {details}
                    {move || is_present().then_some(" · answers now")}
                    {move || is_arriving().then_some(" · arriving")}
                </small>
            </div>
            <div class="actions">
                <RowButtons models model />
            </div>
        </li>
    }
}

/// Load, go on, repair, delete.
#[component]
fn RowButtons(models: Models, model: KeptModel) -> impl IntoView {
    let can_load = model.complete && !model.unreadable;
    let can_fetch = start::can_fetch(&model) && !model.unreadable;
    let was_files = !model.unreadable && matches!(model.source, None | Some(ModelSource::Files));
    let is_partial = !model.complete && !model.unreadable;
    let model = StoredValue::new(model);
    let load = move |_| {
        models.is_open.set(false);
        model.with_value(|model| models.load_kept(model));
    };
    let fetch = move |_| {
        model.with_value(|model| {
            if let Some(source) = &model.source {
                models.show_source(source, &model.recipe);
                models
                    .form
                    .update(|form| form.show_adapter(model.adapter.as_ref()));
            }
            models.fetch_kept(model);
        });
        browser::focus("get-title");
    };
    let choose_again = move |_| {
        model.with_value(|model| {
            models.show_source(&ModelSource::Files, &model.recipe);
            models
                .form
                .update(|form| form.show_adapter(model.adapter.as_ref()));
        });
        browser::focus("origin-files");
    };
    let is_idle = move || models.job.with(|job| !job.is_busy());
    let is_doomed = move || {
        model.with_value(|model| {
            models
                .doomed
                .with(|key| key.as_deref() == Some(&*model.key))
        })
    };
    let is_arriving = move || {
        model.with_value(|model| {
            models
                .job
                .with(|job| matches!(job, Job::Fetching(_)) && job.key() == Some(&*model.key))
        })
    };
    let delete = move |_| {
        let key = model.with_value(|model| model.key.clone());
        if is_doomed() {
            models.discard(&key);
        } else {
            models.doomed.set(Some(key));
        }
    };
    view! {
        <Show when=move || can_load>
            <button type="button" data-action="load" on:click=load>
                "Load"
            </button>
        </Show>
        <Show when=move || is_partial && can_fetch && is_idle()>
            <button type="button" data-action="resume" on:click=fetch>
                "Resume"
            </button>
        </Show>
        <Show when=move || is_partial && was_files && is_idle()>
            <button type="button" data-action="choose" on:click=choose_again>
                "Choose its files again"
            </button>
        </Show>
        <Show when=move || can_load && can_fetch && is_idle()>
            <button
                class="quiet"
                type="button"
                data-action="repair"
                title="Checks every piece and fetches again what is damaged"
                on:click=fetch
            >
                "Repair"
            </button>
        </Show>
        <Show when=move || !is_arriving()>
            <button
                class="quiet"
                class:danger=is_doomed
                type="button"
                data-action="delete"
                on:click=delete
                on:blur=move |_| models.doomed.set(None)
            >
                {move || if is_doomed() { "Really delete" } else { "Delete" }}
            </button>
        </Show>
    }
}

/// `q4 · 1.20 of 2.18 GB · commit 1a2b3c4 · used 2 days ago`
fn details(model: &KeptModel) -> String {
    if model.unreadable {
        return "cannot be read: it can only be deleted".to_owned();
    }
    let mut parts = vec![model.recipe.clone()];
    parts.push(if model.complete {
        wording::bytes(model.store_bytes)
    } else {
        wording::part_of(model.stored_bytes, model.store_bytes)
    });
    if let Some(commit) = &model.commit {
        parts.push(format!("commit {}", words::short_commit(commit)));
    }
    if model.complete {
        parts.push(words::last_used(model.last_used_ms, browser::now()));
    }
    parts.join(" · ")
}

/// How much of the storage is used, and whether the browser has promised to keep it.
#[component]
fn RoomBar(models: Models) -> impl IntoView {
    let room = Memo::new(move |_| {
        models
            .library
            .with(|library| library.as_ref().and_then(|it| it.room))
    });
    let bar = move |room: Room| {
        let words = format!(
            "{} of the browser’s storage used, {} free",
            wording::bytes(room.used),
            wording::bytes(room.quota.saturating_sub(room.used))
        );
        let promise = if room.persisted {
            "The browser has promised to keep it."
        } else if models.promise.get() == Some(false) {
            "The browser was asked to keep it and did not promise: it may clear it when the disk runs full."
        } else {
            "The browser may clear it when the disk runs full."
        };
        view! {
            <div class="room" data-persisted=room.persisted.to_string()>
                <meter
                    min="0"
                    prop:max=room.quota as f64
                    prop:value=room.used as f64
                    aria-label="Storage used"
                ></meter>
                <p class="small">{words} ". " {promise}</p>
                <Show when=move || !room.persisted>
                    <button class="quiet" id="persist" type="button" on:click=move |_| models.ask_to_persist()>
                        "Ask the browser to keep it"
                    </button>
                </Show>
            </div>
        }
    };
    move || room.get().map(bar)
}

impl Models {
    /// Puts another kind of source on show.
    pub(super) fn choose_origin(self, origin: Origin) {
        self.form.update(|form| form.origin = origin);
        self.trouble.set(None);
    }
}
