//! One pass over tokens of any kind, on top of those a [`Session`] holds, and what can be asked of
//! its result. Greedy generation, which asks for one token only, is in `session.rs`.

use paligemma_gpu::{Gpu, Tensor};

use crate::decoder::Workspace;
use crate::error::ModelError;
use crate::model::{ImageFeatures, PaliGemma};
use crate::session::{Session, image_places};
use crate::taps::Taps;

/// Bytes of logits that are on the GPU at a time.
const LOGITS_BYTES: u64 = 64 << 20;

/// What a pass reads.
pub struct Pass<'a> {
    /// The tokens.
    pub input: Input<'a>,
    /// Features that take the places of image tokens, in order.
    pub images: &'a [ImageFeatures],
    /// How many tokens, from the first on, attend to one another in both directions; the others
    /// attend to what is before them. Tokens that follow others are never among them.
    pub prefix: usize,
}

/// Tokens as ids or as vectors.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Ids, image tokens included.
    Ids(&'a [u32]),
    /// `[tokens, hidden]`, as [`PaliGemma::embed`] makes them. With images, rows that equal an
    /// image token's embedding are image tokens.
    Embeddings(&'a [f32]),
}

/// The residual stream after the last layer, `[tokens, hidden]`, on the GPU.
pub struct Residual(Tensor);

impl Residual {
    /// Tokens of the pass.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.rows()
    }
}

impl Session {
    /// Reads tokens after those that are there already; their keys and values are kept.
    ///
    /// # Errors
    /// Ids outside the vocabulary, image tokens that do not match the images, more tokens than
    /// there is [`Session::room`] for, a prefix or images after other tokens, or a GPU that fails.
    pub async fn read(
        &mut self,
        model: &PaliGemma,
        pass: &Pass<'_>,
        taps: &mut Taps,
    ) -> Result<Residual, ModelError> {
        let gpu = &model.gpu;
        self.forget_ahead(model)?;
        let rows = self.check(model, pass)?;
        let places = match pass.input {
            Input::Ids(ids) => image_places(model, ids, pass.images)?,
            Input::Embeddings(values) => model.places_in(values, pass.images).await?,
        };
        if self.position == 0 {
            self.prefix = pass.prefix;
        }
        let span = &self.held.memory.span;
        gpu.write_indices(span, &[self.position as u32, self.prefix as u32])?;
        let w = model.decoder.workspace(gpu, rows)?;
        self.record_pass(model, pass, &places, &w, taps)?;
        self.position += rows;
        gpu.write_indices(span, &[self.position as u32, self.prefix as u32])?;
        gpu.finish().await?;
        Ok(Residual(w.hidden))
    }

    /// The number of tokens, if they can be read now.
    fn check(&self, model: &PaliGemma, pass: &Pass<'_>) -> Result<usize, ModelError> {
        let text = &model.config.text;
        let rows = match pass.input {
            Input::Ids(ids) => {
                let vocabulary = text.vocab_size;
                let image = model.config.image_token_id;
                let known = |id: &&u32| (**id as usize) < vocabulary || **id == image;
                if let Some(&id) = ids.iter().find(|id| !known(id)) {
                    return Err(ModelError::TokenId { id, vocabulary });
                }
                ids.len()
            }
            Input::Embeddings(values) => {
                let hidden = text.hidden_size;
                if !values.len().is_multiple_of(hidden.max(1)) {
                    return Err(ModelError::Embeddings {
                        got: values.len(),
                        hidden,
                    });
                }
                values.len() / hidden.max(1)
            }
        };
        if rows == 0 {
            return Err(ModelError::EmptyPrompt);
        }
        if self.position > 0 && (pass.prefix > 0 || !pass.images.is_empty()) {
            return Err(ModelError::PrefixInside {
                position: self.position,
            });
        }
        if rows > self.room() {
            return Err(ModelError::PromptTooLong {
                tokens: self.position + rows,
                context: self.capacity,
            });
        }
        Ok(rows)
    }

    fn record_pass(
        &self,
        model: &PaliGemma,
        pass: &Pass<'_>,
        places: &[Vec<u32>],
        w: &Workspace,
        taps: &mut Taps,
    ) -> Result<(), ModelError> {
        let gpu = &model.gpu;
        let mut r = gpu.recorder();
        match pass.input {
            Input::Ids(ids) => {
                let tokens = gpu.indices("ids", ids.len())?;
                gpu.write_indices(&tokens, ids)?;
                model.decoder.record_embedding(&mut r, &tokens, &w.hidden);
            }
            Input::Embeddings(values) => gpu.write(&w.hidden, 0, values)?,
        }
        for (ImageFeatures(features), places) in pass.images.iter().zip(places) {
            let positions = gpu.indices("image positions", places.len())?;
            gpu.write_indices(&positions, places)?;
            r.scatter_rows(features, &positions, &w.hidden);
        }
        taps.tap(gpu, &mut r, || "text.inputs_embeds".to_owned(), &w.hidden)?;
        let seen = self.position + w.hidden.rows();
        model
            .decoder
            .record_layers(gpu, &mut r, w, &self.held.memory, seen, None, taps)?;
        if taps.is_wanted() {
            let normed = model.decoder.record_final_norm(&mut r, w);
            taps.tap(gpu, &mut r, || "text.final_norm".to_owned(), &normed)?;
        }
        gpu.submit(&r.finish()?);
        Ok(())
    }

    /// Tokens whose keys and values are there.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.position
    }

    /// How many of them, from the first on, attend to one another in both directions.
    #[must_use]
    pub fn prefix(&self) -> usize {
        self.prefix
    }

    /// Makes room for `positions` tokens in all; what is there stays.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn grow(&mut self, model: &PaliGemma, positions: usize) -> Result<(), ModelError> {
        if positions <= self.capacity {
            return Ok(());
        }
        let mut larger = Self::new(model, positions, self.allowed)?;
        let mut r = model.gpu.recorder();
        for (from, to) in self
            .held
            .memory
            .caches
            .iter()
            .zip(&larger.held.memory.caches)
        {
            r.copy_cache(from, self.position, to);
        }
        model.gpu.submit(&r.finish()?);
        (larger.position, larger.prefix) = (self.position, self.prefix);
        *self = larger;
        Ok(())
    }

    /// Forgets what was read; the next tokens are the first.
    pub fn clear(&mut self) {
        self.stand_at(0, 0);
    }

    /// Puts keys and values of `positions` tokens in place of those that are there, layer by
    /// layer: two times `[kv_heads, positions, head_dim]`, as [`Session::read_caches`] reads them.
    /// `prefix` is what [`Session::prefix`] was then.
    ///
    /// # Errors
    /// Another number of layers or of values, more positions than there is room for.
    pub fn write_caches(
        &mut self,
        model: &PaliGemma,
        layers: &[[Vec<f32>; 2]],
        positions: usize,
        prefix: usize,
    ) -> Result<(), ModelError> {
        let text = &model.config.text;
        let per_head = positions.saturating_mul(text.head_dim);
        let wanted = per_head.saturating_mul(text.num_key_value_heads);
        let all_fit = |both: &[Vec<f32>; 2]| both.iter().all(|values| values.len() == wanted);
        let count = self.held.memory.caches.len();
        if layers.len() != count || !layers.iter().all(all_fit) || prefix > positions {
            return Err(ModelError::Cache {
                layers: count,
                numbers: wanted,
                positions,
            });
        }
        if positions > self.capacity {
            return Err(ModelError::PromptTooLong {
                tokens: positions,
                context: self.capacity,
            });
        }
        for (cache, [keys, values]) in self.held.memory.caches.iter().zip(layers) {
            model.gpu.write_cache(cache, [keys, values])?;
        }
        self.stand_at(positions, prefix);
        let span = [positions as u32, prefix as u32];
        Ok(model.gpu.write_indices(&self.held.memory.span, &span)?)
    }
}

impl PaliGemma {
    /// The final norm of some tokens of a pass, in any order: `[rows, hidden]`.
    ///
    /// # Errors
    /// Rows that there are not.
    pub fn final_norm(&self, of: &Residual, rows: &[usize]) -> Result<Tensor, ModelError> {
        let (gpu, hidden) = (&self.gpu, self.config.text.hidden_size);
        let kept = gpu.tensor("kept", rows.len(), hidden)?;
        let normed = gpu.tensor("kept, normed", rows.len(), hidden)?;
        let mut r = gpu.recorder();
        r.gather_rows(&of.0, rows, &kept);
        self.decoder.record_last_norm(&mut r, &kept, &normed);
        gpu.submit(&r.finish()?);
        Ok(normed)
    }

    /// The cross-entropy of rows after the final norm with the ids that follow them: `[rows]`.
    /// Their logits stay on the GPU.
    ///
    /// # Errors
    /// Ids outside the vocabulary, another number of them, or a GPU that fails.
    pub async fn cross_entropy(
        &self,
        normed: &Tensor,
        targets: &[u32],
    ) -> Result<Vec<f32>, ModelError> {
        let gpu = &self.gpu;
        let vocabulary = self.config.text.vocab_size;
        if let Some(&id) = targets.iter().find(|id| **id as usize >= vocabulary) {
            return Err(ModelError::TokenId { id, vocabulary });
        }
        let mut all = Vec::with_capacity(targets.len());
        let at_once = self.logit_rows();
        for (index, targets) in targets.chunks(at_once).enumerate() {
            let start = index * at_once;
            let rows = normed.slice_rows(start..start + targets.len())?;
            let logits = gpu.tensor("logits", rows.rows(), vocabulary)?;
            let losses = gpu.tensor("cross-entropy", 1, rows.rows())?;
            let ids = gpu.indices("targets", targets.len())?;
            gpu.write_indices(&ids, targets)?;
            let mut r = gpu.recorder();
            self.decoder.record_head(&mut r, &rows, &logits);
            r.cross_entropy(&logits, &ids, &losses);
            gpu.submit(&r.finish()?);
            all.extend(gpu.read_tensor(&losses).await?);
        }
        Ok(all)
    }

    /// Rows of logits that fit a binding and the memory set aside for them: whole blocks of eight,
    /// where a slice can begin.
    pub(crate) fn logit_rows(&self) -> usize {
        let row_bytes = (self.config.text.vocab_size.next_multiple_of(8) * 4) as u64;
        let most = self.gpu.info().max_binding_bytes.min(LOGITS_BYTES) / row_bytes;
        (most as usize / 8 * 8).max(8)
    }

    /// The vectors of ids as the decoder reads them, scaled by √hidden: `[ids, hidden]`.
    ///
    /// # Errors
    /// Ids outside the vocabulary, or a GPU that fails.
    pub async fn embed(&self, ids: &[u32]) -> Result<Vec<f32>, ModelError> {
        let (gpu, text) = (&self.gpu, &self.config.text);
        let vocabulary = text.vocab_size;
        if let Some(&id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(ModelError::TokenId { id, vocabulary });
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = gpu.tensor("embeddings", ids.len(), text.hidden_size)?;
        let tokens = gpu.indices("ids", ids.len())?;
        gpu.write_indices(&tokens, ids)?;
        let mut r = gpu.recorder();
        self.decoder.record_embedding(&mut r, &tokens, &rows);
        gpu.submit(&r.finish()?);
        Ok(gpu.read_tensor(&rows).await?)
    }

    /// For each image the rows of embeddings that its features take the places of.
    async fn places_in(
        &self,
        values: &[f32],
        images: &[ImageFeatures],
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let image = self.config.image_token_id;
        let hidden = self.config.text.hidden_size.max(1);
        let marked: Vec<u32> = if (image as usize) < self.config.text.vocab_size {
            let mark = self.embed(&[image]).await?;
            let rows = (0..).zip(values.chunks(hidden));
            rows.filter(|(_, row)| *row == mark)
                .map(|(index, _)| index)
                .collect()
        } else {
            Vec::new()
        };
        let features: usize = images.iter().map(|image| image.0.rows()).sum();
        if marked.len() != features {
            return Err(ModelError::ImagePlaces {
                places: marked.len(),
                features,
            });
        }
        let each = self.config.vision.num_patches();
        Ok(marked.chunks(each.max(1)).map(<[u32]>::to_vec).collect())
    }

    /// Reads features: `[image tokens, text hidden]`.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn read_features(&self, of: &ImageFeatures) -> Result<Vec<f32>, ModelError> {
        Ok(self.gpu.read_tensor(&of.0).await?)
    }

    /// Features that were read before, or made elsewhere, back on the GPU.
    ///
    /// # Errors
    /// Another number of values than `[image tokens, text hidden]`.
    pub fn features(&self, values: &[f32]) -> Result<ImageFeatures, ModelError> {
        let (patches, hidden) = (
            self.config.vision.num_patches(),
            self.config.text.hidden_size,
        );
        let wanted = patches * hidden;
        if values.len() != wanted {
            return Err(ModelError::Features {
                got: values.len(),
                wanted,
            });
        }
        let features = self.gpu.tensor("image features", patches, hidden)?;
        self.gpu.write(&features, 0, values)?;
        Ok(ImageFeatures(features))
    }

    /// What computes.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }
}
