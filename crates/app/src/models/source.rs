//! The form in which a person says where a model comes from.

use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use paligemma_browser::protocol::{ModelSource, Problem, ProblemKind, Wanted};
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlInputElement};

use super::adapter::AdapterFields;
use super::form::{Form, HUB, Origin, repository_page};
use super::job::{About, Job, Trouble};
use super::recipe::RECIPES;
use super::state::Models;
use super::{published, recipe, words};
use crate::platform::page as browser;
use crate::wording;

/// Source, recipe, and the button that asks what it costs.
#[component]
pub(crate) fn SourceForm(
    /// The models.
    models: Models,
) -> impl IntoView {
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        models.check();
    };
    let origin = Memo::new(move |_| models.form.with(|form| form.origin));
    let is_busy = move || models.job.with(Job::is_busy);
    let is_examining = move || models.job.with(|job| *job == Job::Examining);
    view! {
        <form class="source" novalidate on:submit=submit>
            <fieldset disabled=is_busy>
                <legend class="visually-hidden">"Where the model comes from"</legend>
                <div class="origins" role="radiogroup" aria-label="Source">
                    {Origin::ALL
                        .map(|one| {
                            view! {
                                <label class="origin">
                                    <input
                                        id=format!("origin-{}", one.name())
                                        type="radio"
                                        name="origin"
                                        value=one.name()
                                        prop:checked=move || origin.get() == one
                                        on:change=move |_| models.choose_origin(one)
                                    />
                                    <span>{one.title()}</span>
                                </label>
                            }
                        })
                        .collect_view()}
                </div>
                {move || match origin.get() {
                    Origin::Hub => view! { <HubFields models /> }.into_any(),
                    Origin::Folder => view! { <FolderFields models /> }.into_any(),
                    Origin::Files => view! { <FileFields models /> }.into_any(),
                }}
                <AdapterFields models />
                <RecipeField models />
                <button id="examine" type="submit">
                    {move || if is_examining() { "Checking…" } else { "Check what it costs" }}
                </button>
            </fieldset>
        </form>
    }
}

/// A text field of the form.
#[component]
fn Field(
    models: Models,
    id: &'static str,
    label: &'static str,
    #[prop(default = "text")] kind: &'static str,
    read: fn(&Form) -> &String,
    write: fn(&mut Form, String),
) -> impl IntoView {
    let value = move || models.form.with(|form| read(form).clone());
    let change = move |event| {
        models.edit(|form| write(form, event_target_value(&event)));
    };
    view! {
        <label class="field">
            <span>{label}</span>
            <input
                id=id
                type=kind
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                prop:value=value
                on:input=change
            />
        </label>
    }
}

#[component]
fn HubFields(models: Models) -> impl IntoView {
    let chosen = Memo::new(move |_| {
        models
            .form
            .with(|form| published::named(form.repository.trim()))
    });
    let choose = move |event| {
        let repository = event_target_value(&event);
        models.edit(|form| form.name(&repository));
        if repository.is_empty() {
            browser::focus("hub-repository");
        }
    };
    let option = move |model: published::Published| {
        let words = format!(
            "{}, {} to download",
            model.title(),
            wording::bytes(model.fetch_bytes(model.best_revision()))
        );
        let is_chosen = move || chosen.get() == Some(model);
        view! { <option value=model.repository() prop:selected=is_chosen>{words}</option> }
    };
    let options = published::all().map(option).collect_view();
    let fine_tuned = published::fine_tuned().map(option).collect_view();
    let has_other_hub = models
        .form
        .with_untracked(|form| form.base_url.trim_end_matches('/') != HUB);
    let token_label = move || {
        let source = ModelSource::Url {
            url: models.form.with(|form| form.base_url.clone()),
        };
        format!(
            "Access token for {}, if it wants one",
            words::host(&source).unwrap_or_default()
        )
    };
    view! {
        <label class="field">
            <span>"Published checkpoint"</span>
            <select id="hub-published" on:change=choose>
                <option value="" prop:selected=move || chosen.get().is_none()>
                    "Another repository"
                </option>
                {options}
                <optgroup label="Fine-tuned for one task">{fine_tuned}</optgroup>
            </select>
        </label>
        <div class="pair">
            <Field
                models
                id="hub-repository"
                label="Repository"
                read=|form| &form.repository
                write=|form, value| form.name(&value)
            />
            <Field
                models
                id="hub-revision"
                label="Revision: branch, tag or commit"
                read=|form| &form.revision
                write=|form, value| form.revision = value
            />
        </div>
        <PublishedNote models />
        <label class="field">
            <span>{token_label}</span>
            // No name, and the value only as a property: it is in no attribute, no URL, no storage.
            <input
                id="hub-token"
                type="password"
                autocomplete="off"
                spellcheck="false"
                prop:value=move || models.typed_token.get()
                on:input=move |event| models.typed_token.set(event_target_value(&event))
            />
        </label>
        <p class="small">
            "It is sent to this host only, is held in this page’s memory until the model is here, and is "
            "stored nowhere."
            <Show when=move || models.holds_token.get()>
                " One is held now. "
                <button class="quiet" type="button" on:click=move |_| models.forget_token()>
                    "Forget it"
                </button>
            </Show>
        </p>
        <details class="more" prop:open=has_other_hub>
            <summary>"Another hub or a mirror"</summary>
            <Field
                models
                id="hub-base-url"
                label="The hub’s address"
                kind="url"
                read=|form| &form.base_url
                write=|form, value| form.base_url = value
            />
        </details>
    }
}

/// What is known of a published checkpoint, and how to get at it.
#[component]
fn PublishedNote(models: Models) -> impl IntoView {
    move || {
        let form = models.form.get();
        let model = published::named(form.repository.trim())?;
        let revision = form.revision.trim();
        let kept = model
            .kept_bytes(&form.recipe, revision)
            .map(|bytes| format!(", about {} kept as {}", wording::bytes(bytes), form.recipe));
        let half = model.best_revision() == published::HALF_BRANCH && revision == "main";
        let page = repository_page(&form.base_url, form.repository.trim());
        let trained = model.trained();
        Some(view! {
            <div class="note small" id="published-note">
                <p>
                    "About " {wording::bytes(model.fetch_bytes(revision))} " to download"
                    {kept.unwrap_or_default()} ". Licence: " {published::LICENCE} "." {trained}
                    {half.then_some(" The branch bfloat16 holds the same model at half the download.")}
                </p>
                <p>
                    "Google’s repositories are gated: accept the licence on "
                    {match page {
                        Some(page) => {
                            view! {
                                <a href=page target="_blank" rel="noopener noreferrer">
                                    "the model’s page"
                                </a>
                            }
                                .into_any()
                        }
                        None => "the model’s page".into_any(),
                    }}
                    " first, then make an access token there that may read it."
                </p>
            </div>
        })
    }
}

#[component]
fn FolderFields(models: Models) -> impl IntoView {
    view! {
        <Field
            models
            id="packed-url"
            label="Address of a folder with a packed model or a checkpoint"
            kind="url"
            read=|form| &form.folder_url
            write=|form, value| form.folder_url = value
        />
        <p class="small">
            "A packed model, as " <code>"paligemma convert"</code>
            " writes it, is the smaller download. Its server has to let this page read it (CORS) and to "
            "answer Range requests."
        </p>
    }
}

#[component]
fn FileFields(models: Models) -> impl IntoView {
    let choose = move |event: Event| {
        let input = event
            .target()
            .and_then(|it| it.dyn_into::<HtmlInputElement>().ok());
        if let Some(files) = input.and_then(|input| input.files()) {
            models.choose_files(&files);
        }
    };
    view! {
        <div class="actions">
            <div class="file">
                <input class="visually-hidden" id="model-files" type="file" multiple on:change=choose />
                <label class="button" for="model-files">"Choose files…"</label>
            </div>
            <div class="file">
                <input
                    class="visually-hidden"
                    id="model-folder"
                    type="file"
                    multiple
                    prop:webkitdirectory=true
                    on:change=choose
                />
                <label class="button" for="model-folder">"Choose a folder…"</label>
            </div>
        </div>
        <p class="small" id="chosen-files">
            {move || models.chosen.get().unwrap_or_else(|| "Nothing is chosen yet.".to_owned())}
        </p>
        <p class="small">
            "All files of a checkpoint (safetensors, config.json, tokenizer.json, …) or of a packed model. "
            "They are read where they lie; nothing is uploaded."
        </p>
    }
}

#[component]
fn RecipeField(models: Models) -> impl IntoView {
    let is_packed = move || {
        models
            .job
            .with(|job| matches!(job, Job::Offered(offered) if offered.offer.packed))
    };
    let choose = move |event| models.edit(|form| form.recipe = event_target_value(&event));
    let about = move || {
        if is_packed() {
            return "This model is packed already, by its own recipe.";
        }
        models
            .form
            .with(|form| recipe::named(&form.recipe))
            .map_or("", |recipe| recipe.cost)
    };
    view! {
        <label class="field">
            <span>"How its weights are packed"</span>
            <select id="recipe" disabled=is_packed on:change=choose>
                {RECIPES
                    .map(|recipe| {
                        let is_chosen = move || models.form.with(|form| form.recipe == recipe.name);
                        view! {
                            <option value=recipe.name prop:selected=is_chosen>
                                {recipe.title}
                            </option>
                        }
                    })
                    .collect_view()}
            </select>
        </label>
        <p class="small">{about}</p>
    }
}

impl Models {
    /// Changes the form; an offer made for what it said before is no longer one.
    pub(super) fn edit(self, change: impl FnOnce(&mut Form)) {
        let hub = self.form.with_untracked(|form| form.base_url.clone());
        self.form.update(change);
        if self.form.with_untracked(|form| form.base_url != hub) {
            // It was typed for the hub that stood here before.
            self.typed_token.set(String::new());
        }
        if self
            .job
            .with_untracked(|job| matches!(job, Job::Offered(_)))
        {
            self.job.set(Job::None);
        }
    }

    /// Asks what the model in the form would cost.
    fn check(self) {
        let form = self.form.get_untracked();
        let has_files = self.inner.with_value(|inner| !inner.files.is_empty());
        let adapter = form.adapter_source();
        match form.source(has_files) {
            Ok(source) => {
                self.remember_hub();
                self.examine(Wanted {
                    source,
                    recipe: form.recipe,
                    token: None,
                    adapter,
                });
            }
            Err(refusal) => {
                let problem = Problem {
                    kind: ProblemKind::Checkpoint,
                    message: refusal.message.to_owned(),
                };
                let about = About::Form;
                self.trouble.set(Some(Trouble { problem, about }));
                browser::focus(refusal.field);
            }
        }
    }

    /// Takes the files that a person chose.
    fn choose_files(self, list: &web_sys::FileList) {
        let (files, count, size) = crate::platform::file::chosen(list);
        self.inner.update_value(|inner| inner.files = files);
        self.chosen.set((count > 0).then(|| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} file{plural}, {}", wording::bytes(size))
        }));
        let about_files = self.job.with_untracked(|job| match job {
            Job::Offered(offered) => offered.wanted.source == ModelSource::Files,
            _ => false,
        });
        if about_files {
            self.job.set(Job::None);
        }
    }
}
