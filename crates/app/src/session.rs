//! The conversation with the worker: what the person wants becomes requests, what the worker
//! says becomes state.

use std::rc::Rc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use paligemma_browser::client::{Client, PictureHandle};
use paligemma_browser::protocol::{Event, Problem, ProblemKind};
use web_sys::Blob;

use crate::platform::{file, page as address};
use crate::prompt::preset::{self, Task};
use crate::state::{EngineState, Loaded, Page, Reply, Shown, Stage};
use crate::truth::Truth;

/// The worker's script, beside the page.
const WORKER: &str = "worker_loader.js";
/// The checkpoint that the page brings along.
const DEMO_MODEL: &str = "demo/model";
/// Enough for four masks; an answer that is longer is not one.
const MAX_NEW_TOKENS: usize = 256;

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

    /// Puts a file on the stage, if it is a picture. The browser shows it as soon as it can; the
    /// worker's word is what counts.
    pub(crate) fn show(self, file: PictureFile) {
        self.page.picture_problem.set(None);
        let turn = self.inner.try_update_value(|inner| {
            inner.picture_turn += 1;
            inner.picture_turn
        });
        let Some(turn) = turn else { return };
        spawn_local(async move {
            let (bytes, Some(url)) = (
                file::bytes(&file.blob).await,
                file::ObjectUrl::new(&file.blob),
            ) else {
                return;
            };
            let Ok(bytes) = bytes else {
                return self.refuse(turn, unreadable(&file.name));
            };
            if !self.is_latest(turn) {
                return;
            }
            let url = std::sync::Arc::new(url);
            let shown = {
                let (url, name, truth) = (url.clone(), file.name.clone(), file.truth.clone());
                move |width, height| Shown {
                    turn,
                    url: url.clone(),
                    name: name.clone(),
                    width,
                    height,
                    truth: truth.clone(),
                }
            };
            let client = self.inner.with_value(|inner| inner.client.clone());
            let has_worker = client.is_some();
            let name = file.name.clone();
            self.inner.update_value(|inner| {
                inner.offered = Some(Offered {
                    turn,
                    file,
                    handle: None,
                });
            });
            if let Some(client) = client {
                let shown = shown.clone();
                let handle = client.picture(bytes, move |event| match event {
                    Event::Picture { width, height, .. } => self.accept(shown(width, height)),
                    // What ails the worker as a whole is told elsewhere.
                    Event::Failed { problem, .. } if problem.kind == ProblemKind::Picture => {
                        self.refuse(turn, problem);
                    }
                    _ => {}
                });
                self.inner
                    .update_value(|inner| inner.attach(turn, Rc::new(handle)));
            }
            match file::image(url.as_str()).await {
                Ok(image) => self.accept(shown(image.natural_width(), image.natural_height())),
                Err(_) if !has_worker => self.refuse(turn, not_a_picture(&name)),
                Err(_) => {}
            }
        });
    }

    /// Says why something that was offered never became a file.
    pub(crate) fn refuse_offer(self, problem: Problem) {
        self.page.picture_problem.set(Some(problem));
    }

    fn is_latest(self, turn: u32) -> bool {
        self.inner.with_value(|inner| inner.picture_turn == turn)
    }

    fn accept(self, shown: Shown) {
        if !self.is_latest(shown.turn) {
            return;
        }
        let fresh = self.inner.try_update_value(|inner| {
            let offered = inner.offered.take_if(|offered| offered.turn == shown.turn);
            offered
                .map(|offered| inner.current = Some(offered))
                .is_some()
        });
        if fresh == Some(true) {
            self.stop();
            self.forget_run();
            self.page.clear_reply();
            let truth = shown.truth.as_ref();
            address::set_seed_in_address(truth.and_then(|truth| truth.seed));
            if let Some(truth) = truth.filter(|_| !self.page.prompt_typed.get_untracked()) {
                let task = preset::read(&self.page.prompt.get_untracked())
                    .map_or(Task::Detect, |(task, _)| task);
                self.page.suggest(task.compose(&truth.labels()));
            }
        }
        // Both the browser and the worker call; a picture that was refused stays away.
        let wanted = self
            .inner
            .with_value(|inner| inner.current.as_ref().map(|it| it.turn))
            == Some(shown.turn);
        if wanted {
            self.page.picture.set(Some(shown));
        }
    }

    fn refuse(self, turn: u32, problem: Problem) {
        if !self.is_latest(turn) {
            return;
        }
        self.inner.update_value(|inner| {
            inner.offered = None;
            if inner
                .current
                .as_ref()
                .is_some_and(|current| current.turn == turn)
            {
                inner.current = None;
            }
        });
        if self
            .page
            .picture
            .with_untracked(|it| it.as_ref().is_some_and(|it| it.turn == turn))
        {
            self.page.picture.set(None);
            self.page.clear_reply();
        }
        self.page.picture_problem.set(Some(problem));
    }

    /// Asks the prompt about the picture.
    pub(crate) fn run(self) {
        if !untrack(move || self.page.can_run()) {
            return;
        }
        let prompt = self.page.prompt.get_untracked().trim().to_owned();
        let (client, handle) = self.inner.with_value(|inner| {
            let handle = inner
                .current
                .as_ref()
                .and_then(|current| current.handle.clone());
            (inner.client.clone(), handle)
        });
        let (Some(client), Some(handle)) = (client, handle) else {
            return;
        };
        self.page.clear_reply();
        self.page.reply.set(Some(Reply::to(prompt.clone())));
        self.page.running.set(Some(Stage::Asked));
        let turn = self.inner.try_update_value(|inner| {
            inner.run_turn += 1;
            inner.run_turn
        });
        let on_event = move |event| {
            if self.inner.with_value(|inner| Some(inner.run_turn) == turn) {
                self.on_run_event(event);
            }
        };
        let id = client.run(&[&handle], &prompt, MAX_NEW_TOKENS, on_event);
        self.inner.update_value(|inner| inner.run_id = Some(id));
    }

    fn on_run_event(self, event: Event) {
        let stage = |stage| {
            // Once it is to stop, only its end is news.
            if self.page.running.get_untracked() != Some(Stage::Stopping) {
                self.page.running.set(Some(stage));
            }
        };
        match event {
            Event::EncodingImage { .. } => stage(Stage::Encoding),
            Event::Prefill { tokens, .. } => stage(Stage::Prefill(tokens)),
            Event::Token {
                text,
                detections,
                count,
                ..
            } => {
                stage(Stage::Writing(count));
                self.update_reply(|reply| (reply.text, reply.detections) = (text, detections));
            }
            Event::Done { answer, .. } => {
                self.page.running.set(None);
                self.update_reply(|reply| {
                    reply.text.clone_from(&answer.text);
                    reply.detections.clone_from(&answer.detections);
                    reply.answer = Some(answer);
                });
            }
            Event::Failed { problem, .. } => self.run_failed(problem),
            _ => {}
        }
    }

    fn run_failed(self, problem: Problem) {
        match problem.kind {
            ProblemKind::Picture => {
                self.page.running.set(None);
                self.page.clear_reply();
                self.page.picture_problem.set(Some(problem));
            }
            ProblemKind::Prompt | ProblemKind::Internal => {
                self.page.running.set(None);
                self.update_reply(|reply| reply.problem = Some(problem));
            }
            // Everything else keeps the engine from answering the next prompt, too.
            _ => self.engine_failed(problem),
        }
    }

    fn update_reply(self, change: impl FnOnce(&mut Reply)) {
        self.page.reply.update(|reply| {
            if let Some(reply) = reply {
                change(reply);
            }
        });
    }

    /// Stops the run at its next token; what is there stays.
    pub(crate) fn stop(self) {
        let (client, id) = self
            .inner
            .with_value(|inner| (inner.client.clone(), inner.run_id));
        if let (Some(client), Some(id), Some(_)) = (client, id, self.page.running.get_untracked()) {
            self.page.running.set(Some(Stage::Stopping));
            client.cancel(id);
        }
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

impl Inner {
    /// The worker's handle reaches the picture, which by now may be on the stage already.
    fn attach(&mut self, turn: u32, handle: Rc<PictureHandle>) {
        let pictures = [self.offered.as_mut(), self.current.as_mut()];
        if let Some(picture) = pictures
            .into_iter()
            .flatten()
            .find(|picture| picture.turn == turn)
        {
            picture.handle = Some(handle);
        }
    }
}

fn unreadable(name: &str) -> Problem {
    Problem {
        kind: ProblemKind::Picture,
        message: format!(
            "{name} could not be read: it may have been moved or changed since it was chosen. \
             Choose it again."
        ),
    }
}

fn not_a_picture(name: &str) -> Problem {
    Problem {
        kind: ProblemKind::Picture,
        message: format!(
            "{name} is not a picture that this browser can show: choose a PNG, JPEG, WebP, GIF or \
             BMP file."
        ),
    }
}
