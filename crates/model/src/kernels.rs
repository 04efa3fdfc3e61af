//! What a model's first question will need compiled.

use paligemma_gpu::Needed;

use crate::error::ModelError;
use crate::held::Held;
use crate::model::PaliGemma;
use crate::session::capacity_for;
use crate::taps::Taps;

/// Tokens of a prompt beside its picture, and of an answer: some.
const PROMPT: usize = 8;

impl PaliGemma {
    /// The kernels of a picture, of a prompt about it and of a step of a greedy answer that is not long: their
    /// programs are recorded as they will be, over no memory, and given away. Where something cannot be,
    /// which is told to whoever asks for it, what comes before.
    pub(crate) fn kernels(&self) -> Needed {
        let mut needed = Needed::default();
        let _ = self.gpu.sketch(|| self.add_kernels(&mut needed));
        needed
    }

    fn add_kernels(&self, needed: &mut Needed) -> Result<(), ModelError> {
        let text = &self.config.text;
        let (_, features, picture) = self.record_picture(&mut Taps::none())?;
        needed.add(picture, false)?;

        let patches = features.0.rows();
        let ids = [vec![self.config.image_token_id; patches], vec![0; PROMPT]].concat();
        let places = [(0..patches as u32).collect()];
        let held = Held::new(
            self,
            capacity_for(ids.len() + PROMPT, text),
            text.vocab_size,
        )?;
        let w = self.decoder.workspace(&self.gpu, ids.len())?;
        let prefix = held.record_prefix(self, &ids, &[features], &places, &w, &mut Taps::none())?;
        needed.add(prefix, false)?;
        needed
            .add(held.record_step(self)?, true)
            .map_err(ModelError::from)
    }
}
