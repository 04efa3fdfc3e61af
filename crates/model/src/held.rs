//! What a session keeps on the GPU, and the programs that are recorded over it.

use paligemma_gpu::{Indices, Recorder, Tensor};

use crate::decoder::{Memory, Workspace};
use crate::error::ModelError;
use crate::model::{ImageFeatures, PaliGemma};
use crate::picking::{PickOne, Picker, Picking};
use crate::taps::Taps;

/// What is made once for all of a session's answers.
pub(crate) struct Held {
    pub(crate) memory: Memory,
    pub(crate) token: Indices, // [1], the token last picked
    pub(crate) picker: Picker,
    pub(crate) first: Tensor, // [1, vocabulary], the logits after the prefix
    pub(crate) workspace: Workspace, // of one row
}

impl Held {
    /// For `capacity` positions; tokens from `allowed` on are never picked.
    pub(crate) fn new(
        model: &PaliGemma,
        capacity: usize,
        allowed: usize,
    ) -> Result<Self, ModelError> {
        let (gpu, text) = (&model.gpu, &model.config.text);
        let picking = Picking::One(PickOne::default());
        Ok(Self {
            memory: model.decoder.memory(gpu, capacity)?,
            token: gpu.indices("token", 1)?,
            picker: Picker::new(gpu, text, allowed, picking)?,
            first: gpu.tensor("first logits", 1, text.vocab_size)?,
            workspace: model.decoder.workspace(gpu, 1)?,
        })
    }

    /// One step of decoding, from the token last picked to the next.
    pub(crate) fn record_step(&self, model: &PaliGemma) -> Result<Recorder, ModelError> {
        let (gpu, w) = (&model.gpu, &self.workspace);
        let mut r = gpu.recorder();
        model
            .decoder
            .record_embedding(&mut r, &self.token, &w.hidden);
        let normed = Some(&w.last_normed);
        let memory = &self.memory;
        model
            .decoder
            .record_layers(gpu, &mut r, w, memory, 0, normed, &mut Taps::none())?;
        model.decoder.record_last_head(&mut r, w);
        let to = (&self.token, &memory.span, 1);
        self.picker.record(&mut r, &w.logits, to);
        Ok(r)
    }

    /// Images and prompt as one prefix, and what finds the token after it. `places` are the images', `w`
    /// has a row for each of the ids.
    pub(crate) fn record_prefix(
        &self,
        model: &PaliGemma,
        ids: &[u32],
        images: &[ImageFeatures],
        places: &[Vec<u32>],
        w: &Workspace,
        taps: &mut Taps,
    ) -> Result<Recorder, ModelError> {
        let gpu = &model.gpu;
        let tokens = gpu.indices("ids", ids.len())?;
        gpu.write_indices(&tokens, ids)?;
        let mut r = gpu.recorder();
        model.decoder.record_embedding(&mut r, &tokens, &w.hidden);
        for (ImageFeatures(features), places) in images.iter().zip(places) {
            let positions = gpu.indices("image positions", places.len())?;
            gpu.write_indices(&positions, places)?;
            r.scatter_rows(features, &positions, &w.hidden);
        }
        taps.tap(gpu, &mut r, || "text.inputs_embeds".to_owned(), &w.hidden)?;
        model
            .decoder
            .record_layers(gpu, &mut r, w, &self.memory, ids.len(), None, taps)?;
        model.decoder.record_logits(&mut r, w);
        r.copy(&w.logits, &self.first);
        let to = (&self.token, &self.memory.span, ids.len());
        self.picker.record(&mut r, &w.logits, to);
        if taps.is_wanted() {
            let normed = model.decoder.record_final_norm(&mut r, w);
            taps.tap(gpu, &mut r, || "text.final_norm".to_owned(), &normed)?;
        }
        Ok(r)
    }
}
