use paligemma_checkpoint::{Precision, Storage};

use crate::model::PaliGemma;
use crate::session::Session;

/// Bytes of a model's weights on the GPU, by part; scales, norms and biases included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightSizes {
    /// SigLIP and the projector.
    pub vision: u64,
    /// Gemma's layers and its last norm.
    pub decoder: u64,
    /// The embedding.
    pub embedding: u64,
    /// A row of the embedding.
    pub embedding_row: u64,
    /// The head, where it is a matrix of its own.
    pub own_head: Option<u64>,
    /// Precision of the last matrix of the decoder, of the embedding and of the vision tower: of
    /// most of them, as only a tower's first may differ.
    pub precisions: [Option<Precision>; 3],
}

impl WeightSizes {
    pub(crate) fn add(&mut self, name: &str, rows: usize, columns: usize, storage: Storage) {
        let (weights, scales) = storage.row_bytes(columns);
        let row = weights as u64 + scales as u64;
        let bytes = rows as u64 * row;
        let [decoder, embedding, vision] = &mut self.precisions;
        let (size, precision) = match name.strip_prefix("language_model.") {
            None => (&mut self.vision, vision),
            Some(part) if part.starts_with("lm_head.") => {
                self.own_head = Some(bytes);
                return;
            }
            Some(part) if part.starts_with("model.embed_tokens.") => {
                self.embedding_row = row;
                (&mut self.embedding, embedding)
            }
            Some(_) => (&mut self.decoder, decoder),
        };
        *size += bytes;
        // A tower's embedding of patches, which differs, comes first.
        if let Storage::Matrix(of) = storage {
            *precision = Some(of);
        }
    }

    /// The head, which is the embedding where it has no matrix of its own.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.own_head.unwrap_or(self.embedding)
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.vision + self.decoder + self.embedding + self.own_head.unwrap_or_default()
    }
}

impl Session {
    /// Bytes that a step of decoding reads at least when it stands at `position`: the decoder's
    /// weights, the head, a row of the embedding, and the keys and values that each layer sees.
    #[must_use]
    pub fn bytes_per_token(&self, model: &PaliGemma, position: usize) -> u64 {
        let sizes = model.sizes();
        let seen = self
            .held
            .memory
            .caches
            .iter()
            .enumerate()
            .map(|(layer, cache)| {
                let row = cache.bytes_per_position() as u64;
                // Its own position is read as well.
                let rows = model.decoder.window(layer).unwrap_or(usize::MAX);
                row * rows.min(position + 1) as u64
            });
        sizes.decoder + sizes.head() + sizes.embedding_row + seen.sum::<u64>()
    }
}
