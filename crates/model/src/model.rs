use futures_util::future;
use paligemma_checkpoint::{Checkpoint, Config, Pieces, Precision, Recipe, Source};
use paligemma_gpu::{CachePrecision, Gpu, HostBytes, Indices, Recorder, Tensor};

use crate::decoder::Decoder;
use crate::error::ModelError;
use crate::sizes::WeightSizes;
use crate::taps::Taps;
use crate::vision::VisionTower;
use crate::weights::Weights;

/// Numbers a head may have: the attention kernel holds no more.
const MAX_HEAD_DIM: usize = 256;

/// How to run a model.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// Gemma 2's sliding window in every other layer, as transformers does it. PaliGemma 2 was
    /// trained without; it matters only to answers past `sliding_window` positions.
    pub sliding_window: bool,
    /// Precision of each part's weights; none: as they are stored. A packed model has its own.
    pub recipe: Option<Recipe>,
    /// How keys and values of the decoder are kept; none: as 16-bit floats where the decoder's
    /// weights are quantized, else as 32-bit floats, with which everything is exact. Bytes take
    /// about half of 16-bit floats, and are felt a little.
    pub cache: Option<CachePrecision>,
}

impl ModelOptions {
    /// How keys and values are kept beside matrices of these precisions in the decoder's layers.
    #[must_use]
    pub fn cache_beside(&self, mut decoder: impl Iterator<Item = Precision>) -> CachePrecision {
        let exact =
            |precision| matches!(precision, Precision::F32 | Precision::F16 | Precision::BF16);
        self.cache.unwrap_or(match decoder.all(exact) {
            true => CachePrecision::F32,
            false => CachePrecision::F16,
        })
    }
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            sliding_window: true,
            recipe: None,
            cache: None,
        }
    }
}

/// A PaliGemma or PaliGemma 2 on the GPU.
pub struct PaliGemma {
    pub(crate) gpu: Gpu,
    pub(crate) config: Config,
    pub(crate) decoder: Decoder,
    vision: VisionTower,
    everything: Indices, // the span of a picture: [0, patches]
    sizes: WeightSizes,
}

/// A picture as the decoder sees it: `[image tokens, text hidden]`, on the GPU. The same features
/// serve any prompt.
#[derive(Clone)]
pub struct ImageFeatures(pub(crate) Tensor);

impl PaliGemma {
    /// Streams a checkpoint to the GPU; `progress` hears the bytes so far, of
    /// [`Checkpoint::total_bytes`].
    ///
    /// # Errors
    /// A source that fails, a checkpoint that is damaged, a GPU that is too small.
    pub async fn load<S: Source>(
        gpu: &Gpu,
        checkpoint: &Checkpoint<S>,
        options: &ModelOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, ModelError> {
        let config = checkpoint.config().clone();
        check(&config)?;
        let weights = Weights::for_checkpoint(gpu, checkpoint, options).await?;
        let model = Self::assemble(gpu, config, weights.clone(), options).await?;
        let uploaded = weights.upload_slices(gpu, checkpoint, progress);
        model.prepare_beside(uploaded).await?;
        Ok(model)
    }

    /// Sends a packed model to the GPU; `progress` hears the bytes so far, of those of its pieces.
    ///
    /// # Errors
    /// A piece that is missing or damaged, a GPU that is too small.
    pub async fn load_packed<P: Pieces>(
        gpu: &Gpu,
        pieces: &P,
        options: &ModelOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, ModelError>
    where
        P::Piece: HostBytes,
    {
        let config = Config::of_packed(pieces).await?;
        check(&config)?;
        let weights = Weights::for_pieces(gpu, pieces, options).await?;
        let model = Self::assemble(gpu, config, weights.clone(), options).await?;
        let uploaded = weights.upload_pieces(gpu, pieces, progress);
        model.prepare_beside(uploaded).await?;
        Ok(model)
    }

    /// Has the kernels compiled meanwhile that the first question will need.
    async fn prepare_beside(
        &self,
        uploaded: impl Future<Output = Result<(), ModelError>>,
    ) -> Result<(), ModelError> {
        // In this order: natively an upload is through when it is first polled.
        let prepared = self.gpu.prepare(self.kernels());
        let (_, uploaded) = future::join(prepared, uploaded).await;
        uploaded
    }

    pub(crate) async fn assemble(
        gpu: &Gpu,
        config: Config,
        mut weights: Weights,
        options: &ModelOptions,
    ) -> Result<Self, ModelError> {
        let sizes = weights.sizes;
        let vision = VisionTower::new(&config.vision, &mut weights)?;
        let (windows, cache) = (options.sliding_window, weights.cache);
        let decoder = Decoder::new(&config.text, windows, cache, &mut weights)?;
        let everything = gpu.indices("span of a picture", 2)?;
        gpu.write_indices(&everything, &[0, config.vision.num_patches() as u32])?;
        gpu.finish().await?;
        Ok(Self {
            gpu: gpu.clone(),
            config,
            decoder,
            vision,
            everything,
            sizes,
        })
    }

    /// The checkpoint's configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of the weights on the GPU, by part.
    #[must_use]
    pub fn sizes(&self) -> &WeightSizes {
        &self.sizes
    }

    /// How the decoder's keys and values are kept.
    #[must_use]
    pub fn cache_precision(&self) -> CachePrecision {
        self.decoder.cache
    }

    /// Encodes one picture. `pixel_values` is `[3, image_size, image_size]` in \[-1, 1\].
    ///
    /// # Errors
    /// Another number of values, or a GPU that fails.
    pub async fn encode_image(
        &self,
        pixel_values: &[f32],
        taps: &mut Taps,
    ) -> Result<ImageFeatures, ModelError> {
        let vision = &self.config.vision;
        let wanted = vision.num_channels * vision.image_size * vision.image_size;
        if pixel_values.len() != wanted {
            return Err(ModelError::Pixels {
                got: pixel_values.len(),
                wanted,
            });
        }
        let (pixels, features, recorder) = self.record_picture(taps)?;
        self.gpu.write(&pixels, 0, pixel_values)?;
        self.gpu.compute(&recorder.finish()?).await?;
        Ok(features)
    }

    /// The way from pixel values to features.
    pub(crate) fn record_picture(
        &self,
        taps: &mut Taps,
    ) -> Result<(Tensor, ImageFeatures, Recorder), ModelError> {
        let (gpu, vision) = (&self.gpu, &self.config.vision);
        let area = vision.image_size * vision.image_size;
        let pixels = gpu.tensor_with_stride("pixels", vision.num_channels, area, area)?;
        let hidden = self.config.text.hidden_size;
        let features = gpu.tensor("image features", vision.num_patches(), hidden)?;
        let mut r = gpu.recorder();
        let span = &self.everything;
        self.vision
            .record(gpu, &mut r, &pixels, span, &features, taps)?;
        Ok((pixels, ImageFeatures(features), r))
    }
}

/// Whether there are kernels for this configuration.
pub(crate) fn check(config: &Config) -> Result<(), ModelError> {
    for (field, value) in [
        ("text_config.head_dim", config.text.head_dim),
        ("vision_config head size", config.vision.head_dim()),
    ] {
        if value > MAX_HEAD_DIM || !value.is_multiple_of(2) {
            return Err(ModelError::Unsupported {
                field,
                value,
                supported: "even head sizes up to 256",
            });
        }
    }
    Ok(())
}
