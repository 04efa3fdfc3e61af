use std::collections::BTreeMap;

use paligemma_checkpoint::{Checkpoint, Config, Source};
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
    /// For each storage type its tensors, weights and bytes.
    pub precisions: BTreeMap<String, (usize, u64, u64)>,
    /// Bytes of the KV cache for one picture and 256 tokens of text.
    pub kv_cache_bytes: u64,
    /// What does not fit the adapter, if one was given.
    pub misfits: Vec<Misfit>,
}

/// Reads a checkpoint's configuration, headers and tokenizer; no weight is read.
///
/// # Errors
/// A source that fails, or a checkpoint that is damaged or not a PaliGemma.
pub async fn inspect<S: Source>(
    source: S,
    adapter: Option<&AdapterInfo>,
) -> Result<Inspection, EngineError> {
    let checkpoint = Checkpoint::open(source).await?;
    processor(&checkpoint).await?;
    let config = checkpoint.config().clone();
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
    let text = &config.text;
    let tokens = config.vision.num_patches() + TEXT_TOKENS;
    let kv = text.num_key_value_heads * text.head_dim.next_multiple_of(4);
    let tokens = tokens.min(text.max_position_embeddings);
    Ok(Inspection {
        model: ModelInfo::new(&checkpoint),
        kv_cache_bytes: 8 * text.num_hidden_layers as u64 * kv as u64 * tokens as u64,
        misfits: adapter.map_or_else(Vec::new, |adapter| {
            misfits(&config, checkpoint.tensors(), tokens, adapter)
        }),
        precisions,
        config,
    })
}
