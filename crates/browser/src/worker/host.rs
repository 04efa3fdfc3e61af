//! Requests in, events out: one engine, its pictures, one task at a time.

mod bench;
mod look;
mod masks;
mod run;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use futures_util::future::{AbortHandle, AbortRegistration, Abortable};
use paligemma_checkpoint::PackedSource;
use paligemma_engine as engine;
use paligemma_engine::{CancelToken, Engine, MaskFile, Picture};
use wasm_bindgen_futures::spawn_local;
use web_sys::File;
use web_time::Instant;

use self::bench::Measurement;
use self::look::{Looked, Looking};
use self::run::Run;
use super::connect::Connect;
use super::convert;
use super::keeper::{Keeper, recipe_named};
use super::masks as mask_decoder;
use super::throttle::Throttle;
use super::tuned;
use crate::environment;
use crate::http::{Patience, Vigil};
use crate::protocol::{Event, LoadOptions, Problem, ProblemKind, Request, Wanted};

/// Hosts one engine. Loads and runs wait for each other; everything else does not wait.
pub struct Host<C> {
    shared: Rc<Shared<C>>,
}

struct Shared<C> {
    keeper: Keeper<C>,
    post: Box<dyn Fn(Event)>,
    pictures: RefCell<HashMap<u32, Picture>>,
    tasks: RefCell<VecDeque<Task>>,
    working: Cell<bool>,
    /// `None` before a load, after one that failed, and while a task has it.
    engine: RefCell<Option<Engine>>,
    looked: RefCell<Option<Looked>>,
    /// The key of its model, if that is a kept one.
    kept_key: RefCell<Option<String>>,
    /// The mask decoder that the person chose last.
    mask_file: RefCell<Option<MaskFile>>,
    /// The runs and measurements that have not ended, waiting ones included.
    running: RefCell<HashMap<u32, CancelToken>>,
    /// The fetches and loads that have not ended.
    transfers: RefCell<HashMap<u32, Transfer>>,
}

/// A fetch or a load under way.
struct Transfer {
    abort: AbortHandle,
    /// Of a patient one.
    vigil: Option<Rc<Vigil>>,
}

enum Task {
    Load {
        id: u32,
        what: Loadable,
        options: LoadOptions,
        registration: AbortRegistration,
    },
    MaskDecoder {
        id: u32,
        file: MaskFile,
    },
    Run(Run),
    Mask {
        id: u32,
        prompt: String,
        suffix: String,
    },
    Look(Looking),
    Bench(Measurement),
}

enum Loadable {
    /// Straight from where it comes from, with the files that came beside the request.
    Wanted(Wanted, Vec<(String, File)>),
    /// A kept model, by its key.
    Kept(String),
}

impl<C: Connect + 'static> Host<C> {
    /// A host without a model, which keeps models in this site's database. `connect` finds
    /// models; `post` sends to the page.
    pub fn new(connect: C, post: impl Fn(Event) + 'static) -> Self {
        Self::with_database(connect, None, post)
    }

    /// As [`Host::new`], with a database of another name.
    pub fn with_database(
        connect: C,
        database: Option<&'static str>,
        post: impl Fn(Event) + 'static,
    ) -> Self {
        let shared = Shared {
            keeper: Keeper::new(connect, database),
            post: Box::new(post),
            pictures: RefCell::default(),
            tasks: RefCell::default(),
            working: Cell::new(false),
            engine: RefCell::new(None),
            looked: RefCell::new(None),
            kept_key: RefCell::default(),
            mask_file: RefCell::default(),
            running: RefCell::default(),
            transfers: RefCell::default(),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// Takes a request, with the picture's bytes or the files that came beside it. Returns at
    /// once; what takes time goes on by itself and posts events.
    pub fn receive(&self, request: Request, bytes: Option<Vec<u8>>, files: Vec<(String, File)>) {
        let shared = &self.shared;
        match request {
            Request::Load {
                id,
                wanted,
                options,
            } => self.load(id, Loadable::Wanted(wanted, files), options),
            Request::LoadKept { id, key, options } => self.load(id, Loadable::Kept(key), options),
            Request::Examine { id, wanted } => self.answer(id, async move |keeper| {
                let offer = keeper.examine(&wanted, files).await?;
                Ok(Event::Offer { id, offer })
            }),
            Request::Library { id } => self.answer(id, async move |keeper| {
                let library = keeper.library().await?;
                Ok(Event::Library { id, library })
            }),
            Request::Delete { id, key } => self.answer(id, async move |keeper| {
                keeper.delete(&key).await?;
                let library = keeper.library().await?;
                Ok(Event::Library { id, library })
            }),
            Request::Fetch {
                id,
                wanted,
                key,
                patient,
            } => self.fetch(id, wanted, files, key, patient),
            Request::Hurry { id } => {
                if let Some(transfer) = shared.transfers.borrow().get(&id)
                    && let Some(vigil) = &transfer.vigil
                {
                    vigil.hurry();
                }
            }
            Request::Picture { id, picture } => shared.keep_picture(id, picture, bytes),
            Request::MaskDecoder { id, name } => match bytes {
                Some(bytes) => {
                    let file = MaskFile { name, bytes };
                    self.enqueue(Task::MaskDecoder { id, file });
                }
                None => shared.fail(id, without_bytes("A mask decoder")),
            },
            Request::DropPicture { picture } => {
                shared.pictures.borrow_mut().remove(&picture);
            }
            Request::Run {
                id,
                pictures,
                prompt,
                max_new_tokens,
                generation,
            } => match shared.find_pictures(&pictures) {
                Ok(pictures) => {
                    let cancel = CancelToken::default();
                    shared.running.borrow_mut().insert(id, cancel.clone());
                    self.enqueue(Task::Run(Run {
                        id,
                        pictures,
                        prompt,
                        max_new_tokens,
                        generation: convert::generation(&generation),
                        cancel,
                    }));
                }
                Err(problem) => shared.fail(id, problem),
            },
            Request::Mask { id, prompt, suffix } => {
                self.enqueue(Task::Mask { id, prompt, suffix });
            }
            Request::Attention {
                id,
                pictures: names,
                look,
            } => match shared.find_pictures(&names) {
                Ok(pictures) => self.enqueue(Task::Look(Looking {
                    id,
                    names,
                    pictures,
                    look,
                })),
                Err(problem) => shared.fail(id, problem),
            },
            Request::Bench {
                id,
                name,
                shape,
                cache,
            } => {
                let cancel = CancelToken::default();
                shared.running.borrow_mut().insert(id, cancel.clone());
                self.enqueue(Task::Bench(Measurement {
                    id,
                    name,
                    shape,
                    cache,
                    cancel,
                }));
            }
            Request::Cancel { id } => {
                if let Some(cancel) = shared.running.borrow().get(&id) {
                    cancel.cancel();
                }
                if let Some(transfer) = shared.transfers.borrow().get(&id) {
                    transfer.abort.abort();
                }
            }
        }
    }

    fn load(&self, id: u32, what: Loadable, options: LoadOptions) {
        let registration = self.begin(id, None);
        self.enqueue(Task::Load {
            id,
            what,
            options,
            registration,
        });
    }

    /// Posts what becomes of a question to the keeper.
    fn answer(
        &self,
        id: u32,
        ask: impl AsyncFnOnce(&Keeper<C>) -> Result<Event, Problem> + 'static,
    ) {
        let shared = Rc::clone(&self.shared);
        spawn_local(async move {
            match ask(&shared.keeper).await {
                Ok(event) => (shared.post)(event),
                Err(problem) => shared.fail(id, problem),
            }
        });
    }

    /// Takes note of a fetch or a load.
    fn begin(&self, id: u32, vigil: Option<Rc<Vigil>>) -> AbortRegistration {
        let (abort, registration) = AbortHandle::new_pair();
        let transfer = Transfer { abort, vigil };
        self.shared.transfers.borrow_mut().insert(id, transfer);
        registration
    }

    fn fetch(
        &self,
        id: u32,
        wanted: Wanted,
        files: Vec<(String, File)>,
        key: String,
        patient: bool,
    ) {
        let vigil = patient.then(|| {
            let shared = Rc::clone(&self.shared);
            Rc::new(Vigil::new(move |waiting| {
                (shared.post)(Event::Waiting { id, waiting });
            }))
        });
        let registration = self.begin(id, vigil.clone());
        let patience = vigil.map_or_else(Patience::default, Patience::endless);
        let shared = Rc::clone(&self.shared);
        spawn_local(async move {
            let reporter = Rc::clone(&shared);
            let report = Rc::new(move |progress| {
                (reporter.post)(Event::Fetching { id, progress });
            });
            let keeper = &shared.keeper;
            let fetch = keeper.fetch(&wanted, files, patience, &key, report);
            let outcome = Abortable::new(fetch, registration).await;
            shared.transfers.borrow_mut().remove(&id);
            match outcome {
                Ok(Ok(())) => (shared.post)(Event::Kept { id, key }),
                Ok(Err(problem)) => shared.fail(id, problem),
                Err(_) => (shared.post)(Event::Paused { id }),
            }
        });
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
                    Task::Load {
                        id,
                        what,
                        options,
                        registration,
                    } => shared.load(id, what, options, registration).await,
                    Task::MaskDecoder { id, file } => shared.take_mask_decoder(id, file).await,
                    Task::Run(run) => shared.run(run).await,
                    Task::Mask { id, prompt, suffix } => shared.mask(id, &prompt, &suffix),
                    Task::Look(looking) => shared.look(looking).await,
                    Task::Bench(measurement) => shared.bench(measurement).await,
                }
            }
            shared.working.set(false);
        });
    }
}

impl<C: Connect + 'static> Shared<C> {
    fn next_task(&self) -> Option<Task> {
        self.tasks.borrow_mut().pop_front()
    }

    fn fail(&self, id: u32, problem: Problem) {
        (self.post)(Event::Failed { id, problem });
    }

    fn keep_picture(&self, id: u32, name: u32, bytes: Option<Vec<u8>>) {
        let Some(bytes) = bytes else {
            return self.fail(id, without_bytes("A picture"));
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

    async fn load(
        &self,
        id: u32,
        what: Loadable,
        options: LoadOptions,
        registration: AbortRegistration,
    ) {
        // Before anything of the next model is there: two may not fit.
        drop(self.engine.borrow_mut().take());
        self.looked.replace(None);
        let key = match &what {
            Loadable::Kept(key) => Some(key.clone()),
            Loadable::Wanted(..) => None,
        };
        self.kept_key.borrow_mut().clone_from(&key);
        let loading = Abortable::new(self.try_load(id, what, options), registration);
        let loaded = loading.await.unwrap_or_else(|_| {
            Err(Problem {
                kind: ProblemKind::Cancelled,
                message: "Loading was stopped: load a model to go on.".to_owned(),
            })
        });
        self.transfers.borrow_mut().remove(&id);
        match loaded {
            Ok(mut engine) => {
                let chosen = self.mask_file.borrow().clone();
                mask_decoder::complete(&mut engine, &self.keeper, key.as_deref(), chosen).await;
                let ready = Event::Ready {
                    id,
                    model: convert::model(engine.model(), engine.gives_masks()),
                    adapter: convert::adapter(engine.adapter(), &engine.choice()),
                    load_ms: engine.load_ms(),
                    tuned: tuned::to_keep(engine.tuned()),
                };
                *self.engine.borrow_mut() = Some(engine);
                (self.post)(ready);
            }
            Err(problem) => self.fail(id, problem),
        }
    }

    async fn try_load(
        &self,
        id: u32,
        what: Loadable,
        options: LoadOptions,
    ) -> Result<Engine, Problem> {
        environment::check()?;
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
        let mut options = convert::load_options(&options);
        let loaded = match what {
            Loadable::Kept(key) => {
                let kept = self.keeper.kept(&key).await?;
                let loaded = Engine::load_packed(&kept, &options, &mut on_event).await;
                if loaded.is_ok() {
                    self.keeper.touch(&key).await;
                }
                loaded
            }
            Loadable::Wanted(wanted, files) => {
                let (found, adapter) = self
                    .keeper
                    .find(&wanted, files, Patience::default())
                    .await?;
                let packed = PackedSource::is_there(&found.source).await;
                if !packed.map_err(|error| convert::source_problem(&error))? {
                    options.model.recipe = Some(recipe_named(&wanted.recipe)?);
                }
                Engine::load_adapted(found.source, adapter, &options, &mut on_event).await
            }
        };
        if let Some(last) = throttle.finish() {
            (self.post)(last);
        }
        loaded.map_err(|error| convert::problem(&error))
    }
}

fn without_bytes(what: &str) -> Problem {
    Problem {
        kind: ProblemKind::Internal,
        message: format!(
            "{what} arrived without its bytes: choose the file again, and report this if it \
             happens again."
        ),
    }
}

fn no_model() -> Problem {
    Problem {
        kind: ProblemKind::Checkpoint,
        message: "No model is loaded, so nothing can answer the prompt: load a model first."
            .to_owned(),
    }
}
