use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use paligemma_engine::{
    Checkpoint, EngineError, Folder, FolderStore, Ingest, IngestError, Origin, PackedSource, Plan,
    Progress, Recipe, Stage, StoreError,
};

use crate::adapter;
use crate::args::ConvertArgs;
use crate::failure::{Failure, print, whole};

/// `paligemma convert`.
pub(crate) async fn convert(args: &ConvertArgs) -> Result<(), Failure> {
    let folder = Folder::new(&args.model);
    let about = |error: EngineError| Failure::about(&args.model, &error);
    if is_same(&args.model, &args.out) {
        return Err(Failure::mendable(format!(
            "{} holds the original: choose another folder for the packed model",
            args.out.display()
        )));
    }
    let packed = PackedSource::is_there(&folder).await;
    if packed.map_err(|error| about(error.into()))? {
        return Err(Failure::mendable(format!(
            "{} is packed already: convert from the original checkpoint",
            args.model.display()
        )));
    }
    whole(&args.model)?;
    if args.out.exists() && !args.out.is_dir() {
        return Err(Failure::mendable(format!(
            "{} is not a folder: choose another place for the packed model",
            args.out.display()
        )));
    }
    let checkpoint = Checkpoint::open(folder).await;
    let mut checkpoint = checkpoint.map_err(|error| about(error.into()))?;
    if let Some(path) = &args.adapter {
        let laid = match adapter::open(Some(path)).await? {
            Some(lora) => checkpoint.with_adapter(lora),
            None => Ok(checkpoint),
        };
        checkpoint = laid.map_err(|error| Failure::about(path, &error.into()))?;
    }
    let origin = Origin {
        repository: args.repository.clone(),
        commit: args.commit.clone(),
    };
    let recipe: &Recipe = &args.recipe;
    let plan = Plan::new(&checkpoint, origin, recipe).await;
    let plan = plan.map_err(|error| about(error.into()))?;

    let bar = ProgressBar::no_length();
    let store = FolderStore::new(&args.out);
    // Held to the end: two conversions into one folder would spoil each other's.
    let lock = store.lock();
    let _lock = lock.map_err(|error| Failure::mendable(error.to_string()))?;
    let ingest = Ingest::quantize(&checkpoint, plan, &store);
    let manifest = ingest.run(&mut |progress| show(&bar, &progress)).await;
    bar.finish_and_clear();
    let manifest = manifest.map_err(|error| match error {
        IngestError::Checkpoint(error) => about(error.into()),
        IngestError::Packed(error) => about(error.into()),
        // It was just written: the store's words are about a model that was fetched.
        IngestError::Store(StoreError::Damaged { what }) => Failure::mendable(format!(
            "{}: {what} does not stay as it was written: check the disk, or choose another folder",
            args.out.display()
        )),
        IngestError::Store(error) => Failure::mendable(format!("{}: {error}", args.out.display())),
        other => Failure::mendable(format!("{}: {other}", args.model.display())),
    })?;
    print(&format!(
        "{}: {} in {} pieces, recipe {}, {} with its side files\n",
        args.out.display(),
        crate::inspect::bytes(manifest.plan.bytes),
        manifest.plan.pieces(),
        manifest.plan.recipe,
        crate::inspect::bytes(manifest.plan.total_bytes()),
    ))
}

/// Whether both are one folder, however they are written.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn show(bar: &ProgressBar, progress: &Progress) {
    let (template, position, length) = match progress.stage {
        Stage::Checking => (
            "checking {wide_bar} {bytes}/{total_bytes} {eta}",
            progress.stored_bytes,
            progress.total_stored_bytes,
        ),
        _ => (
            "packing {wide_bar} {bytes}/{total_bytes} {eta}",
            progress.read_bytes,
            progress.total_read_bytes,
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_length(length);
    bar.set_position(position);
}
