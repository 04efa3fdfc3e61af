//! A model's bytes where they come from: a checkpoint that is packed on its way, or a packed model.

use paligemma_checkpoint::{Checkpoint, Ingest, LoraAdapter, PackedSource, Pieces as _, Plan};

use super::recipe_named;
use crate::protocol::Problem;
use crate::store::IdbStore;
use crate::worker::{adapter, convert};

/// A model's bytes, and whether they are packed already.
pub(super) enum Origin<S> {
    Checkpoint(Box<Checkpoint<S>>, Box<Plan>),
    Packed(Box<PackedSource<S>>),
}

impl<S: paligemma_checkpoint::Source> Origin<S> {
    pub(super) fn plan(&self) -> &Plan {
        match self {
            Self::Checkpoint(_, plan) => plan,
            Self::Packed(packed) => &packed.manifest().plan,
        }
    }

    pub(super) fn source(&self) -> &S {
        match self {
            Self::Checkpoint(checkpoint, _) => checkpoint.source(),
            Self::Packed(packed) => packed.source(),
        }
    }

    pub(super) fn fetch_bytes(&self) -> u64 {
        match self {
            Self::Packed(packed) => packed.manifest().plan.total_bytes(),
            Self::Checkpoint(checkpoint, plan) => {
                let files: u64 = plan.files.iter().map(|file| file.bytes).sum();
                checkpoint.total_bytes() + files
            }
        }
    }

    pub(super) fn ingest<'a>(&'a self, store: &'a IdbStore) -> Ingest<'a, S, IdbStore> {
        match self {
            Self::Checkpoint(checkpoint, plan) => {
                Ingest::quantize(checkpoint, Plan::clone(plan), store)
            }
            Self::Packed(packed) => Ingest::copy(packed, store),
        }
    }
}

/// Reads the headers of a checkpoint, or the manifest of a packed model.
pub(super) async fn open<S: paligemma_checkpoint::Source>(
    source: S,
    adapter: Option<LoraAdapter<S>>,
    origin: paligemma_checkpoint::Origin,
    recipe: &str,
) -> Result<Origin<S>, Problem> {
    let packed = PackedSource::is_there(&source).await;
    if packed.map_err(|error| convert::source_problem(&error))? {
        adapter::refuse_packed(adapter.as_ref())?;
        let packed = PackedSource::open(source).await;
        let packed = packed.map_err(|error| convert::problem(&error.into()))?;
        return Ok(Origin::Packed(Box::new(packed)));
    }
    let recipe = recipe_named(recipe)?;
    let checkpoint = Checkpoint::open(source).await;
    let mut checkpoint = checkpoint.map_err(convert::checkpoint_problem)?;
    if let Some(adapter) = adapter {
        let laid = checkpoint.with_adapter(adapter);
        checkpoint = laid.map_err(convert::checkpoint_problem)?;
    }
    let plan = Plan::new(&checkpoint, origin, &recipe).await;
    let plan = plan.map_err(convert::checkpoint_problem)?;
    Ok(Origin::Checkpoint(Box::new(checkpoint), Box::new(plan)))
}
