//! Keeps models: what fetching one would mean, fetching it, what is kept.

mod origin;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use futures_util::future::{self, Either};
use gloo_timers::future::TimeoutFuture;
use paligemma_checkpoint::{
    Config, IngestError, Kept, LoraAdapter, ModelKey, Progress, Recipe, Stage, State, Store,
};
use paligemma_engine::ModelInfo;
use serde::{Deserialize, Serialize};
use web_sys::File;

use self::origin::{Origin, open};
use super::connect::{Connect, Found, title};
use super::{adapter, convert};
use crate::http::Patience;
use crate::protocol::{
    FetchProgress, FetchStage, KeptModel, Library, ModelSource, Offer, Problem, ProblemKind, Room,
    Wanted,
};
use crate::store::{Bus, Estimate, IdbStore, WriteLock, estimate};

/// The name under which a mask decoder is kept that a person gave to a model that came without. It
/// is no part of the model: its plan, and so its key, stay as they are.
const MASK_DECODER: &str = "mask-decoder";

/// The setting under which a model's source is remembered.
const SOURCE: &str = "source";

/// The setting under which that of its adapter is.
const ADAPTER: &str = "adapter";

/// The channel on which a tab that fetches tells the others how far it is.
const CHANNEL: &str = "paligemma-web:fetching";

/// Time between two looks at how much has arrived, in milliseconds.
const TICK_MS: u32 = 250;

/// One database of models, and the ways into it.
pub(super) struct Keeper<C> {
    connect: C,
    database: Option<&'static str>,
    store: OnceCell<IdbStore>,
}

/// A model's bytes, and the adapter that is to be merged into it.
pub(super) type FoundBoth<S> = (Found<S>, Option<LoraAdapter<S>>);

/// What a tab that fetches tells the others.
#[derive(Serialize, Deserialize)]
struct News {
    key: String,
    progress: FetchProgress,
}

impl<C: Connect> Keeper<C> {
    /// A keeper of this site's database, or of another one of this name.
    pub(super) fn new(connect: C, database: Option<&'static str>) -> Self {
        Self {
            connect,
            database,
            store: OnceCell::new(),
        }
    }

    /// Finds a model's bytes, and the adapter that is to be merged into it.
    pub(super) async fn find(
        &self,
        wanted: &Wanted,
        files: Vec<(String, File)>,
        patience: Patience,
    ) -> Result<FoundBoth<C::Source>, Problem> {
        let (files, adapters) = adapter::sorted(files);
        let adapter = adapter::open(&self.connect, wanted, adapters, patience.clone()).await?;
        let mut found = self.connect.connect(wanted, files, patience).await?;
        if let Some(source) = &wanted.adapter {
            found.title = with_adapter(&found.title, source);
        }
        Ok((found, adapter))
    }

    /// The database; what an interrupted visit left behind is swept away when it is first opened.
    pub(super) async fn store(&self) -> Result<&IdbStore, Problem> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let opened = match self.database {
            None => IdbStore::open().await,
            Some(name) => IdbStore::open_named(name).await,
        };
        let store = opened.map_err(|error| convert::store_problem(&error))?;
        // What cannot be swept today is swept another day.
        let _ = store.sweep().await;
        Ok(self.store.get_or_init(|| store))
    }

    /// What fetching a model would mean.
    pub(super) async fn examine(
        &self,
        wanted: &Wanted,
        files: Vec<(String, File)>,
    ) -> Result<Offer, Problem> {
        let (found, adapter) = self.find(wanted, files, Patience::default()).await?;
        let Found {
            source,
            origin,
            title,
            licence,
            gated,
        } = found;
        let commit = origin.commit.clone();
        let origin = open(source, adapter, origin, &wanted.recipe).await?;
        let config = match &origin {
            Origin::Checkpoint(checkpoint, _) => checkpoint.config().clone(),
            Origin::Packed(packed) => {
                let config = Config::of_packed(&**packed).await;
                config.map_err(convert::checkpoint_problem)?
            }
        };
        let plan = origin.plan();
        let model = convert::model(&ModelInfo::of_configuration(&config), false);
        let mut offer = Offer {
            key: plan.key().to_string(),
            title,
            family: model.family,
            parameters: model.parameters,
            image_size: model.image_size,
            commit,
            licence,
            gated,
            recipe: plan.recipe.clone(),
            packed: matches!(origin, Origin::Packed(_)),
            fetch_bytes: origin.fetch_bytes(),
            fetched_bytes: 0,
            store_bytes: plan.total_bytes(),
            complete: false,
            room: None,
            cannot_keep: None,
        };
        let store = match self.store().await {
            Ok(store) => store,
            Err(problem) => {
                offer.cannot_keep = Some(problem.message);
                return Ok(offer);
            }
        };
        let problem = |error| convert::ingest_problem(&error);
        let record = store.model(&plan.key()).await;
        let record = record.map_err(|error| convert::store_problem(&error))?;
        if let Some(record) = record {
            offer.complete = record.state == State::Complete;
            let standing = origin.ingest(store).standing().await.map_err(problem)?;
            offer.fetched_bytes = standing.read_bytes;
            if offer.complete {
                offer.fetched_bytes = offer.fetch_bytes;
            }
        }
        offer.room = room().await;
        Ok(offer)
    }

    /// Fetches a model and keeps it. Dropping the future stops it; what has arrived stays.
    pub(super) async fn fetch(
        &self,
        wanted: &Wanted,
        files: Vec<(String, File)>,
        patience: Patience,
        key: &str,
        report: Rc<dyn Fn(FetchProgress)>,
    ) -> Result<(), Problem> {
        let (found, adapter) = self.find(wanted, files, patience).await?;
        let store = self.store().await?;
        let origin = open(found.source, adapter, found.origin, &wanted.recipe).await?;
        let offered = origin.plan().key();
        if offered.to_string() != key {
            return Err(Problem {
                kind: ProblemKind::Changed,
                message: format!(
                    "{} is not what it was when it was offered, its files have changed: check it \
                     again, then decide anew.",
                    found.title
                ),
            });
        }
        // Of a model that is complete already, damage is looked for.
        let was_complete = is_complete(store, &offered).await?;
        let (_lock, waited) = wait_for_turn(store, key, &report).await;
        // Others may be deleted meanwhile; this one may not.
        let _model = store.hold_model(&offered).await;
        if waited && !was_complete && is_complete(store, &offered).await? {
            // The other tab has fetched and checked it.
            return Ok(());
        }
        let plan = origin.plan();
        let source = remembered(&wanted.source, plan.origin.commit.as_deref());
        let adapter = wanted.adapter.as_ref().map(|adapter| {
            let origin = plan.adapter.as_ref().map(|it| &it.origin);
            remembered(adapter, origin.and_then(|it| it.commit.as_deref()))
        });
        for (setting, source) in [(SOURCE, Some(source)), (ADAPTER, adapter)] {
            if let Some(source) = source
                && let Ok(text) = serde_json::to_string(&source)
            {
                let name = IdbStore::setting_of(&offered, setting);
                let put = store.put_setting(&name, &text).await;
                put.map_err(|error| convert::store_problem(&error))?;
            }
        }
        self.run(origin, store, key, &*report).await
    }

    async fn run(
        &self,
        origin: Origin<C::Source>,
        store: &IdbStore,
        key: &str,
        report: &dyn Fn(FetchProgress),
    ) -> Result<(), Problem> {
        let bus = Bus::open(CHANNEL);
        let tell = |progress: FetchProgress| {
            report(progress);
            bus.post(&News {
                key: key.to_owned(),
                progress,
            });
        };
        let received = || C::received(origin.source());
        let latest: Cell<Option<(Progress, u64)>> = Cell::new(None);
        let mut on_progress = |progress: Progress| {
            latest.set(Some((progress, received())));
            tell(convert::fetch_progress(&progress, 0));
        };
        let ingest = origin.ingest(store).run(&mut on_progress);
        // Between two pieces, what has arrived of the next one.
        let between = async {
            let mut told = received();
            loop {
                TimeoutFuture::new(TICK_MS).await;
                let now = received();
                if let Some((progress, before)) = latest.get()
                    && progress.stage == Stage::Weights
                    && now > before.max(told)
                {
                    told = now;
                    tell(convert::fetch_progress(&progress, now - before));
                }
            }
        };
        let (ingest, between) = (std::pin::pin!(ingest), std::pin::pin!(between));
        let outcome: Result<_, IngestError> = match future::select(ingest, between).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((never, _)) => never,
        };
        outcome.map_err(|error| convert::ingest_problem(&error))?;
        Ok(())
    }

    /// A kept model, ready to be read.
    pub(super) async fn kept(&self, key: &str) -> Result<Kept<'_, IdbStore>, Problem> {
        let store = self.store().await?;
        let missing = || Problem {
            kind: ProblemKind::Storage,
            message: "This model is not kept here in full, or no longer: fetch it again."
                .to_owned(),
        };
        let key = ModelKey(key.parse().map_err(|_| missing())?);
        let kept = Kept::open(store, key).await;
        kept.map_err(|error| convert::problem(&error.into()))?
            .ok_or_else(missing)
    }

    /// The mask decoder that was given to a kept model.
    pub(super) async fn mask_decoder(&self, key: &str) -> Option<Vec<u8>> {
        let key = ModelKey(key.parse().ok()?);
        let store = self.store().await.ok()?;
        store.file(&key, MASK_DECODER).await.ok()?
    }

    /// Keeps a mask decoder with a kept model.
    pub(super) async fn keep_mask_decoder(&self, key: &str, bytes: &[u8]) {
        if let (Ok(store), Ok(digest)) = (self.store().await, key.parse()) {
            // Where it cannot be kept, it is asked for again at the next visit.
            let _ = store.put_file(&ModelKey(digest), MASK_DECODER, bytes).await;
        }
    }

    /// Notes that a model is used.
    pub(super) async fn touch(&self, key: &str) {
        if let (Ok(store), Ok(digest)) = (self.store().await, key.parse()) {
            // The order of a list is all that depends on it.
            let _ = store.touch(&ModelKey(digest)).await;
        }
    }

    /// Removes a model.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Problem> {
        let store = self.store().await?;
        let Ok(digest) = key.parse() else {
            return Ok(());
        };
        let key = ModelKey(digest);
        let mut lock = store.try_model(&key).await;
        if lock.is_none() {
            // A fetch that has just been stopped lets go of it in a moment.
            TimeoutFuture::new(1000).await;
            lock = store.try_model(&key).await;
        }
        let Some(_lock) = lock else {
            return Err(Problem {
                kind: ProblemKind::Storage,
                message: "This model is being fetched, here or in another tab, so it cannot be \
                          deleted now: pause it first."
                    .to_owned(),
            });
        };
        let deleted = store.delete(&key).await;
        deleted.map_err(|error| convert::store_problem(&error))?;
        for setting in [SOURCE, ADAPTER] {
            let name = IdbStore::setting_of(&key, setting);
            let removed = store.remove_setting(&name).await;
            removed.map_err(|error| convert::store_problem(&error))?;
        }
        Ok(())
    }

    /// Everything that is kept.
    pub(super) async fn library(&self) -> Result<Library, Problem> {
        let store = match self.store().await {
            Ok(store) => store,
            Err(problem) => {
                return Ok(Library {
                    cannot_keep: Some(problem.message),
                    ..Library::default()
                });
            }
        };
        let problem = |error| convert::store_problem(&error);
        let mut models = Vec::new();
        for found in store.overview().await.map_err(problem)? {
            let remembered = async |setting| {
                let name = IdbStore::setting_of(&found.key, setting);
                let text = store.setting(&name).await.map_err(problem)?;
                let source = text.and_then(|text| serde_json::from_str(&text).ok());
                Ok::<Option<ModelSource>, Problem>(source)
            };
            let (source, adapter) = (remembered(SOURCE).await?, remembered(ADAPTER).await?);
            // Where one of them was files, they have to be chosen again.
            let were_files = [&source, &adapter].contains(&&Some(ModelSource::Files));
            let summary = found.model.as_ref();
            let repository = summary.and_then(|summary| summary.origin.repository.clone());
            models.push(KeptModel {
                key: found.key.to_string(),
                // What a manifest says of its origin is no more than its word.
                title: {
                    let title = source.as_ref().map(title).or(repository);
                    let title = title.unwrap_or_else(|| "A model".to_owned());
                    match &adapter {
                        Some(adapter) => with_adapter(&title, adapter),
                        None => title,
                    }
                },
                recipe: summary.map_or_else(String::new, |summary| summary.recipe.clone()),
                commit: summary.and_then(|summary| summary.origin.commit.clone()),
                source: source.filter(|_| !were_files),
                adapter,
                complete: summary.is_some_and(|summary| summary.state == State::Complete),
                unreadable: summary.is_none(),
                store_bytes: summary.map_or(0, |summary| summary.total_bytes),
                stored_bytes: found.stored_bytes,
                last_used_ms: summary.map_or(0.0, |summary| summary.last_used_ms),
            });
        }
        models.sort_by(|a, b| b.last_used_ms.total_cmp(&a.last_used_ms));
        Ok(Library {
            models,
            room: room().await,
            cannot_keep: None,
        })
    }
}

/// What a model with an adapter is called.
fn with_adapter(model: &str, adapter: &ModelSource) -> String {
    match adapter {
        ModelSource::Files => format!("{model} + an adapter"),
        other => format!("{model} + {}", title(other)),
    }
}

async fn is_complete(store: &IdbStore, key: &ModelKey) -> Result<bool, Problem> {
    let record = store.model(key).await;
    let record = record.map_err(|error| convert::store_problem(&error))?;
    Ok(record.is_some_and(|record| record.state == State::Complete))
}

pub(super) fn recipe_named(name: &str) -> Result<Recipe, Problem> {
    Recipe::named(name).ok_or_else(|| Problem {
        kind: ProblemKind::Internal,
        message: format!("There is no recipe {name:?}: choose another one."),
    })
}

/// The right to write, and whether another tab had it first; its progress is reported meanwhile.
async fn wait_for_turn(
    store: &IdbStore,
    key: &str,
    report: &Rc<dyn Fn(FetchProgress)>,
) -> (WriteLock, bool) {
    if let Some(lock) = store.try_write().await {
        return (lock, false);
    }
    let bus = Bus::open(CHANNEL);
    let (key, report) = (key.to_owned(), Rc::clone(report));
    bus.on_message(move |text| {
        if let Ok(news) = serde_json::from_str::<News>(&text)
            && news.key == key
        {
            report(FetchProgress {
                stage: FetchStage::Elsewhere,
                ..news.progress
            });
        }
    });
    (store.write().await, true)
}

/// Where to go on. A revision may point elsewhere tomorrow, so its commit stands for it. A URL may
/// carry a secret in its query; the model is found again without it, or not at all.
fn remembered(source: &ModelSource, commit: Option<&str>) -> ModelSource {
    match source {
        ModelSource::Hub {
            base_url,
            repository,
            revision,
        } => ModelSource::Hub {
            base_url: base_url.clone(),
            repository: repository.clone(),
            revision: commit.unwrap_or(revision).to_owned(),
        },
        ModelSource::Url { url } => ModelSource::Url {
            url: url.split(['?', '#']).next().unwrap_or_default().to_owned(),
        },
        other => other.clone(),
    }
}

async fn room() -> Option<Room> {
    let Estimate {
        usage,
        quota,
        persisted,
    } = estimate().await;
    Some(Room {
        used: usage?,
        quota: quota?,
        persisted,
    })
}
