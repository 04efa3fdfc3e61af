//! The conversation with the worker: what the person wants becomes requests, what the worker
//! says becomes state.

mod picture;
mod run;

use std::rc::Rc;

use leptos::prelude::*;
use paligemma_browser::client::{Client, PictureHandle};
use paligemma_browser::protocol::{Event, Problem};
use paligemma_scenes::Truth;
use web_sys::Blob;

use crate::state::{EngineState, Loaded, Page};

/// The worker's script, beside the page.
const WORKER: &str = "worker_loader.js";
/// The checkpoint that the page brings along.
const DEMO_MODEL: &str = "demo/model";

/// A handle on the conversation that is cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    page: Page,
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
            inner: StoredValue::new_local(Inner::default()),
        }
    }

    /// Starts the worker and loads the demo model. Also begins again after a failure: with a new
    /// worker, and with the picture that is on the stage.
    pub(crate) fn connect(self) {
        self.forget_run();
        self.page.engine.set(EngineState::Loading {
            loaded: 0,
            total: 0,
        });
        let client = match Client::start(WORKER) {
            Ok(client) => client,
            Err(problem) => {
                self.inner.update_value(|inner| inner.client = None);
                self.page.engine.set(EngineState::Failed(problem));
                return;
            }
        };
        self.inner
            .update_value(|inner| inner.client = Some(client.clone()));
        client.on_worker_problem(move |problem| self.engine_failed(problem));
        client.load(DEMO_MODEL, move |event| self.on_load_event(event));
        if let Some(current) = self.inner.with_value(|inner| inner.current.clone()) {
            self.show(current.file);
        }
    }

    fn on_load_event(self, event: Event) {
        match event {
            Event::Loading {
                loaded_bytes,
                total_bytes,
                ..
            } => self.page.engine.set(EngineState::Loading {
                loaded: loaded_bytes,
                total: total_bytes,
            }),
            Event::Ready {
                model,
                adapter,
                load_ms,
                ..
            } => {
                self.page.engine.set(EngineState::Ready(Loaded {
                    model,
                    adapter,
                    load_ms,
                }));
            }
            Event::Failed { problem, .. } => self.engine_failed(problem),
            _ => {}
        }
    }

    fn engine_failed(self, problem: Problem) {
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
