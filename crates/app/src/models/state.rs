//! What the page knows about models, as signals.

use leptos::prelude::*;
use paligemma_browser::message::Files;
use paligemma_browser::protocol::{Event, KeptModel, Library, ModelSource, Token, Wanted};
use paligemma_tasks::Template;

use super::form::Form;
use super::job::{Job, Present, Trouble};
use super::start;
use super::token::Held;
use crate::platform::{page as browser, storage};
use crate::session::Session;
use crate::state::Page;

/// The checkpoint that the page brings along.
pub(super) const DEMO_MODEL: &str = "demo/model";
/// Where the hub's address is remembered.
const HUB_KEY: &str = "hub-base-url";

/// The models; a handle that is cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Models {
    pub(super) page: Page,
    pub(super) session: Session,
    /// What is kept, once that is known.
    pub(super) library: RwSignal<Option<Library>>,
    /// What stands in the fields.
    pub(super) form: RwSignal<Form>,
    /// The token's field. It never leaves this page's memory but for its hub.
    pub(super) typed_token: RwSignal<String>,
    /// A token is held.
    pub(super) holds_token: RwSignal<bool>,
    /// What was chosen on this machine, in words.
    pub(super) chosen: RwSignal<Option<String>>,
    /// The model that is being got.
    pub(super) job: RwSignal<Job>,
    /// What went wrong with it.
    pub(super) trouble: RwSignal<Option<Trouble>>,
    /// The browser's answer to whether it keeps this site's data.
    pub(super) promise: RwSignal<Option<bool>>,
    /// The row in which deleting waits for a second click.
    pub(super) doomed: RwSignal<Option<String>>,
    /// The model on the GPU, or on its way there.
    pub(super) present: RwSignal<Option<Present>>,
    /// Something about this visit that a person should know.
    pub(super) remark: RwSignal<Option<String>>,
    /// The dialog is open.
    pub(super) is_open: RwSignal<bool>,
    pub(super) inner: StoredValue<Inner, LocalStorage>,
}

/// What no part of the page shows.
#[derive(Default)]
pub(super) struct Inner {
    /// What was chosen on this machine.
    pub(super) files: Files,
    /// What was chosen as an adapter's.
    pub(super) adapter_files: Vec<web_sys::File>,
    pub(super) token: Option<Held>,
    /// Counts what was to be loaded, so that news of what no longer matters is ignored.
    pub(super) load_turn: u32,
    pub(super) load_id: Option<u32>,
    /// Counts jobs, likewise.
    pub(super) job_turn: u32,
    pub(super) fetch_id: Option<u32>,
}

impl Models {
    /// Models of which nothing is known yet.
    pub(crate) fn new(page: Page, session: Session) -> Self {
        Self {
            page,
            session,
            library: RwSignal::new(None),
            form: RwSignal::new(Form::new(storage::text(HUB_KEY))),
            typed_token: RwSignal::new(String::new()),
            holds_token: RwSignal::new(false),
            chosen: RwSignal::new(None),
            job: RwSignal::new(Job::None),
            trouble: RwSignal::new(None),
            promise: RwSignal::new(None),
            doomed: RwSignal::new(None),
            present: RwSignal::new(None),
            remark: RwSignal::new(None),
            is_open: RwSignal::new(false),
            inner: StoredValue::new_local(Inner::default()),
        }
    }

    /// Opens the dialog.
    pub(crate) fn open(self) {
        self.refresh();
        self.is_open.set(true);
    }

    /// Whether the dialog is open.
    pub(crate) fn is_open(self) -> bool {
        self.is_open.get_untracked()
    }

    /// Fills the form in from the page's address, and shows it then. Nothing is fetched.
    pub(crate) fn read_address(self) {
        let filled = self
            .form
            .try_update(|form| form.fill(browser::parameter))
            .unwrap_or_default();
        if filled {
            self.open();
        }
    }

    /// Whether the demo model is the present one, or nothing else is yet.
    pub(crate) fn shows_demo(self) -> bool {
        self.present
            .with(|present| present.as_ref().is_none_or(|it| it.is_demo))
    }

    /// The prompts that the present model knows; none for the demo model, which has its own.
    pub(crate) fn templates(self) -> &'static [Template] {
        self.present.with(|present| match present {
            Some(present) if !present.is_demo => paligemma_tasks::templates(&present.title),
            _ => &[],
        })
    }

    /// What the present model is called.
    pub(crate) fn present_title(self) -> String {
        self.present.with(|present| {
            present
                .as_ref()
                .map_or_else(|| "This model".to_owned(), |it| it.title.clone())
        })
    }

    /// The demo model's address in full.
    pub(super) fn demo_url() -> String {
        browser::absolute(DEMO_MODEL)
    }

    /// A kept model as the present one.
    pub(super) fn present_of(model: &KeptModel) -> Present {
        if start::is_demo(model.source.as_ref(), &Self::demo_url()) {
            Present::demo(Wanted::folder(DEMO_MODEL), Some(model.key.clone()))
        } else {
            Present::kept(model)
        }
    }

    /// Asks anew what is kept.
    pub(super) fn refresh(self) {
        if let Some(client) = self.session.client() {
            client.library(move |event| {
                // Where this fails, the list stays as it was: whatever is done next says why.
                if let Event::Library { library, .. } = event {
                    self.library.set(Some(library));
                }
            });
        }
    }

    /// What is kept under this key.
    pub(super) fn find(self, key: &str) -> Option<KeptModel> {
        self.library.with_untracked(|library| {
            let models = &library.as_ref()?.models;
            models.iter().find(|model| model.key == key).cloned()
        })
    }

    /// Takes the token out of its field, if one was typed, and holds it for the hub at `base_url`.
    pub(super) fn take_token(self, base_url: &str) {
        let typed = self.typed_token.get_untracked();
        if let Some(held) = Held::new(base_url, &typed) {
            self.inner.update_value(|inner| inner.token = Some(held));
            self.holds_token.set(true);
        }
        self.typed_token.set(String::new());
    }

    /// The token for a source, if one is held for it.
    pub(super) fn token_for(self, source: &ModelSource) -> Option<Token> {
        // What is typed was typed for the hub that the form names.
        let bare = |url: &str| url.trim().trim_end_matches('/').to_owned();
        if let ModelSource::Hub { base_url, .. } = source
            && !self.typed_token.with_untracked(String::is_empty)
            && self.form.with_untracked(|form| bare(&form.base_url)) == bare(base_url)
        {
            self.take_token(base_url);
        }
        self.inner.with_value(|inner| {
            let held = inner.token.as_ref()?;
            held.for_source(source)
        })
    }

    /// Shows another source in the form. A token that was typed for another hub is not for this one.
    pub(super) fn show_source(self, source: &ModelSource, recipe: &str) {
        let before = self.form.with_untracked(|form| form.base_url.clone());
        self.form.update(|form| form.show(source, recipe));
        if self.form.with_untracked(|form| form.base_url != before) {
            self.typed_token.set(String::new());
        }
    }

    /// Forgets the token.
    pub(super) fn forget_token(self) {
        self.inner.update_value(|inner| inner.token = None);
        self.typed_token.set(String::new());
        self.holds_token.set(false);
    }

    /// Remembers the hub's address for the next visit, if the person chose it.
    pub(super) fn remember_hub(self) {
        self.form.with_untracked(|form| {
            if let Some(hub) = form.own_hub() {
                storage::set_text(HUB_KEY, hub);
            }
        });
    }
}
