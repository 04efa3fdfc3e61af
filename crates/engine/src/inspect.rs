use std::collections::BTreeMap;

use paligemma_checkpoint::{
    AdapterSummary, Checkpoint, CheckpointError, Config, Dtype, LoraAdapter, PackedSource, Pieces,
    Plan, Precision, Recipe, Source, Storage,
};
use paligemma_gpu::AdapterInfo;
use paligemma_model::{Misfit, ModelOptions, misfits};

use crate::engine::{ModelInfo, PREPROCESSOR_FILE, TOKENIZER_FILE, processor};
use crate::error::EngineError;

/// Tokens of prompt and answer beside the image's that [`inspect`] counts on.
const TEXT_TOKENS: usize = 256;

/// What a checkpoint is, read from its configuration and headers alone.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Family, sizes, bytes.
    pub model: ModelInfo,
    /// The whole configuration, defaults filled in.
    pub config: Config,
    /// The weights as they are stored; none: there is only a configuration.
    pub stored: Option<Stored>,
    /// For each named recipe the bytes of the weights on the GPU. Without weights, as if they
    /// were stored in bf16.
    pub recipes: Vec<(Recipe, u64)>,
    /// What it is packed as, if it is a packed model.
    pub packed: Option<Plan>,
    /// The adapter it was inspected with, which fits it.
    pub lora: Option<AdapterSummary>,
    /// Bytes of the KV cache for one picture and 256 tokens of text.
    pub kv_cache_bytes: u64,
}

/// A checkpoint's weights as they are stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// For each storage type its tensors, weights and bytes.
    pub precisions: BTreeMap<String, (usize, u64, u64)>,
    /// What does not fit the adapter, if one was given.
    pub misfits: Vec<Misfit>,
}

/// Reads a model's configuration, headers and tokenizer; no weight is read. A folder with
/// nothing but a `config.json` is inspected as far as that goes.
///
/// # Errors
/// A source that fails, or a checkpoint that is damaged or not a PaliGemma.
pub async fn inspect<S: Source>(
    source: S,
    recipe: Option<&Recipe>,
    adapter: Option<&AdapterInfo>,
) -> Result<Inspection, EngineError> {
    inspect_adapted(source, None, recipe, adapter).await
}

/// As [`inspect`], with a LoRA adapter: whether it fits the weights.
///
/// # Errors
/// As [`inspect`]; also if there are no weights, or the adapter is for another model.
pub async fn inspect_adapted<S: Source>(
    source: S,
    lora: Option<LoraAdapter<S>>,
    recipe: Option<&Recipe>,
    adapter: Option<&AdapterInfo>,
) -> Result<Inspection, EngineError> {
    if PackedSource::is_there(&source).await? {
        if lora.is_some() {
            return Err(EngineError::AdapterForPacked);
        }
        return inspect_packed(PackedSource::open(source).await?, adapter).await;
    }
    let config = Checkpoint::configuration(&source).await?;
    if !has_weights(&source).await? {
        if lora.is_some() {
            return Err(EngineError::Checkpoint(CheckpointError::Missing {
                file: "model.safetensors".to_owned(),
                next: "give the folder of a checkpoint with its weights, to which the adapter is \
                       compared",
            }));
        }
        return Ok(Inspection {
            model: ModelInfo::of_configuration(&config),
            stored: None,
            recipes: bytes_under_recipes(&config, Dtype::BF16),
            packed: None,
            lora: None,
            kv_cache_bytes: kv_cache_bytes(&config, std::iter::empty()),
            config,
        });
    }

    let checkpoint = Checkpoint::open(source).await?;
    let summary = lora.as_ref().map(LoraAdapter::summary);
    let checkpoint = match lora {
        Some(lora) => checkpoint.with_adapter(lora)?,
        None => checkpoint,
    };
    let tokenizer = checkpoint.file(TOKENIZER_FILE).await?;
    let preprocessor = checkpoint.file(PREPROCESSOR_FILE).await?;
    processor(&config, tokenizer, preprocessor)?;
    let mut precisions = Precisions::default();
    for tensor in checkpoint.tensors() {
        let weights = tensor.rows() as u64 * tensor.cols() as u64;
        let name = format!("{:?}", tensor.dtype).to_lowercase();
        precisions.add(name, weights, weights * tensor.dtype.size() as u64);
    }
    // Released checkpoints have one type throughout; of another, the largest part counts.
    let types = checkpoint.tensors().iter();
    let stored = types
        .max_by_key(|tensor| tensor.byte_len())
        .map_or(Dtype::BF16, |tensor| tensor.dtype);
    let recipe = recipe.unwrap_or(&Recipe::AS_STORED);
    let tensors = checkpoint.tensors().iter().map(|tensor| {
        let storage = recipe.storage_of(tensor);
        (tensor.name.as_str(), tensor.rows(), tensor.cols(), storage)
    });
    let decoder: Vec<_> = in_decoder(tensors.clone()).collect();
    Ok(Inspection {
        model: ModelInfo::new(&checkpoint),
        stored: Some(Stored {
            precisions: precisions.0,
            misfits: adapter.map_or_else(Vec::new, |adapter| {
                misfits(&config, tensors, tokens(&config), adapter)
            }),
        }),
        recipes: bytes_under_recipes(&config, stored),
        packed: None,
        lora: summary,
        kv_cache_bytes: kv_cache_bytes(&config, decoder.into_iter()),
        config,
    })
}

async fn inspect_packed<S: Source>(
    packed: PackedSource<S>,
    adapter: Option<&AdapterInfo>,
) -> Result<Inspection, EngineError> {
    let config = Config::of_packed(&packed).await?;
    let tokenizer = packed.file(TOKENIZER_FILE).await?;
    let preprocessor = packed.file(PREPROCESSOR_FILE).await?;
    processor(&config, tokenizer, preprocessor)?;
    let plan = packed.into_manifest().plan;
    let mut precisions = Precisions::default();
    for tensor in &plan.tensors {
        let (rows, columns) = tensor.extent();
        let (weights, scales) = tensor.row_bytes();
        precisions.add(
            tensor.storage.to_string(),
            rows as u64 * columns as u64,
            rows as u64 * (weights + scales) as u64,
        );
    }
    let tensors = plan.tensors.iter().map(|tensor| {
        let (rows, columns) = tensor.extent();
        (tensor.name.as_str(), rows, columns, tensor.storage)
    });
    let decoder: Vec<_> = in_decoder(tensors.clone()).collect();
    Ok(Inspection {
        model: ModelInfo {
            bytes: plan.bytes,
            ..ModelInfo::of_configuration(&config)
        },
        stored: Some(Stored {
            precisions: precisions.0,
            misfits: adapter.map_or_else(Vec::new, |adapter| {
                misfits(&config, tensors, tokens(&config), adapter)
            }),
        }),
        recipes: Vec::new(),
        lora: None,
        kv_cache_bytes: kv_cache_bytes(&config, decoder.into_iter()),
        packed: Some(plan),
        config,
    })
}

/// Tensors, weights and bytes of each storage type.
#[derive(Default)]
struct Precisions(BTreeMap<String, (usize, u64, u64)>);

impl Precisions {
    fn add(&mut self, name: String, weights: u64, bytes: u64) {
        let sums = self.0.entry(name).or_default();
        sums.0 += 1;
        sums.1 += weights;
        sums.2 += bytes;
    }
}

fn bytes_under_recipes(config: &Config, stored: Dtype) -> Vec<(Recipe, u64)> {
    let all = Recipe::ALL.into_iter();
    all.map(|recipe| {
        let bytes = recipe.bytes(config, stored);
        (recipe, bytes)
    })
    .collect()
}

/// Positions that [`inspect`] counts on.
fn tokens(config: &Config) -> usize {
    (config.vision.num_patches() + TEXT_TOKENS).min(config.text.max_position_embeddings)
}

/// Precisions of the matrices in the decoder's layers.
fn in_decoder<'t>(
    tensors: impl Iterator<Item = (&'t str, usize, usize, Storage)>,
) -> impl Iterator<Item = Precision> {
    tensors.filter_map(|(name, _, _, storage)| match storage {
        Storage::Matrix(of) if name.starts_with("language_model.model.layers.") => Some(of),
        _ => None,
    })
}

/// With keys and values as they are kept beside these matrices.
fn kv_cache_bytes(config: &Config, decoder: impl Iterator<Item = Precision>) -> u64 {
    let text = &config.text;
    let kept = ModelOptions::default().cache_beside(decoder);
    let kv = text.num_key_value_heads * kept.head_bytes(text.head_dim);
    2 * text.num_hidden_layers as u64 * kv as u64 * tokens(config) as u64
}

async fn has_weights<S: Source>(source: &S) -> Result<bool, EngineError> {
    for file in ["model.safetensors", "model.safetensors.index.json"] {
        if source
            .size(file)
            .await
            .map_err(CheckpointError::from)?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}
