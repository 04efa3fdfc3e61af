//! Requests in, events out: one engine, its pictures, one task at a time.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use paligemma_checkpoint::{Source, SourceError};
use paligemma_engine as engine;
use paligemma_engine::{CancelToken, Engine, LoadOptions, Picture, Prompt, RunRequest};
use wasm_bindgen_futures::spawn_local;
use web_time::Instant;

use super::convert;
use super::throttle::Throttle;
use crate::environment;
use crate::protocol::{Answer, Event, Problem, ProblemKind, Request, Stopped, Timings};

/// Hosts one engine. Loads and runs wait for each other; pictures and cancellations do not wait.
pub struct Host<S> {
    shared: Rc<Shared<S>>,
}

/// Makes a folder's URL a source.
type Open<S> = Box<dyn Fn(&str) -> Result<S, SourceError>>;

struct Shared<S> {
    open: Open<S>,
    post: Box<dyn Fn(Event)>,
    pictures: RefCell<HashMap<u32, Picture>>,
    tasks: RefCell<VecDeque<Task>>,
    working: Cell<bool>,
    /// `None` before a load, after one that failed, and while a task has it.
    engine: RefCell<Option<Engine>>,
    /// The runs that have not ended, waiting ones included.
    running: RefCell<HashMap<u32, CancelToken>>,
}

enum Task {
    Load { id: u32, folder: String },
    Run(Run),
}

struct Run {
    id: u32,
    /// Held here rather than by name, so that the page may drop a picture once it has asked.
    pictures: Vec<Picture>,
    prompt: String,
    max_new_tokens: usize,
    cancel: CancelToken,
}

impl<S: Source + 'static> Host<S> {
    /// A host without a model. `open` makes a folder's URL a source; `post` sends to the page.
    pub fn new(
        open: impl Fn(&str) -> Result<S, SourceError> + 'static,
        post: impl Fn(Event) + 'static,
    ) -> Self {
        let shared = Shared {
            open: Box::new(open),
            post: Box::new(post),
            pictures: RefCell::default(),
            tasks: RefCell::default(),
            working: Cell::new(false),
            engine: RefCell::new(None),
            running: RefCell::default(),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// Takes a request, with the bytes that came beside it. Returns at once; what takes time goes
    /// on by itself and posts events.
    pub fn receive(&self, request: Request, bytes: Option<Vec<u8>>) {
        let shared = &self.shared;
        match request {
            Request::Load { id, folder } => self.enqueue(Task::Load { id, folder }),
            Request::Picture { id, picture } => shared.keep_picture(id, picture, bytes),
            Request::DropPicture { picture } => {
                shared.pictures.borrow_mut().remove(&picture);
            }
            Request::Run {
                id,
                pictures,
                prompt,
                max_new_tokens,
            } => match shared.find_pictures(&pictures) {
                Ok(pictures) => {
                    let cancel = CancelToken::default();
                    shared.running.borrow_mut().insert(id, cancel.clone());
                    self.enqueue(Task::Run(Run {
                        id,
                        pictures,
                        prompt,
                        max_new_tokens,
                        cancel,
                    }));
                }
                Err(problem) => shared.fail(id, problem),
            },
            Request::Cancel { id } => {
                if let Some(cancel) = shared.running.borrow().get(&id) {
                    cancel.cancel();
                }
            }
        }
    }

    fn enqueue(&self, task: Task) {
        self.shared.tasks.borrow_mut().push_back(task);
        if self.shared.working.replace(true) {
            return;
        }
        let shared = Rc::clone(&self.shared);
        spawn_local(async move {
            while let Some(task) = shared.next_task() {
                match task {
                    Task::Load { id, folder } => shared.load(id, &folder).await,
                    Task::Run(run) => shared.run(run).await,
                }
            }
            shared.working.set(false);
        });
    }
}

impl<S: Source + 'static> Shared<S> {
    fn next_task(&self) -> Option<Task> {
        self.tasks.borrow_mut().pop_front()
    }

    fn fail(&self, id: u32, problem: Problem) {
        (self.post)(Event::Failed { id, problem });
    }

    fn keep_picture(&self, id: u32, name: u32, bytes: Option<Vec<u8>>) {
        let Some(bytes) = bytes else {
            return self.fail(
                id,
                Problem {
                    kind: ProblemKind::Internal,
                    message: "A picture arrived without its bytes: choose the file again, and \
                              report this if it happens again."
                        .to_owned(),
                },
            );
        };
        match Picture::decode(&bytes) {
            Ok(picture) => {
                let (width, height) = (picture.width(), picture.height());
                self.pictures.borrow_mut().insert(name, picture);
                (self.post)(Event::Picture { id, width, height });
            }
            Err(error) => self.fail(id, convert::problem(&error)),
        }
    }

    fn find_pictures(&self, names: &[u32]) -> Result<Vec<Picture>, Problem> {
        let pictures = self.pictures.borrow();
        names
            .iter()
            .map(|name| pictures.get(name).cloned())
            .collect::<Option<_>>()
            .ok_or_else(|| Problem {
                kind: ProblemKind::Picture,
                message: "The picture of this request could not be decoded or is no longer kept: \
                          choose it again."
                    .to_owned(),
            })
    }

    async fn load(&self, id: u32, folder: &str) {
        // Before anything of the next model is there: two may not fit.
        drop(self.engine.borrow_mut().take());
        let loaded = self.try_load(id, folder).await;
        match loaded {
            Ok(engine) => {
                let ready = Event::Ready {
                    id,
                    model: convert::model(engine.model()),
                    adapter: convert::adapter(engine.adapter()),
                    load_ms: engine.load_ms(),
                };
                *self.engine.borrow_mut() = Some(engine);
                (self.post)(ready);
            }
            Err(problem) => self.fail(id, problem),
        }
    }

    async fn try_load(&self, id: u32, folder: &str) -> Result<Engine, Problem> {
        environment::check()?;
        let source = (self.open)(folder).map_err(|error| Problem {
            kind: ProblemKind::Network,
            message: error.to_string(),
        })?;
        let start = Instant::now();
        let mut throttle = Throttle::new();
        let mut on_event = |event| {
            if let engine::Event::Loading {
                loaded_bytes,
                total_bytes,
            } = event
            {
                let loading = Event::Loading {
                    id,
                    loaded_bytes,
                    total_bytes,
                };
                if let Some(due) = throttle.offer(start.elapsed(), loading) {
                    (self.post)(due);
                }
            }
        };
        let loaded = Engine::load(source, &LoadOptions::default(), &mut on_event).await;
        if let Some(last) = throttle.finish() {
            (self.post)(last);
        }
        loaded.map_err(|error| convert::problem(&error))
    }

    async fn run(&self, run: Run) {
        let ended = self.try_run(&run).await;
        self.running.borrow_mut().remove(&run.id);
        match ended {
            Ok(answer) => (self.post)(Event::Done { id: run.id, answer }),
            Err(problem) => self.fail(run.id, problem),
        }
    }

    async fn try_run(&self, run: &Run) -> Result<Answer, Problem> {
        if run.cancel.is_cancelled() {
            return Ok(nothing());
        }
        let taken = self.engine.borrow_mut().take();
        let Some(mut engine) = taken else {
            return Err(Problem {
                kind: ProblemKind::Checkpoint,
                message:
                    "No model is loaded, so nothing can answer the prompt: load a model first."
                        .to_owned(),
            });
        };
        let request = RunRequest {
            pictures: &run.pictures,
            prompt: Prompt::Text(&run.prompt),
            max_new_tokens: run.max_new_tokens,
        };
        let mut on_event = |event| {
            if let Some(event) = progress(run.id, event) {
                (self.post)(event);
            }
        };
        let ended = engine.run(&request, &run.cancel, &mut on_event).await;
        // A GPU that failed does not come back to this engine: the next load makes a new one.
        let broken = engine.is_broken();
        if !broken {
            *self.engine.borrow_mut() = Some(engine);
        }
        ended.map(convert::answer).map_err(|error| {
            let mut problem = convert::problem(&error);
            if broken && problem.kind != ProblemKind::OutOfMemory {
                problem.kind = ProblemKind::DeviceLost;
            }
            problem
        })
    }
}

/// What the page hears of a run before it has ended.
fn progress(id: u32, event: engine::Event) -> Option<Event> {
    match event {
        engine::Event::EncodingImage { .. } => Some(Event::EncodingImage { id }),
        engine::Event::Prefill { tokens } => Some(Event::Prefill { id, tokens }),
        engine::Event::Token {
            text,
            detections,
            count,
            ..
        } => {
            let detections = convert::detections(&detections);
            Some(Event::Token {
                id,
                text,
                detections,
                count,
            })
        }
        engine::Event::Loading { .. } | engine::Event::Done { .. } => None,
    }
}

/// The answer of a run that was cancelled before its turn.
fn nothing() -> Answer {
    Answer {
        text: String::new(),
        token_ids: Vec::new(),
        stopped: Stopped::Cancelled,
        detections: Vec::new(),
        timings: Timings::default(),
    }
}
