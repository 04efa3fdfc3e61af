use std::collections::BTreeMap;

use paligemma_checkpoint::{Checkpoint, CheckpointError, Config, Dtype, Recipe, Source};
use paligemma_gpu::AdapterInfo;
use paligemma_model::{Misfit, misfits};

use crate::engine::{ModelInfo, processor};
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

/// Reads a checkpoint's configuration, headers and tokenizer; no weight is read. A folder with
/// nothing but a `config.json` is inspected as far as that goes.
///
/// # Errors
/// A source that fails, or a checkpoint that is damaged or not a PaliGemma.
pub async fn inspect<S: Source>(
    source: S,
    recipe: &Recipe,
    adapter: Option<&AdapterInfo>,
) -> Result<Inspection, EngineError> {
    let config = Checkpoint::configuration(&source).await?;
    let bytes_under = |stored| {
        let all = Recipe::ALL.into_iter();
        all.map(|recipe| {
            let bytes = recipe.bytes(&config, stored);
            (recipe, bytes)
        })
        .collect()
    };
    let text = &config.text;
    let tokens = config.vision.num_patches() + TEXT_TOKENS;
    let tokens = tokens.min(text.max_position_embeddings);
    let kv = text.num_key_value_heads * text.head_dim.next_multiple_of(4);
    let kv_cache_bytes = 8 * text.num_hidden_layers as u64 * kv as u64 * tokens as u64;
    if !has_weights(&source).await? {
        return Ok(Inspection {
            model: ModelInfo::of_configuration(&config),
            stored: None,
            recipes: bytes_under(Dtype::BF16),
            kv_cache_bytes,
            config,
        });
    }

    let checkpoint = Checkpoint::open(source).await?;
    processor(&checkpoint).await?;
    let mut precisions = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let weights = tensor.rows() as u64 * tensor.cols() as u64;
        let sums: &mut (usize, u64, u64) = precisions
            .entry(format!("{:?}", tensor.dtype).to_lowercase())
            .or_default();
        sums.0 += 1;
        sums.1 += weights;
        sums.2 += weights * tensor.dtype.size() as u64;
    }
    // Released checkpoints have one type throughout; of another, the largest part counts.
    let types = checkpoint.tensors().iter();
    let stored = types
        .max_by_key(|tensor| tensor.byte_len())
        .map_or(Dtype::BF16, |tensor| tensor.dtype);
    Ok(Inspection {
        model: ModelInfo::new(&checkpoint),
        stored: Some(Stored {
            precisions,
            misfits: adapter.map_or_else(Vec::new, |adapter| {
                misfits(&config, checkpoint.tensors(), recipe, tokens, adapter)
            }),
        }),
        recipes: bytes_under(stored),
        kv_cache_bytes,
        config,
    })
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
