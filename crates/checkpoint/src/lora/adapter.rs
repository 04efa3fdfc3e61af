//! An adapter: opened and checked by itself, laid over a checkpoint, read module by module.

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::config::{CONFIG_FILE, LoraConfig};
use super::merge::Pair;
use super::names::{Name, Side};
use super::{MERGE_FIRST, OTHER_BASE};
use crate::digest::Digest;
use crate::error::{CheckpointError, DOWNLOAD_AGAIN, shown};
use crate::header::{Entry, read_header};
use crate::packed::Origin;
use crate::quantize::widen;
use crate::source::{Source, read_exact};
use crate::tensor::{Dtype, TensorInfo};

/// Holds the matrices.
const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// What older versions of PEFT wrote.
const PICKLED_FILE: &str = "adapter_model.bin";

/// The largest configuration; one with a pattern for every module has some ten thousand bytes.
const LARGEST_CONFIG: u64 = 1 << 20;

/// Bytes of A and B of one module in f32, which are in memory together: a rank of 384 in the
/// widest layer of the 28B model.
const LARGEST_PAIR: u64 = 64 << 20;

/// Bytes read at a time to compute a digest.
const PORTION: u64 = 1 << 20;

/// Which adapter was merged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdapterOrigin {
    /// Whose it is.
    #[serde(flatten)]
    pub origin: Origin,
    /// SHA-256 of the SHA-256 of its configuration and that of its weights, 64 bytes.
    pub sha256: Digest,
}

/// What an adapter is, for people to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterSummary {
    /// The checkpoint it was trained on, as its author calls it.
    pub base: Option<String>,
    /// How many layers it changes.
    pub modules: usize,
    /// The least and the greatest rank.
    pub ranks: (usize, usize),
    /// Numbers in its matrices.
    pub parameters: u64,
}

/// A LoRA adapter of which configuration and header were read and agree.
#[derive(Debug)]
pub struct LoraAdapter<S> {
    source: S,
    origin: AdapterOrigin,
    base: Option<String>,
    /// By the canonical name of the weight that they change.
    modules: BTreeMap<String, Module>,
}

#[derive(Debug)]
struct Module {
    a: Matrix,
    b: Matrix,
    rank: usize,
    scale: f32,
}

/// Where a matrix lies.
#[derive(Clone, Debug)]
struct Matrix {
    stored_name: String,
    dtype: Dtype,
    rows: u64,
    columns: u64,
    range: Range<u64>,
}

impl<S: Source> LoraAdapter<S> {
    /// Reads `adapter_config.json` and the header of `adapter_model.safetensors`; the rest of the
    /// latter only where its publisher does not state its SHA-256.
    ///
    /// # Errors
    /// If a file is missing or malformed, if the files contradict each other, or if the adapter is
    /// of a kind that cannot be merged here.
    pub async fn open(source: S, origin: Origin) -> Result<Self, CheckpointError> {
        let config = read_config(&source).await?;
        let config_sha256 = Digest::of(&config);
        let config = LoraConfig::from_json(&config)?;
        let size = source.size(WEIGHTS_FILE).await?;
        let Some(size) = size else {
            let pickled = source.size(PICKLED_FILE).await?.is_some();
            return Err(CheckpointError::Missing {
                file: WEIGHTS_FILE.to_owned(),
                next: if pickled {
                    "save the adapter again with a current PEFT; adapter_model.bin could run code \
                     and is not read"
                } else {
                    "choose the folder that holds it and adapter_config.json"
                },
            });
        };
        let (entries, _) = read_header(&source, WEIGHTS_FILE, size).await?;
        let modules = modules(entries, &config)?;
        let weights_sha256 = match source.digest(WEIGHTS_FILE) {
            Some(stated) => stated,
            None => digest_of(&source, WEIGHTS_FILE, size).await?,
        };
        let both = [config_sha256.0, weights_sha256.0].concat();
        Ok(Self {
            source,
            origin: AdapterOrigin {
                origin,
                sha256: Digest::of(&both),
            },
            base: config.base,
            modules,
        })
    }

    /// Which one it is.
    pub fn origin(&self) -> &AdapterOrigin {
        &self.origin
    }

    /// What it is.
    pub fn summary(&self) -> AdapterSummary {
        let ranks = || self.modules.values().map(|module| module.rank);
        let matrices = self
            .modules
            .values()
            .flat_map(|module| [&module.a, &module.b]);
        AdapterSummary {
            base: self.base.clone(),
            modules: self.modules.len(),
            ranks: (
                ranks().min().unwrap_or_default(),
                ranks().max().unwrap_or_default(),
            ),
            parameters: matrices.map(|matrix| matrix.rows * matrix.columns).sum(),
        }
    }

    fn wrong(&self, matrix: &Matrix, reason: String) -> CheckpointError {
        CheckpointError::Tensor {
            file: WEIGHTS_FILE.to_owned(),
            tensor: shown(&matrix.stored_name),
            reason: match &self.base {
                Some(base) => format!("{reason} (the adapter was trained on {base})"),
                None => reason,
            },
            next: OTHER_BASE,
        }
    }

    /// Checks that each module is a linear layer of the checkpoint, of the right size. The place
    /// of each in `tensors`.
    fn places(&self, tensors: &[TensorInfo]) -> Result<HashMap<usize, String>, CheckpointError> {
        let by_name: HashMap<&str, usize> = tensors
            .iter()
            .enumerate()
            .map(|(index, tensor)| (tensor.name.as_str(), index))
            .collect();
        let mut places = HashMap::new();
        for (weight, module) in &self.modules {
            let Some(&index) = by_name.get(weight.as_str()) else {
                let reason = match weight.as_str() {
                    "language_model.lm_head.weight" => {
                        "adapts the output head, which in this checkpoint is the embedding itself"
                    }
                    _ => "is for a module that the checkpoint does not have",
                };
                return Err(self.wrong(&module.a, reason.to_owned()));
            };
            let tensor = &tensors[index];
            let [outputs, inputs] = *tensor.shape.as_slice() else {
                let reason = "is for a module that is no linear layer".to_owned();
                return Err(self.wrong(&module.a, reason));
            };
            if weight.contains("embed") {
                let reason = "is for an embedding, which is no linear layer".to_owned();
                return Err(self.wrong(&module.a, reason));
            }
            for (matrix, has, wanted, what) in [
                (&module.a, module.a.columns, inputs, "inputs"),
                (&module.b, module.b.rows, outputs, "outputs"),
            ] {
                if has != wanted as u64 {
                    let reason = format!(
                        "is for a layer of {has} {what}, and that of the checkpoint has {wanted}"
                    );
                    return Err(self.wrong(matrix, reason));
                }
            }
            places.insert(index, weight.clone());
        }
        Ok(places)
    }

    /// The matrices of a module, read and widened.
    async fn pair(&self, weight: &str) -> Result<Option<Pair>, CheckpointError> {
        let Some(module) = self.modules.get(weight) else {
            return Ok(None);
        };
        let (a, b) = (&module.a, &module.b);
        // Usually they are neighbours: one request instead of two.
        let (a, b) = if a.range.end == b.range.start {
            let both = read_exact(&self.source, WEIGHTS_FILE, a.range.start..b.range.end).await?;
            let middle = (a.range.end - a.range.start) as usize;
            let (first, second) = both.split_at_checked(middle).unwrap_or_default();
            (a.widened(first), b.widened(second))
        } else {
            let first = read_exact(&self.source, WEIGHTS_FILE, a.range.clone()).await?;
            let second = read_exact(&self.source, WEIGHTS_FILE, b.range.clone()).await?;
            (a.widened(&first), b.widened(&second))
        };
        Ok(Some(Pair {
            a,
            b,
            rank: module.rank,
            scale: module.scale,
        }))
    }
}

impl Matrix {
    fn widened(&self, bytes: &[u8]) -> Vec<f32> {
        let mut numbers = vec![0.0; bytes.len() / self.dtype.size()];
        widen(self.dtype, bytes, &mut numbers);
        numbers
    }
}

async fn read_config<S: Source>(source: &S) -> Result<Vec<u8>, CheckpointError> {
    match source.size(CONFIG_FILE).await? {
        None => Err(CheckpointError::Missing {
            file: CONFIG_FILE.to_owned(),
            next: "choose the folder that holds it and adapter_model.safetensors",
        }),
        Some(size) if size > LARGEST_CONFIG => Err(CheckpointError::File {
            file: CONFIG_FILE.to_owned(),
            reason: format!("has {size} bytes, above the limit of {LARGEST_CONFIG}"),
            next: "take the file from the adapter's own repository",
        }),
        Some(size) => Ok(read_exact(source, CONFIG_FILE, 0..size).await?),
    }
}

async fn digest_of<S: Source>(
    source: &S,
    path: &str,
    size: u64,
) -> Result<Digest, CheckpointError> {
    let mut hasher = sha2::Sha256::new();
    let mut start = 0;
    while start < size {
        let end = size.min(start + PORTION);
        hasher.update(read_exact(source, path, start..end).await?);
        start = end;
    }
    Ok(Digest(hasher.finalize().into()))
}

/// The tensors as modules, each with both of its matrices.
fn modules(
    entries: Vec<Entry>,
    config: &LoraConfig,
) -> Result<BTreeMap<String, Module>, CheckpointError> {
    let wrong = |tensor: &str, reason: String, next| CheckpointError::Tensor {
        file: WEIGHTS_FILE.to_owned(),
        tensor: shown(tensor),
        reason,
        next,
    };
    let mut halves: BTreeMap<String, (String, [Option<Matrix>; 2])> = BTreeMap::new();
    for entry in entries {
        let name = Name::parse(&entry.name);
        let name = name.map_err(|reason| wrong(&entry.name, reason.to_owned(), MERGE_FIRST))?;
        let matrix = matrix(entry)?;
        let (_, sides) = halves
            .entry(name.weight)
            .or_insert_with(|| (name.module, [None, None]));
        let side = match name.side {
            Side::A => &mut sides[0],
            Side::B => &mut sides[1],
        };
        if let Some(other) = side {
            let reason = format!("is for the same layer as `{}`", shown(&other.stored_name));
            return Err(wrong(&matrix.stored_name, reason, DOWNLOAD_AGAIN));
        }
        *side = Some(matrix);
    }
    if halves.is_empty() {
        return Err(CheckpointError::File {
            file: WEIGHTS_FILE.to_owned(),
            reason: "holds no tensors".to_owned(),
            next: DOWNLOAD_AGAIN,
        });
    }
    let mut modules = BTreeMap::new();
    for (weight, (path, sides)) in halves {
        let (a, b) = match sides {
            [Some(a), Some(b)] => (a, b),
            [Some(one), None] | [None, Some(one)] => {
                let reason = "is there without its other half".to_owned();
                return Err(wrong(&one.stored_name, reason, DOWNLOAD_AGAIN));
            }
            [None, None] => continue,
        };
        if !config.targets.contain(&path)? {
            let reason = format!(
                "is for a module that {CONFIG_FILE} does not name, so that PEFT would leave it out"
            );
            return Err(wrong(&a.stored_name, reason, "export the adapter again"));
        }
        let (rank, scale) = config.rank_and_scale(&path)?;
        for (matrix, has) in [(&a, a.rows), (&b, b.columns)] {
            if has != rank as u64 {
                let reason = format!("has the rank {has} where {CONFIG_FILE} says {rank}");
                let next = "use configuration and weights of one adapter";
                return Err(wrong(&matrix.stored_name, reason, next));
            }
        }
        let numbers = a.rows * a.columns + b.rows * b.columns;
        if numbers > LARGEST_PAIR / 4 {
            let reason = format!("has with its other half {numbers} numbers, more than fit here");
            return Err(wrong(&a.stored_name, reason, MERGE_FIRST));
        }
        modules.insert(weight, Module { a, b, rank, scale });
    }
    Ok(modules)
}

fn matrix(entry: Entry) -> Result<Matrix, CheckpointError> {
    let wrong = |reason: String| CheckpointError::Tensor {
        file: WEIGHTS_FILE.to_owned(),
        tensor: shown(&entry.name),
        reason,
        next: MERGE_FIRST,
    };
    let dtype = match entry.dtype {
        safetensors::Dtype::F32 => Dtype::F32,
        safetensors::Dtype::F16 => Dtype::F16,
        safetensors::Dtype::BF16 => Dtype::BF16,
        other => {
            return Err(wrong(format!(
                "is stored as {other}, which is not supported"
            )));
        }
    };
    let (rows, columns) = match *entry.shape.as_slice() {
        // An empty matrix is what is left of one that was saved from a part of its GPUs.
        [rows, columns] if rows > 0 && columns > 0 => (rows, columns),
        _ => {
            let reason = format!("has the shape {:?}, which is no matrix", entry.shape);
            return Err(wrong(reason));
        }
    };
    Ok(Matrix {
        dtype,
        rows,
        columns,
        range: entry.range,
        stored_name: entry.name,
    })
}

/// An adapter that fits a checkpoint.
#[derive(Debug)]
pub(crate) struct Overlay<S> {
    adapter: LoraAdapter<S>,
    /// For a tensor's place in the checkpoint its name.
    places: HashMap<usize, String>,
}

/// The matrices read last: slices come tensor by tensor.
#[derive(Debug, Default)]
pub(crate) struct Factors {
    of: Option<usize>,
    pair: Option<Pair>,
}

impl<S: Source> Overlay<S> {
    /// # Errors
    /// If the adapter is not for a model of these tensors.
    pub(crate) fn new(
        adapter: LoraAdapter<S>,
        tensors: &[TensorInfo],
    ) -> Result<Self, CheckpointError> {
        let places = adapter.places(tensors)?;
        Ok(Self { adapter, places })
    }

    pub(crate) fn adapter(&self) -> &LoraAdapter<S> {
        &self.adapter
    }

    /// Sees to it that `factors` are those of a tensor, if the adapter changes it.
    pub(crate) async fn fetch(
        &self,
        tensor: usize,
        factors: &mut Factors,
    ) -> Result<(), CheckpointError> {
        if factors.of == Some(tensor) {
            return Ok(());
        }
        // The last ones are given up before others are allocated.
        *factors = Factors::default();
        if let Some(weight) = self.places.get(&tensor) {
            factors.pair = self.adapter.pair(weight).await?;
        }
        factors.of = Some(tensor);
        Ok(())
    }
}

impl Factors {
    /// Merges into rows of the tensor that they were fetched for, as stored.
    pub(crate) fn merge(
        &self,
        info: &TensorInfo,
        rows: &Range<usize>,
        bytes: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let Some(pair) = &self.pair else {
            return Ok(());
        };
        let merged = pair.add_to(rows.start, info.dtype, info.cols(), bytes);
        merged.map_err(|wrong| CheckpointError::Tensor {
            file: WEIGHTS_FILE.to_owned(),
            tensor: info.name.clone(),
            reason: format!(
                "becomes {} in row {}, which {:?} cannot hold",
                wrong.value,
                rows.start + wrong.row,
                info.dtype
            ),
            next: "the adapter is broken or for another checkpoint; export it again",
        })
    }
}
