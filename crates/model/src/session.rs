use paligemma_gpu::{Gpu, GpuError, Indices, Program, Tensor};

use crate::decoder::{Memory, Workspace};
use crate::error::ModelError;
use crate::model::{ImageFeatures, PaliGemma};
use crate::picking::{NO_TOKEN, PickOne, Picker, Picking, SUBMISSIONS_UNDER_WAY, Scored, Steering};
use crate::taps::Taps;
use crate::under_way::UnderWay;

/// KV caches grow in steps of this many positions, so that a slightly longer prompt does not
/// allocate them anew.
const CAPACITY_STEP: usize = 256;

/// One generation after another over the same KV cache.
///
/// A step of decoding is a [`Program`] recorded once: it looks the last token up, runs every
/// layer and picks the next token, all on the GPU; only that token's id comes back.
pub struct Session {
    pub(crate) memory: Memory,
    pub(crate) capacity: usize,
    token: Indices, // [1], the token last picked
    picker: Picker,
    found: Vec<Scored>,
    under_way: UnderWay,
    pub(crate) allowed: usize,
    workspace: Workspace, // of one row
    first: Tensor,        // [1, vocabulary], the logits after the prefix
    step: Program,
    pub(crate) prefix: usize,
    pub(crate) position: usize,
    context: usize,
}

impl Session {
    /// A cache for `positions` tokens, images and answer included. Tokens from `allowed` on are
    /// never picked (rows of the embedding that the tokenizer has no word for).
    ///
    /// # Errors
    /// More positions than the model has, or more memory than the GPU gives.
    pub fn new(model: &PaliGemma, positions: usize, allowed: usize) -> Result<Self, ModelError> {
        let context = model.config.text.max_position_embeddings;
        if positions > context {
            return Err(ModelError::PromptTooLong {
                tokens: positions,
                context,
            });
        }
        let capacity = positions.next_multiple_of(CAPACITY_STEP).min(context);
        let allowed = allowed.min(model.config.text.vocab_size);
        let gpu = &model.gpu;
        let memory = model.decoder.memory(gpu, capacity)?;
        let token = gpu.indices("token", 1)?;
        let picking = Picking::One(PickOne::default());
        let picker = Picker::new(gpu, &model.config.text, allowed, picking)?;
        let workspace = model.decoder.workspace(gpu, 1)?;
        let step = record_step(model, &memory, &token, &picker, &workspace)?;
        let first = gpu.tensor("first logits", 1, model.config.text.vocab_size)?;
        Ok(Self {
            memory,
            capacity,
            token,
            picker,
            found: Vec::new(),
            under_way: UnderWay::default(),
            allowed,
            workspace,
            first,
            step,
            prefix: 0,
            position: 0,
            context,
        })
    }

    /// Changes how tokens are picked, from the next one on.
    ///
    /// # Errors
    /// More memory than the GPU gives.
    pub fn pick(&mut self, model: &PaliGemma, picking: Picking) -> Result<(), ModelError> {
        if self.picker.picking() != &picking {
            self.forget_ahead(model)?;
            let picker = Picker::new(&model.gpu, &model.config.text, self.allowed, picking)?;
            let (memory, workspace) = (&self.memory, &self.workspace);
            self.step = record_step(model, memory, &self.token, &picker, workspace)?;
            self.picker = picker;
        }
        Ok(())
    }

    /// Says what the steps need from outside that are submitted next, as far as the [`Picking`] asks for it.
    ///
    /// # Errors
    /// More bits than the vocabulary has.
    pub fn steer(&self, model: &PaliGemma, steering: Steering<'_>) -> Result<(), ModelError> {
        Ok(self.picker.steer(&model.gpu, steering)?)
    }

    /// What was found last: the token that [`Session::prefill`], [`Session::decode`] or
    /// [`Session::again`] returned, or the best few and those that were wanted beside them.
    #[must_use]
    pub fn found(&self) -> &[Scored] {
        &self.found
    }

    /// Positions it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Positions that are still free.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity - self.position
    }

    /// Dispatches of one step of decoding.
    #[must_use]
    pub fn dispatches_per_token(&self) -> usize {
        self.step.dispatches()
    }

    /// Steps are encoded beneath wgpu's tracking by now: see [`Gpu::replays`].
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.step.is_replayed()
    }

    /// Reads images and prompt (`ids`, image tokens included) as one bidirectional prefix and
    /// returns the first token of the answer.
    ///
    /// # Errors
    /// Ids outside the vocabulary, image tokens that do not match `images`, more ids than
    /// [`Session::capacity`], or a GPU that fails.
    pub async fn prefill(
        &mut self,
        model: &PaliGemma,
        ids: &[u32],
        images: &[ImageFeatures],
        taps: &mut Taps,
    ) -> Result<u32, ModelError> {
        let gpu = &model.gpu;
        self.begin(gpu, model, ids)?;
        let places = image_places(model, ids, images)?;
        let workspace = model.decoder.workspace(gpu, ids.len())?;
        self.record_prefix(model, ids, images, &places, &workspace, taps)?;
        self.prefix = ids.len();
        self.position = ids.len();
        self.take(model).await
    }

    /// Reads the token last picked and returns the next one.
    ///
    /// # Errors
    /// No room left, or a GPU that fails.
    pub async fn decode(&mut self, model: &PaliGemma) -> Result<u32, ModelError> {
        self.submit(model)?;
        self.take(model).await
    }

    /// Hands the GPU what [`Session::decode`] does, without waiting for it: the token that a step
    /// finds is read by the next one on the GPU. [`Session::take`] then returns the tokens in
    /// order; [`Session::may_submit`] says whether another step can be under way.
    ///
    /// # Errors
    /// No room left, or as much under way as there may be.
    pub fn submit(&mut self, model: &PaliGemma) -> Result<(), ModelError> {
        self.submit_some(model, 1)
    }

    /// The same for several steps in one submission, which come back together: no more than
    /// [`Session::steps_at_once`], nor than there is [room](Session::room) for.
    ///
    /// # Errors
    /// As [`Session::submit`], or no steps or too many.
    pub fn submit_some(&mut self, model: &PaliGemma, steps: usize) -> Result<(), ModelError> {
        if self.room() < steps {
            return Err(ModelError::PromptTooLong {
                tokens: self.position + steps,
                context: self.context,
            });
        }
        let refused = |detail| {
            let kernel = "submit";
            Err(ModelError::Gpu(GpuError::Shape { kernel, detail }))
        };
        if !self.may_submit() {
            return refused(format!("{SUBMISSIONS_UNDER_WAY} submissions are under way"));
        }
        if !(1..=self.steps_at_once()).contains(&steps) {
            return refused(format!("{steps} steps at once"));
        }
        let (gpu, turn) = (&model.gpu, self.under_way.turn());
        let submission = self.picker.submit(gpu, &self.step, steps, turn);
        self.under_way.push(submission, steps, 1);
        self.position += steps;
        Ok(())
    }

    /// Another submission can be under way before one is waited for.
    #[must_use]
    pub fn may_submit(&self) -> bool {
        self.under_way.submissions() < SUBMISSIONS_UNDER_WAY
    }

    /// Steps that can be submitted at once: one where what [steers](Session::steer) a step depends on the
    /// token before.
    #[must_use]
    pub fn steps_at_once(&self) -> usize {
        self.picker.steps_at_once()
    }

    /// Steps that were submitted and not taken.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.steps()
    }

    /// Submissions that have not come back.
    #[must_use]
    pub fn submissions_under_way(&self) -> usize {
        self.under_way.submissions()
    }

    /// Steps of the submission for which [`Session::take`] waits; none if it need not.
    #[must_use]
    pub fn awaited(&self) -> Option<usize> {
        self.under_way.awaited()
    }

    /// Forgets the steps that were submitted and not taken: the session stands where it stood
    /// after the last [`Session::take`].
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn forget_ahead(&mut self, model: &PaliGemma) -> Result<(), ModelError> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        self.stand_back(model, 0)
    }

    /// Forgets what is under way and so many positions of what is not.
    fn stand_back(&mut self, model: &PaliGemma, positions: usize) -> Result<(), ModelError> {
        let ahead = self.under_way.clear() + positions;
        self.position = self.position.saturating_sub(ahead);
        let span = [self.position as u32, self.prefix as u32];
        model.gpu.write_indices(&self.memory.span, &span)?;
        match self.found.first() {
            Some(found) => self.put(model, found.id),
            None => Ok(()),
        }
    }

    /// Forgets the answer so far and picks its first token anew, without reading the prefix again.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn again(&mut self, model: &PaliGemma) -> Result<u32, ModelError> {
        let gpu = &model.gpu;
        let prefix = self.prefix as u32;
        gpu.write_indices(&self.memory.span, &[prefix, prefix])?;
        self.position = self.prefix;
        let mut r = gpu.recorder();
        let to = (&self.token, &self.memory.span, 0);
        self.picker.record(&mut r, &self.first, to);
        self.submit_first(gpu, &r.finish()?);
        self.take(model).await
    }

    /// Submits what finds the first token of an answer; whatever was under way is forgotten.
    fn submit_first(&mut self, gpu: &Gpu, program: &Program) {
        self.under_way.clear();
        let submission = self.picker.submit(gpu, program, 1, self.under_way.turn());
        self.under_way.push(submission, 1, 0);
    }

    /// Stands elsewhere from now on; whatever was under way is forgotten.
    pub(crate) fn stand_at(&mut self, position: usize, prefix: usize) {
        self.under_way.clear();
        (self.position, self.prefix) = (position, prefix);
    }

    /// Makes `token` the one that the next step reads, whatever was picked.
    ///
    /// # Errors
    /// None that a token can cause.
    pub fn put(&self, model: &PaliGemma, token: u32) -> Result<(), ModelError> {
        Ok(model.gpu.write_indices(&self.token, &[token])?)
    }

    /// Becomes a copy of another session of the same capacity that has read the same prefix, and
    /// stands where it stands; `with_prefix` copies the prefix too.
    ///
    /// # Errors
    /// Another capacity.
    pub fn follow(
        &mut self,
        model: &PaliGemma,
        other: &Self,
        with_prefix: bool,
    ) -> Result<(), ModelError> {
        let first = if with_prefix { 0 } else { other.prefix };
        let mut r = model.gpu.recorder();
        for (to, from) in self.memory.caches.iter().zip(&other.memory.caches) {
            r.copy_positions(from, to, first..other.position);
        }
        model.gpu.submit(&r.finish()?);
        let span = [other.position as u32, other.prefix as u32];
        model.gpu.write_indices(&self.memory.span, &span)?;
        self.stand_at(other.position, other.prefix);
        Ok(())
    }

    /// Keys and values of the positions so far, layer by layer: two times
    /// `[kv_heads, positions, head_dim]`.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn read_caches(&self, model: &PaliGemma) -> Result<Vec<[Vec<f32>; 2]>, ModelError> {
        let mut layers = Vec::new();
        for cache in &self.memory.caches {
            layers.push(model.gpu.read_cache(cache, self.position).await?);
        }
        Ok(layers)
    }

    fn begin(&mut self, gpu: &Gpu, model: &PaliGemma, ids: &[u32]) -> Result<(), ModelError> {
        let vocabulary = model.config.text.vocab_size;
        let image = model.config.image_token_id;
        if ids.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        if ids.len() > self.capacity {
            return Err(ModelError::PromptTooLong {
                tokens: ids.len(),
                context: self.context,
            });
        }
        let stray = ids
            .iter()
            .find(|&&id| id as usize >= vocabulary && id != image);
        if let Some(&id) = stray {
            return Err(ModelError::TokenId { id, vocabulary });
        }
        gpu.write_indices(&self.memory.span, &[0, ids.len() as u32])?;
        Ok(())
    }

    fn record_prefix(
        &mut self,
        model: &PaliGemma,
        ids: &[u32],
        images: &[ImageFeatures],
        places: &[Vec<u32>],
        w: &Workspace,
        taps: &mut Taps,
    ) -> Result<(), ModelError> {
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
        self.submit_first(gpu, &r.finish()?);
        Ok(())
    }

    /// Waits for the first of the steps under way and returns the token that it found.
    ///
    /// # Errors
    /// No step under way, or a GPU that fails.
    pub async fn take(&mut self, model: &PaliGemma) -> Result<u32, ModelError> {
        if let Some(first) = self.under_way.to_await() {
            match self.picker.take(&model.gpu, &first).await {
                Ok(found) => self.under_way.came_back(found),
                Err(error) => {
                    // It has not happened, and nothing after it.
                    self.forget_ahead(model)?;
                    return Err(error.into());
                }
            }
        }
        let Some(step) = self.under_way.pop() else {
            return Err(ModelError::Gpu(GpuError::Shape {
                kernel: "take",
                detail: "no step is under way".to_owned(),
            }));
        };
        match step.found.first() {
            Some(&Scored { id, .. }) if id != NO_TOKEN => {
                self.found = step.found;
                Ok(id)
            }
            _ => {
                self.stand_back(model, step.positions)?;
                Err(ModelError::NotANumber)
            }
        }
    }
}

/// One step of decoding, from the token last picked to the next.
fn record_step(
    model: &PaliGemma,
    memory: &Memory,
    token: &Indices,
    picker: &Picker,
    w: &Workspace,
) -> Result<Program, ModelError> {
    let gpu = &model.gpu;
    let mut r = gpu.recorder();
    model.decoder.record_embedding(&mut r, token, &w.hidden);
    let normed = Some(&w.last_normed);
    model
        .decoder
        .record_layers(gpu, &mut r, w, memory, 0, normed, &mut Taps::none())?;
    model.decoder.record_last_head(&mut r, w);
    picker.record(&mut r, &w.logits, (token, &memory.span, 1));
    Ok(r.finish()?.for_replay())
}

impl PaliGemma {
    /// Logits of rows after the final norm (a tensor that [`Taps`] holds as `text.final_norm`):
    /// `[rows, vocabulary]`, read a few rows at a time, as all at once would be gigabytes.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn logits(&self, normed: &Tensor) -> Result<Vec<f32>, ModelError> {
        let gpu = &self.gpu;
        let vocabulary = self.config.text.vocab_size;
        let at_once = self.logit_rows();
        let mut all = Vec::with_capacity(normed.rows() * vocabulary);
        for start in (0..normed.rows()).step_by(at_once) {
            let rows = normed.slice_rows(start..(start + at_once).min(normed.rows()))?;
            let logits = gpu.tensor("logits", rows.rows(), vocabulary)?;
            let mut r = gpu.recorder();
            self.decoder.record_head(&mut r, &rows, &logits);
            gpu.submit(&r.finish()?);
            all.extend(gpu.read_tensor(&logits).await?);
        }
        Ok(all)
    }

    /// Reads a tensor that [`Taps`] took: `[rows, columns]`.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn read(&self, tensor: &Tensor) -> Result<Vec<f32>, GpuError> {
        self.gpu.read_tensor(tensor).await
    }
}

/// For each image the sequence indices its features go to, in order.
pub(crate) fn image_places(
    model: &PaliGemma,
    ids: &[u32],
    images: &[ImageFeatures],
) -> Result<Vec<Vec<u32>>, ModelError> {
    let image = model.config.image_token_id;
    let places: Vec<u32> = (0..)
        .zip(ids)
        .filter(|(_, id)| **id == image)
        .map(|(index, _)| index)
        .collect();
    let features: usize = images.iter().map(|image| image.0.rows()).sum();
    if places.len() != features {
        return Err(ModelError::ImagePlaces {
            places: places.len(),
            features,
        });
    }
    let each = model.config.vision.num_patches();
    Ok(places.chunks(each.max(1)).map(<[u32]>::to_vec).collect())
}
