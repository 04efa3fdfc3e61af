use std::path::Path;

use paligemma_engine::{AdapterSummary, Folder, LoraAdapter, Origin};

use crate::failure::Failure;

/// Reads what `--adapter` names.
pub(crate) async fn open(path: Option<&Path>) -> Result<Option<LoraAdapter<Folder>>, Failure> {
    let Some(path) = path else {
        return Ok(None);
    };
    if !path.is_dir() {
        return Err(Failure::mendable(format!(
            "{} is not a folder; give the folder of a LoRA adapter, with its adapter_config.json \
             and adapter_model.safetensors",
            path.display()
        )));
    }
    let adapter = LoraAdapter::open(Folder::new(path), Origin::default()).await;
    adapter
        .map(Some)
        .map_err(|error| Failure::about(path, &error.into()))
}

/// A line for `paligemma inspect`.
pub(crate) fn describe(adapter: &AdapterSummary) -> String {
    let (least, most) = adapter.ranks;
    let rank = if least == most {
        format!("rank {least}")
    } else {
        format!("ranks {least} to {most}")
    };
    let base = adapter.base.as_ref();
    let base = base.map_or_else(String::new, |base| format!(", trained on {base}"));
    format!(
        "lora        fits: {rank} for {} layers, {} weights{base}\n",
        adapter.modules, adapter.parameters
    )
}
