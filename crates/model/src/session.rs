use paligemma_checkpoint::TextConfig;
use paligemma_gpu::{Gpu, GpuError, Program, Recorder, Tensor};

use crate::error::ModelError;
use crate::held::Held;
use crate::model::{ImageFeatures, PaliGemma};
use crate::picking::{NO_TOKEN, Picker, Picking, SUBMISSIONS_UNDER_WAY, Scored, Steering};
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
    pub(crate) held: Held,
    pub(crate) capacity: usize,
    found: Vec<Scored>,
    under_way: UnderWay,
    pub(crate) allowed: usize,
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
        let capacity = capacity_for(positions, &model.config.text);
        let allowed = allowed.min(model.config.text.vocab_size);
        let held = Held::new(model, capacity, allowed)?;
        Ok(Self {
            step: held.record_step(model)?.finish()?.for_replay(),
            held,
            capacity,
            found: Vec::new(),
            under_way: UnderWay::default(),
            allowed,
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
        if self.held.picker.picking() != &picking {
            self.forget_ahead(model)?;
            let picker = Picker::new(&model.gpu, &model.config.text, self.allowed, picking)?;
            let before = std::mem::replace(&mut self.held.picker, picker);
            match self.held.record_step(model).map(Recorder::finish) {
                Ok(Ok(step)) => self.step = step.for_replay(),
                failed => {
                    self.held.picker = before;
                    failed??;
                }
            }
        }
        Ok(())
    }

    /// Says what the steps need from outside that are submitted next, as far as the [`Picking`] asks for it.
    ///
    /// # Errors
    /// More bits than the vocabulary has.
    pub fn steer(&self, model: &PaliGemma, steering: Steering<'_>) -> Result<(), ModelError> {
        Ok(self.held.picker.steer(&model.gpu, steering)?)
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
    /// [`Session::capacity`], a token that is drawn without a [number](Steering::numbers), or a GPU that
    /// fails.
    pub async fn prefill(
        &mut self,
        model: &PaliGemma,
        ids: &[u32],
        images: &[ImageFeatures],
        taps: &mut Taps,
    ) -> Result<u32, ModelError> {
        let gpu = &model.gpu;
        self.check_numbers(1)?;
        self.begin(gpu, model, ids)?;
        let places = image_places(model, ids, images)?;
        let workspace = model.decoder.workspace(gpu, ids.len())?;
        let held = &self.held;
        let prefix = held.record_prefix(model, ids, images, &places, &workspace, taps)?;
        self.submit_first(gpu, &prefix.finish()?);
        self.prefix = ids.len();
        self.position = ids.len();
        self.take(model).await
    }

    /// Reads the token last picked and returns the next one.
    ///
    /// # Errors
    /// As [`Session::submit`], or a GPU that fails.
    pub async fn decode(&mut self, model: &PaliGemma) -> Result<u32, ModelError> {
        self.submit(model)?;
        self.take(model).await
    }

    /// Hands the GPU what [`Session::decode`] does, without waiting for it: the token that a step
    /// finds is read by the next one on the GPU. [`Session::take`] then returns the tokens in
    /// order; [`Session::may_submit`] says whether another step can be under way.
    ///
    /// # Errors
    /// No room left, as much under way as there may be, or more steps that draw than were given
    /// [numbers](Steering::numbers) since the last submission.
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
        if !self.may_submit() {
            return refused(format!("{SUBMISSIONS_UNDER_WAY} submissions are under way"));
        }
        if !(1..=self.steps_at_once()).contains(&steps) {
            return refused(format!("{steps} steps at once"));
        }
        self.check_numbers(steps)?;
        let (gpu, turn) = (&model.gpu, self.under_way.turn());
        let submission = self.held.picker.submit(gpu, &self.step, steps, turn);
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
        self.held.picker.steps_at_once()
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
        model.gpu.write_indices(&self.held.memory.span, &span)?;
        match self.found.first() {
            Some(found) => self.put(model, found.id),
            None => Ok(()),
        }
    }

    /// Forgets the answer so far and picks its first token anew, without reading the prefix again.
    ///
    /// # Errors
    /// A token that is drawn without a [number](Steering::numbers), or a GPU that fails.
    pub async fn again(&mut self, model: &PaliGemma) -> Result<u32, ModelError> {
        let gpu = &model.gpu;
        self.check_numbers(1)?;
        let prefix = self.prefix as u32;
        gpu.write_indices(&self.held.memory.span, &[prefix, prefix])?;
        self.position = self.prefix;
        let mut r = gpu.recorder();
        let to = (&self.held.token, &self.held.memory.span, 0);
        self.held.picker.record(&mut r, &self.held.first, to);
        self.submit_first(gpu, &r.finish()?);
        self.take(model).await
    }

    /// Submits what finds the first token of an answer; whatever was under way is forgotten.
    fn submit_first(&mut self, gpu: &Gpu, program: &Program) {
        self.under_way.clear();
        let picker = &self.held.picker;
        let submission = picker.submit(gpu, program, 1, self.under_way.turn());
        self.under_way.push(submission, 1, 0);
    }

    fn check_numbers(&self, steps: usize) -> Result<(), ModelError> {
        match self.held.picker.has_numbers(steps) {
            true => Ok(()),
            false => refused(format!("{steps} steps without random numbers of their own")),
        }
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
        Ok(model.gpu.write_indices(&self.held.token, &[token])?)
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
        for (to, from) in self
            .held
            .memory
            .caches
            .iter()
            .zip(&other.held.memory.caches)
        {
            r.copy_positions(from, to, first..other.position);
        }
        model.gpu.submit(&r.finish()?);
        let span = [other.position as u32, other.prefix as u32];
        model.gpu.write_indices(&self.held.memory.span, &span)?;
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
        for cache in &self.held.memory.caches {
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
        gpu.write_indices(&self.held.memory.span, &[0, ids.len() as u32])?;
        Ok(())
    }

    /// Waits for the first of the steps under way and returns the token that it found.
    ///
    /// # Errors
    /// No step under way, or a GPU that fails.
    pub async fn take(&mut self, model: &PaliGemma) -> Result<u32, ModelError> {
        if let Some(first) = self.under_way.to_await() {
            match self.held.picker.take(&model.gpu, &first).await {
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

fn refused<T>(detail: String) -> Result<T, ModelError> {
    let kernel = "submit";
    Err(ModelError::Gpu(GpuError::Shape { kernel, detail }))
}

/// Positions of a cache that has room for so many.
pub(crate) fn capacity_for(positions: usize, text: &TextConfig) -> usize {
    let most = text.max_position_embeddings;
    positions.next_multiple_of(CAPACITY_STEP).min(most)
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
