//! A checkpoint whose configuration, headers and files agree with each other.

use crate::config::{CONFIG_FILE, Config, GENERATION_CONFIG_FILE};
use crate::digest::Digest;
use crate::error::{CheckpointError, DOWNLOAD_AGAIN, OTHER_CHECKPOINT, shown};
use crate::header::{Entry, read_header};
use crate::index::{INDEX_FILE, SINGLE_FILE, parse_index};
use crate::lora::{LoraAdapter, Overlay};
use crate::names::{canonical_name, expected_tensors};
use crate::slices::Slices;
use crate::source::{Source, check_path, read_exact};
use crate::tensor::{Dtype, TensorInfo};
use std::collections::{BTreeMap, HashMap, HashSet};

const MIB: u64 = 1 << 20;
/// The largest side file: a tokenizer of 257,152 entries takes about 17 MiB.
const LARGEST_FILE: u64 = 64 * MIB;
/// The largest configuration; released ones have about two thousand bytes.
const LARGEST_CONFIG: u64 = MIB;
/// The largest index; that of the 28B model has about 100,000 bytes.
const LARGEST_INDEX: u64 = 16 * MIB;

/// A file of weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightFile {
    /// Relative to the checkpoint folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its safetensors header, the eight bytes of its length included.
    pub header: Digest,
}

/// A PaliGemma checkpoint: its configuration, and where each weight lies.
#[derive(Debug)]
pub struct Checkpoint<S> {
    source: S,
    config: Config,
    files: Vec<WeightFile>,
    tensors: Vec<TensorInfo>,
    ignored: Vec<String>,
    adapter: Option<Overlay<S>>,
}

impl<S: Source> Checkpoint<S> {
    /// Reads only the configuration: `config.json`, and `generation_config.json`
    /// if there is one.
    ///
    /// # Errors
    /// If it is missing or malformed, or if the model is not a PaliGemma.
    pub async fn configuration(source: &S) -> Result<Config, CheckpointError> {
        let config = small_file(source, CONFIG_FILE, LARGEST_CONFIG).await?;
        let config = config.ok_or_else(|| CheckpointError::Missing {
            file: CONFIG_FILE.to_owned(),
            next: "choose the folder that holds config.json and model.safetensors",
        })?;
        let generation = small_file(source, GENERATION_CONFIG_FILE, LARGEST_CONFIG).await?;
        Config::from_json(&config, generation.as_deref())
    }

    /// Reads the configuration and the headers of all weight files, and checks
    /// that every tensor the model needs is there, once, with the shape the
    /// configuration asks for. No weight is read.
    ///
    /// # Errors
    /// If a file is missing, malformed or contradicts another, or if the model
    /// is not a PaliGemma in a supported precision.
    pub async fn open(source: S) -> Result<Self, CheckpointError> {
        let config = Self::configuration(&source).await?;
        let mut wanted: HashMap<_, _> = expected_tensors(&config).into_iter().collect();
        let mut found = HashMap::new();
        let mut ignored = Vec::new();
        let mut tensors = Vec::new();
        let files = weight_files(&source).await?;
        let mut read = Vec::with_capacity(files.len());
        for (file, promised) in &files {
            let (entries, weight_file) = weight_header(&source, file).await?;
            read.push(weight_file);
            check_promises(file, promised, &entries)?;
            for entry in entries {
                let name = canonical_name(&entry.name).unwrap_or_default();
                if let Some(other) = found.get(&name) {
                    return Err(CheckpointError::Tensor {
                        file: file.clone(),
                        tensor: shown(&entry.name),
                        reason: format!(
                            "is the same weight as one in {other}, and only one can be right"
                        ),
                        next: DOWNLOAD_AGAIN,
                    });
                }
                match wanted.remove(&name) {
                    Some(shape) => {
                        found.insert(name.clone(), file.clone());
                        tensors.push(checked(file, name, shape, entry)?);
                    }
                    None => ignored.push(entry.name),
                }
            }
        }
        check_complete(&files, &wanted)?;
        Ok(Self {
            source,
            config,
            files: read,
            tensors,
            ignored,
            adapter: None,
        })
    }

    /// The same checkpoint with an adapter, which is merged into the weights as they are read.
    ///
    /// # Errors
    /// If the adapter is for another model: it names a layer that is not there, or one of another
    /// size. No weight is read.
    pub fn with_adapter(self, adapter: LoraAdapter<S>) -> Result<Self, CheckpointError> {
        let adapter = Overlay::new(adapter, &self.tensors)?;
        Ok(Self {
            adapter: Some(adapter),
            ..self
        })
    }

    /// The adapter, if there is one.
    pub fn adapter(&self) -> Option<&LoraAdapter<S>> {
        self.adapter.as_ref().map(Overlay::adapter)
    }

    pub(crate) fn overlay(&self) -> Option<&Overlay<S>> {
        self.adapter.as_ref()
    }

    /// The model's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The files of weights, by name.
    pub fn files(&self) -> &[WeightFile] {
        &self.files
    }

    /// The tensors the model needs, by file and, within a file, by position.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Stored names of the tensors that are there and that the model does not
    /// need, such as an output head that is tied to the embedding.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Bytes of all tensors the model needs.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.iter().map(TensorInfo::byte_len).sum()
    }

    /// A side file of at most 64 MiB, such as `tokenizer.json`, or `None` if it
    /// is not there.
    ///
    /// # Errors
    /// If the file is larger or cannot be read.
    pub async fn file(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        small_file(&self.source, name, LARGEST_FILE).await
    }

    /// The weights, in the order of [`tensors`](Self::tensors), in slices of
    /// whole rows, merged with the adapter if there is one. The source is read about `max_bytes`
    /// at a time.
    pub fn slices(&self, max_bytes: usize) -> Slices<'_, S> {
        Slices::new(
            &self.source,
            &self.tensors,
            self.adapter.as_ref(),
            max_bytes,
        )
    }

    /// As [`Checkpoint::file`], of a folder that may have no weights.
    ///
    /// # Errors
    /// If the file is larger or cannot be read.
    pub async fn side_file(source: &S, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        small_file(source, name, LARGEST_FILE).await
    }

    /// Where the files come from.
    pub fn source(&self) -> &S {
        &self.source
    }
}

async fn small_file<S: Source>(
    source: &S,
    file: &str,
    largest: u64,
) -> Result<Option<Vec<u8>>, CheckpointError> {
    check_path(file)?;
    match source.size(file).await? {
        None => Ok(None),
        Some(size) if size > largest => Err(CheckpointError::File {
            file: file.to_owned(),
            reason: format!("has {size} bytes, above the limit of {largest}"),
            next: "take the file from the model's own repository",
        }),
        Some(size) => Ok(Some(read_exact(source, file, 0..size).await?)),
    }
}

/// The files that hold the weights, with the tensors the index promises in
/// each. As in transformers, a single file is preferred to an index.
async fn weight_files<S: Source>(
    source: &S,
) -> Result<BTreeMap<String, Vec<String>>, CheckpointError> {
    if source.size(SINGLE_FILE).await?.is_some() {
        return Ok(BTreeMap::from([(SINGLE_FILE.to_owned(), Vec::new())]));
    }
    match small_file(source, INDEX_FILE, LARGEST_INDEX).await? {
        Some(index) => parse_index(&index),
        None => Err(CheckpointError::Missing {
            file: SINGLE_FILE.to_owned(),
            next: "choose a folder with model.safetensors, or with model.safetensors.index.json \
                   and the files it lists; weights in other formats cannot be read",
        }),
    }
}

async fn weight_header<S: Source>(
    source: &S,
    file: &str,
) -> Result<(Vec<Entry>, WeightFile), CheckpointError> {
    let Some(size) = source.size(file).await? else {
        return Err(CheckpointError::Missing {
            file: file.to_owned(),
            next: "download it too, model.safetensors.index.json lists it",
        });
    };
    let (entries, header) = read_header(source, file, size).await?;
    let file = WeightFile {
        path: file.to_owned(),
        bytes: size,
        header,
    };
    Ok((entries, file))
}

fn check_promises(
    file: &str,
    promised: &[String],
    entries: &[Entry],
) -> Result<(), CheckpointError> {
    let there: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    match promised.iter().find(|name| !there.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(CheckpointError::Tensor {
            file: file.to_owned(),
            tensor: shown(name),
            reason: format!("is not there, although {INDEX_FILE} says so"),
            next: "download the weights and their index again, from one revision",
        }),
    }
}

fn check_complete(
    files: &BTreeMap<String, Vec<String>>,
    missing: &HashMap<String, Vec<usize>>,
) -> Result<(), CheckpointError> {
    let Some(first) = missing.keys().min() else {
        return Ok(());
    };
    let others = match missing.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} others are missing"),
    };
    Err(CheckpointError::Tensor {
        file: match files.contains_key(SINGLE_FILE) {
            true => SINGLE_FILE.to_owned(),
            false => INDEX_FILE.to_owned(),
        },
        tensor: first.clone(),
        reason: format!("is missing{others}"),
        next: "use weights and config.json of one complete PaliGemma checkpoint",
    })
}

/// A stored tensor as one the model needs, if its format and shape are right.
fn checked(
    file: &str,
    name: String,
    shape: Vec<usize>,
    entry: Entry,
) -> Result<TensorInfo, CheckpointError> {
    let wrong = |reason: String, next| CheckpointError::Tensor {
        file: file.to_owned(),
        tensor: shown(&entry.name),
        reason,
        next,
    };
    let dtype = match entry.dtype {
        safetensors::Dtype::F32 => Dtype::F32,
        safetensors::Dtype::F16 => Dtype::F16,
        safetensors::Dtype::BF16 => Dtype::BF16,
        other => {
            let reason = format!("is stored as {other}, which is not supported");
            return Err(wrong(reason, OTHER_CHECKPOINT));
        }
    };
    if !entry
        .shape
        .iter()
        .copied()
        .eq(shape.iter().map(|&n| n as u64))
    {
        let reason = format!(
            "has the shape {:?} where {CONFIG_FILE} asks for {shape:?}",
            entry.shape
        );
        return Err(wrong(
            reason,
            "use weights and config.json of one checkpoint",
        ));
    }
    Ok(TensorInfo {
        name,
        stored_name: entry.name,
        file: file.to_owned(),
        dtype,
        shape,
        range: entry.range,
    })
}
