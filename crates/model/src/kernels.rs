//! What a model's first question will need compiled.

use paligemma_gpu::Needed;

use crate::error::ModelError;
use crate::held::Held;
use crate::model::{ImageFeatures, PaliGemma};
use crate::session::capacity_for;
use crate::taps::Taps;

/// Tokens of a prompt beside its picture, and of an answer: some.
const PROMPT: usize = 8;

impl PaliGemma {
    /// The kernels of a picture, of a prompt about it and of a step of a greedy answer: their programs are
    /// recorded as they will be, and given away. What they are recorded over is as large as what they
    /// will need, and is freed again.
    pub(crate) fn kernels(&self) -> Result<Needed, ModelError> {
        let mut needed = Needed::default();
        let (_, features, picture) = self.record_picture(&mut Taps::none())?;
        needed.add(picture, false)?;

        let patches = features.0.rows();
        let ids = [vec![self.config.image_token_id; patches], vec![0; PROMPT]].concat();
        let places = [(0..patches as u32).collect()];
        let capacity = capacity_for(ids.len() + PROMPT, &self.config.text);
        let held = Held::new(self, capacity, self.config.text.vocab_size)?;
        let w = self.decoder.workspace(&self.gpu, ids.len())?;
        let images: [ImageFeatures; 1] = [features];
        let prefix = held.record_prefix(self, &ids, &images, &places, &w, &mut Taps::none())?;
        needed.add(prefix, false)?;
        needed.add(held.record_step(self)?, true)?;
        Ok(needed)
    }
}
