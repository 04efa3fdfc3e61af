use paligemma_checkpoint::{Config, Storage};
use paligemma_gpu::AdapterInfo;

use crate::decoder::{qkv_width, stretch};

/// Something that does not fit an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What: a tensor's name, or an activation.
    pub what: String,
    /// Bytes it needs in one binding.
    pub needed: u64,
    /// Bytes one binding may have.
    pub available: u64,
}

/// What of a model does not fit an adapter at a sequence of `tokens`. A tensor is its name, its
/// rows, its columns and how it is kept. Matrices are split by rows,
/// so what matters is a single row, the vectors and the activations.
#[must_use]
pub fn misfits<'t>(
    config: &Config,
    tensors: impl Iterator<Item = (&'t str, usize, usize, Storage)>,
    tokens: usize,
    adapter: &AdapterInfo,
) -> Vec<Misfit> {
    let available = adapter.max_binding_bytes;
    let padded = |columns: usize| columns.next_multiple_of(8) as u64;
    let mut needs: Vec<(String, u64)> = tensors
        .map(|(name, rows, columns, storage)| {
            let bytes = match storage {
                Storage::Numbers => rows as u64 * padded(columns) * 4,
                Storage::Matrix(precision) => precision.layout(columns).weight_bytes as u64,
            };
            (name.to_owned(), bytes)
        })
        .collect();
    let (text, vision) = (&config.text, &config.vision);
    let rows = tokens as u64;
    let patches = vision.num_patches() as u64;
    let widest = (text.num_attention_heads * text.head_dim).max(text.hidden_size);
    let kv = text.num_key_value_heads * text.head_dim.next_multiple_of(4);
    let (qkv, gate_up) = (qkv_width(text), 2 * text.intermediate_size);
    let stretched = |width: usize| stretch(width).min(tokens) as u64 * padded(width) * 4;
    let pixels = (vision.num_channels * vision.image_size * vision.image_size) as u64;
    needs.extend([
        (
            "activations of the decoder".into(),
            rows * padded(widest) * 4,
        ),
        ("keys of a layer".into(), rows * kv as u64 * 4),
        ("queries, keys and values of a layer".into(), stretched(qkv)),
        (
            "activations of the decoder's MLP".into(),
            stretched(gate_up),
        ),
        ("logits of a token".into(), padded(text.vocab_size) * 4),
        (
            "activations of the vision tower".into(),
            patches * padded(vision.intermediate_size.max(3 * vision.hidden_size)) * 4,
        ),
        ("pixel values".into(), pixels * 4),
    ]);
    needs
        .into_iter()
        .filter(|(_, needed)| *needed > available)
        .map(|(what, needed)| Misfit {
            what,
            needed,
            available,
        })
        .collect()
}
