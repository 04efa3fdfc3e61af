//! The conversation with the worker: what the person wants becomes requests, what the worker
//! says becomes state.

mod film;
mod look;
mod picture;
mod run;

use std::rc::Rc;

use leptos::prelude::*;
use paligemma_browser::client::{Client, PictureHandle};
use paligemma_browser::protocol::{CachePrecision, Problem, Tuned};
use paligemma_scenes::Truth;
use web_sys::Blob;

use self::film::Further;
pub(crate) use self::film::picture_files;
use crate::state::{EngineState, Page};
use crate::{cache, tuned};

/// The worker's script, beside the page.
const WORKER: &str = "worker_loader.js";

/// A handle on the conversation that is cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    page: Page,
    /// How keys and values are kept; none: as suits the weights.
    pub(crate) cache: RwSignal<Option<CachePrecision>>,
    inner: StoredValue<Inner, LocalStorage>,
}

/// Something to look at.
#[derive(Clone)]
pub(crate) struct PictureFile {
    /// The file.
    pub(crate) blob: Blob,
    /// Its name, or what stands for it.
    pub(crate) name: String,
    /// What it really shows, where that is known.
    pub(crate) truth: Option<Truth>,
}

#[derive(Default)]
struct Inner {
    client: Option<Client>,
    /// Counts what was offered to the stage.
    picture_turn: u32,
    /// Counts runs, so that news of a run that no longer matters is ignored.
    run_turn: u32,
    run_id: Option<u32>,
    /// Counts questions where the model looked; the latest one's answer is shown.
    look_turn: u32,
    /// Counts further pictures.
    further_id: u32,
    /// Beside the one on the stage, in order.
    further: Vec<Further>,
    /// Offered, not yet known to be a picture.
    offered: Option<Offered>,
    /// On the stage.
    current: Option<Offered>,
}

#[derive(Clone)]
struct Offered {
    turn: u32,
    file: PictureFile,
    handle: Option<Rc<PictureHandle>>,
}

impl Session {
    /// A session that has not begun.
    pub(crate) fn new(page: Page) -> Self {
        Self {
            page,
            cache: RwSignal::new(cache::kept()),
            inner: StoredValue::new_local(Inner::default()),
        }
    }

    /// Starts the worker; without one nothing can be computed, and the page says why. Also begins
    /// again after a failure: with a new worker, and with the picture that is on the stage.
    pub(crate) fn connect(self) -> Option<Client> {
        self.forget_run();
        let client = match Client::start(WORKER) {
            Ok(client) => client,
            Err(problem) => {
                self.inner.update_value(|inner| inner.client = None);
                self.page.engine.set(EngineState::Failed(problem));
                return None;
            }
        };
        client.know(tuned::kept());
        client.keep_cache_as(self.cache.get_untracked());
        self.inner
            .update_value(|inner| inner.client = Some(client.clone()));
        client.on_worker_problem(move |problem| self.engine_failed(problem));
        let further = self.unload_film();
        if let Some(current) = self.inner.with_value(|inner| inner.current.clone()) {
            self.show(current.file);
        }
        self.add(further);
        Some(client)
    }

    /// The worker, if one was started.
    pub(crate) fn client(self) -> Option<Client> {
        self.inner.with_value(|inner| inner.client.clone())
    }

    /// Keeps what the worker measured of the adapter, if it did, for later loads and visits.
    pub(crate) fn keep_tuned(self, tuned: Option<Tuned>) {
        let Some(tuned) = tuned else {
            return;
        };
        let known = tuned::keep(tuned);
        if let Some(client) = self.client() {
            client.know(known);
        }
    }

    /// Keys and values are kept like this by what is loaded from now on, at later visits as well.
    pub(crate) fn keep_cache_as(self, cache: Option<CachePrecision>) {
        cache::keep(cache);
        self.cache.set(cache);
        if let Some(client) = self.client() {
            client.keep_cache_as(cache);
        }
    }

    /// Another model comes: a run of the present one ends, and half an answer is none.
    pub(crate) fn abandon_run(self) {
        if self.page.running.get_untracked().is_some() {
            self.stop();
            self.page.clear_reply();
        }
        self.forget_run();
    }

    /// No model answers any more, for this reason.
    pub(crate) fn engine_failed(self, problem: Problem) {
        if self.page.running.get_untracked().is_some() {
            self.page.clear_reply();
        }
        self.forget_run();
        self.page.engine.set(EngineState::Failed(problem));
    }

    /// Takes no more news of the present run.
    fn forget_run(self) {
        self.inner.update_value(|inner| {
            inner.run_turn += 1;
            inner.run_id = None;
        });
        self.page.running.set(None);
    }
}
