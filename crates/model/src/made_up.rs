//! A model of any configuration without a checkpoint: weights made up on the GPU, and sessions
//! that stand somewhere without having read anything. For measurements; what it says is noise.

use paligemma_checkpoint::{Config, Dtype, Recipe, Storage, expected_tensors};
use paligemma_gpu::Gpu;

use crate::error::ModelError;
use crate::model::{ModelOptions, PaliGemma, check};
use crate::session::Session;
use crate::weights::Weights;

/// Bytes after which the GPU is waited for, so that progress is told as it is made.
const AT_ONCE: u64 = 256 << 20;

/// Noise of norms, biases and the position embedding: ±127 of this power of two.
const SMALL: i32 = -13;

impl PaliGemma {
    /// A model with made-up weights, as if they came from a checkpoint in bfloat16; `progress`
    /// hears the bytes so far, of [`made_up_bytes`].
    ///
    /// # Errors
    /// A GPU that is too small.
    pub async fn made_up(
        gpu: &Gpu,
        config: Config,
        options: &ModelOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, ModelError> {
        check(&config)?;
        let recipe = options.recipe.as_ref().unwrap_or(&Recipe::AS_STORED);
        let weights = Weights::made_up(gpu, &config, recipe, options, progress).await?;
        Self::assemble(gpu, config, weights, options).await
    }
}

/// Bytes of the weights of such a model.
#[must_use]
pub fn made_up_bytes(config: &Config, recipe: &Recipe) -> u64 {
    recipe.bytes(config, Dtype::BF16)
}

impl Weights {
    async fn made_up(
        gpu: &Gpu,
        config: &Config,
        recipe: &Recipe,
        options: &ModelOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, ModelError> {
        let tensors: Vec<(String, usize, usize, Storage)> = expected_tensors(config)
            .into_iter()
            .map(|(name, shape)| {
                let storage = recipe.storage(&name, &shape, Dtype::BF16);
                let (rows, columns) = extent(&shape);
                (name, rows, columns, storage)
            })
            .collect();
        let stored: Vec<_> = tensors
            .iter()
            .map(|(name, rows, columns, kept)| (name.as_str(), *rows, *columns, *kept))
            .collect();
        let weights = Self::allocate(gpu, &stored, options).await?;
        let mut names: Vec<&String> = weights.matrices.keys().collect();
        names.extend(weights.vectors.keys());
        names.sort_unstable();
        let (mut done, mut recorded) = (0, 0);
        let mut recorder = gpu.recorder();
        for (index, name) in names.iter().enumerate() {
            // Room for the seeds of a matrix's shards.
            let seed = (index as u32) << 16;
            if let Some(matrix) = weights.matrices.get(*name) {
                recorder.fill_matrix(matrix, seed);
                let (weights, scales) =
                    Storage::Matrix(matrix.precision()).row_bytes(matrix.columns());
                recorded += (matrix.rows() * (weights + scales)) as u64;
            } else if let Some(vector) = weights.vectors.get(*name) {
                recorder.fill_tensor(vector, seed, SMALL, offset(name));
                recorded += (vector.rows() * vector.columns() * 4) as u64;
            }
            if recorded >= AT_ONCE || index + 1 == names.len() {
                let filled = std::mem::replace(&mut recorder, gpu.recorder());
                gpu.submit(&filled.finish()?);
                gpu.finish().await?;
                done += std::mem::take(&mut recorded);
                progress(done);
            }
        }
        Ok(weights)
    }
}

/// Rows and columns, as `Checkpoint` counts them.
fn extent(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [columns] => (1, *columns),
        [rows, columns @ ..] => (*rows, columns.iter().product()),
    }
}

/// LayerNorm multiplies by its weight, RMSNorm by one more than that.
fn offset(name: &str) -> f32 {
    let layer_norm = name.starts_with("vision_tower.") && name.contains("norm");
    if layer_norm && name.ends_with(".weight") {
        1.0
    } else {
        0.0
    }
}

impl Session {
    /// Stands at `positions` without having read anything: keys and values are noise. The next
    /// step reads the token last picked.
    ///
    /// # Errors
    /// No room for one more position.
    pub fn assume(&mut self, model: &PaliGemma, positions: usize) -> Result<(), ModelError> {
        if positions >= self.capacity() {
            return Err(ModelError::PromptTooLong {
                tokens: positions + 1,
                context: self.capacity(),
            });
        }
        let gpu = model.gpu();
        let mut r = gpu.recorder();
        for (layer, cache) in self.held.memory.caches.iter().enumerate() {
            // Numbers around 1, as normed keys have; their bits are such of two 16-bit floats too.
            r.fill_tensor(&cache.keys, 2 * layer as u32, -6, 0.0);
            r.fill_tensor(&cache.values, 2 * layer as u32 + 1, -6, 0.0);
        }
        gpu.submit(&r.finish()?);
        self.stand(model, positions)
    }

    /// Has what was submitted to read a prefix of so many positions read it again when it is submitted again: it
    /// begins at the first.
    ///
    /// # Errors
    /// None that can be caused.
    pub fn stand_before(&mut self, model: &PaliGemma, prefix: usize) -> Result<(), ModelError> {
        let span = [0, prefix as u32];
        model.gpu().write_indices(&self.held.memory.span, &span)?;
        self.stand_at(0, prefix);
        Ok(())
    }

    /// Stands at `positions`, of keys and values that are there, as if all were a prefix.
    ///
    /// # Errors
    /// No room for one more position.
    pub fn stand(&mut self, model: &PaliGemma, positions: usize) -> Result<(), ModelError> {
        if positions >= self.capacity() {
            return Err(ModelError::PromptTooLong {
                tokens: positions + 1,
                context: self.capacity(),
            });
        }
        let span = [positions as u32, positions as u32];
        model.gpu().write_indices(&self.held.memory.span, &span)?;
        self.stand_at(positions, positions);
        Ok(())
    }
}
