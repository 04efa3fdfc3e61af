//! Which files hold the weights.

use crate::error::{CheckpointError, DOWNLOAD_AGAIN, shown};
use crate::source::check_path;
use serde::Deserialize;
use std::collections::BTreeMap;

/// All weights in one file.
pub(crate) const SINGLE_FILE: &str = "model.safetensors";
/// The list of shards.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// Stored tensor names by file. The index also states a total size, which
/// nothing here relies on.
pub(crate) fn parse_index(bytes: &[u8]) -> Result<BTreeMap<String, Vec<String>>, CheckpointError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let broken = |reason: String| CheckpointError::File {
        file: INDEX_FILE.to_owned(),
        reason,
        next: DOWNLOAD_AGAIN,
    };
    let index: Index = serde_json::from_slice(bytes)
        .map_err(|e| broken(format!("is malformed, {}", shown(&e.to_string()))))?;
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in index.weight_map {
        check_path(&file)?;
        if file.contains('/') || !file.ends_with(".safetensors") {
            return Err(broken(format!(
                "names the file \"{}\" for tensor `{}`, which is no .safetensors file beside it",
                shown(&file),
                shown(&tensor)
            )));
        }
        files.entry(file).or_default().push(tensor);
    }
    if files.is_empty() {
        return Err(broken("lists no tensors".to_owned()));
    }
    Ok(files)
}
