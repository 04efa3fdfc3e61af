use paligemma_checkpoint::{
    Checkpoint, Config, Family, PackedSource, Pieces, Source, expected_tensors,
};
use paligemma_gpu::{AdapterInfo, Gpu, GpuOptions, HostBytes};
use paligemma_model::{ImageFeatures, ModelError, ModelOptions, PaliGemma, Session, Taps};
use paligemma_processor::{Processor, detections};
use web_time::Instant;

use crate::answer::{Answer, CancelToken, Event, Stopped, Timings};
use crate::error::EngineError;
use crate::features::FeatureCache;
use crate::picture::Picture;

pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";
pub(crate) const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// How to open the GPU.
    pub gpu: GpuOptions,
    /// How to run the model.
    pub model: ModelOptions,
}

/// A loaded checkpoint, ready for prompts.
pub struct Engine {
    pub(crate) gpu: Gpu,
    pub(crate) model: PaliGemma,
    pub(crate) processor: Processor,
    info: ModelInfo,
    load_ms: f64,
    pub(crate) session: Option<Session>,
    features: FeatureCache,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// `PaliGemma` or `PaliGemma 2`.
    pub family: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the weights as stored.
    pub bytes: u64,
    /// Side of the square that the model sees, in pixels.
    pub image_size: usize,
    /// Tokens a picture takes.
    pub image_tokens: usize,
    /// Most tokens of images, prompt and answer together.
    pub context: usize,
}

/// A prompt about pictures.
pub struct RunRequest<'a> {
    /// In the order of the prompt's `<image>`s, or of their mention.
    pub pictures: &'a [Picture],
    /// What to do.
    pub prompt: Prompt<'a>,
    /// Most tokens to generate, the end token included.
    pub max_new_tokens: usize,
}

/// Text, or ids that someone else made.
#[derive(Clone)]
pub enum Prompt<'a> {
    /// As typed, e.g. `detect cat ; dog`; image tokens, `<bos>` and newline are added as
    /// transformers does it.
    Text(&'a str),
    /// Everything, image tokens included.
    Ids(&'a [u32]),
}

impl Engine {
    /// Opens the GPU and streams a model to it: a checkpoint as it is published or, where there is
    /// a `manifest.json`, a packed model.
    ///
    /// # Errors
    /// No usable GPU, a source that fails, a model that is damaged or not a PaliGemma, a packed
    /// model of another recipe than the one asked for.
    pub async fn load<S: Source>(
        source: S,
        options: &LoadOptions,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Self, EngineError> {
        if PackedSource::is_there(&source).await? {
            let packed = PackedSource::open(source).await?;
            return Self::load_packed(&packed, options, on_event).await;
        }
        let started = Instant::now();
        let gpu = Gpu::open(&options.gpu).await?;
        let checkpoint = Checkpoint::open(source).await?;
        let tokenizer = checkpoint.file(TOKENIZER_FILE).await?;
        let preprocessor = checkpoint.file(PREPROCESSOR_FILE).await?;
        let processor = processor(checkpoint.config(), tokenizer, preprocessor)?;
        let total_bytes = checkpoint.total_bytes();
        let mut progress = |loaded_bytes| {
            on_event(Event::Loading {
                loaded_bytes,
                total_bytes,
            });
        };
        progress(0);
        let model = PaliGemma::load(&gpu, &checkpoint, &options.model, &mut progress).await?;
        let info = ModelInfo::new(&checkpoint);
        Ok(Self::new(gpu, model, processor, info, started))
    }

    /// Opens the GPU and sends a packed model to it, wherever its pieces are kept.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub async fn load_packed<P: Pieces>(
        pieces: &P,
        options: &LoadOptions,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Self, EngineError>
    where
        P::Piece: HostBytes,
    {
        let started = Instant::now();
        let plan = &pieces.manifest().plan;
        if let Some(recipe) = options.model.recipe.as_ref().map(|recipe| recipe.name)
            && recipe != plan.recipe
        {
            return Err(EngineError::Recipe {
                packed: plan.recipe.clone(),
                asked: recipe,
            });
        }
        let gpu = Gpu::open(&options.gpu).await?;
        let config = Config::of_packed(pieces).await?;
        let tokenizer = pieces.file(TOKENIZER_FILE).await?;
        let preprocessor = pieces.file(PREPROCESSOR_FILE).await?;
        let processor = processor(&config, tokenizer, preprocessor)?;
        let total_bytes = plan.bytes;
        let mut progress = |loaded_bytes| {
            on_event(Event::Loading {
                loaded_bytes,
                total_bytes,
            });
        };
        progress(0);
        let model = PaliGemma::load_packed(&gpu, pieces, &options.model, &mut progress).await?;
        let info = ModelInfo {
            bytes: plan.bytes,
            ..ModelInfo::of_configuration(&config)
        };
        Ok(Self::new(gpu, model, processor, info, started))
    }

    fn new(
        gpu: Gpu,
        model: PaliGemma,
        processor: Processor,
        info: ModelInfo,
        started: Instant,
    ) -> Self {
        Self {
            gpu,
            model,
            processor,
            info,
            load_ms: milliseconds(started),
            session: None,
            features: FeatureCache::default(),
        }
    }

    /// What was loaded.
    #[must_use]
    pub fn model(&self) -> &ModelInfo {
        &self.info
    }

    /// The checkpoint's configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// The checkpoint's tokenizer and image processor.
    #[must_use]
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// What computes.
    #[must_use]
    pub fn adapter(&self) -> &AdapterInfo {
        self.gpu.info()
    }

    /// Milliseconds that loading took.
    #[must_use]
    pub fn load_ms(&self) -> f64 {
        self.load_ms
    }

    /// Something went wrong on the GPU that every later run would meet as well; load anew.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.gpu.check().is_err()
    }

    /// Answers a prompt, greedily. Pictures that were encoded before are not encoded again.
    ///
    /// In a browser this yields to the event loop at every token, so that a message can call
    /// [`CancelToken::cancel`].
    ///
    /// # Errors
    /// A prompt that does not fit the model, or a GPU that fails.
    pub async fn run(
        &mut self,
        request: &RunRequest<'_>,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Answer, EngineError> {
        let ids = self.input_ids(request)?;
        let context = self.info.context;
        if ids.len() > context {
            return Err(ModelError::PromptTooLong {
                tokens: ids.len(),
                context,
            }
            .into());
        }
        let mut timings = Timings {
            load_ms: self.load_ms,
            ..Timings::default()
        };
        let mut tokens = Vec::new();
        let mut stopped = Stopped::Length;

        let started = Instant::now();
        let mut features = Vec::with_capacity(request.pictures.len());
        for (index, picture) in request.pictures.iter().enumerate() {
            if cancel.is_cancelled() || request.max_new_tokens == 0 {
                break;
            }
            features.push(
                self.encode(picture, index, request.pictures.len(), on_event)
                    .await?,
            );
        }
        timings.vision_ms = milliseconds(started);

        if cancel.is_cancelled() {
            stopped = Stopped::Cancelled;
        } else if request.max_new_tokens > 0 {
            let started = Instant::now();
            on_event(Event::Prefill { tokens: ids.len() });
            // The last token is generated but never read, so it needs no position.
            let answer = request.max_new_tokens - 1;
            let positions = ids.len().saturating_add(answer).min(context);
            let mut session = self.session(positions)?;
            let first = session
                .prefill(&self.model, &ids, &features, &mut Taps::none())
                .await;
            timings.prefill_ms = milliseconds(started);

            let started = Instant::now();
            let outcome = match first {
                Ok(first) => {
                    self.decode(&mut session, first, request, cancel, &mut tokens, on_event)
                        .await
                }
                Err(error) => Err(error.into()),
            };
            timings.decode_ms = milliseconds(started);
            self.session = Some(session);
            stopped = outcome?;
        }

        let read = tokens.len() as f64 - if stopped == Stopped::Eos { 0.0 } else { 1.0 };
        if read > 0.0 && timings.decode_ms > 0.0 {
            timings.tokens_per_second = read * 1000.0 / timings.decode_ms;
        }
        let text = self.processor.decode(&tokens)?;
        let detections = self.detections(&text, request.pictures);
        on_event(Event::Done { timings });
        Ok(Answer {
            text,
            token_ids: tokens,
            stopped,
            detections,
            timings,
        })
    }

    async fn decode(
        &self,
        session: &mut Session,
        first: u32,
        request: &RunRequest<'_>,
        cancel: &CancelToken,
        tokens: &mut Vec<u32>,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Stopped, EngineError> {
        let mut next = first;
        for generated in 1.. {
            if self.config().eos_token_ids.contains(&next) {
                return Ok(Stopped::Eos);
            }
            tokens.push(next);
            let text = self.processor.decode_partial(tokens)?;
            let detections = self.detections(&text, request.pictures);
            on_event(Event::Token {
                id: next,
                text,
                detections,
                count: tokens.len(),
            });
            if cancel.is_cancelled() {
                return Ok(Stopped::Cancelled);
            }
            if generated >= request.max_new_tokens || session.room() == 0 {
                return Ok(Stopped::Length);
            }
            next = session.decode(&self.model).await?;
        }
        Ok(Stopped::Length)
    }

    pub(crate) fn input_ids(&self, request: &RunRequest<'_>) -> Result<Vec<u32>, EngineError> {
        let images = request.pictures.len();
        let prompt = match request.prompt {
            Prompt::Text(text) => self.processor.prompt(text, images)?,
            Prompt::Ids(ids) => self.processor.prompt_from_ids(ids, images)?,
        };
        Ok(prompt.input_ids)
    }

    pub(crate) async fn encode(
        &mut self,
        picture: &Picture,
        index: usize,
        of: usize,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<ImageFeatures, EngineError> {
        if let Some(kept) = self.features.get(picture) {
            return Ok(kept);
        }
        on_event(Event::EncodingImage { index, of });
        let pixel_values = self.processor.pixel_values(picture.decoded());
        let features = self
            .model
            .encode_image(&pixel_values, &mut Taps::none())
            .await?;
        self.features.insert(picture, features.clone());
        Ok(features)
    }

    /// The session of the last run if it is large enough, or a new one.
    pub(crate) fn session(&mut self, positions: usize) -> Result<Session, EngineError> {
        // Dropped before the new one is made: both at once might not fit.
        let kept = self
            .session
            .take()
            .filter(|kept| kept.capacity() >= positions);
        match kept {
            Some(kept) => Ok(kept),
            None => {
                let words = self.processor.tokenizer().vocab_size();
                Ok(Session::new(&self.model, positions, words)?)
            }
        }
    }

    fn detections(&self, text: &str, pictures: &[Picture]) -> Vec<paligemma_processor::Detection> {
        pictures.first().map_or_else(Vec::new, |picture| {
            detections(text, picture.width(), picture.height())
        })
    }
}

impl ModelInfo {
    pub(crate) fn new<S: Source>(checkpoint: &Checkpoint<S>) -> Self {
        Self {
            bytes: checkpoint.total_bytes(),
            ..Self::of_configuration(checkpoint.config())
        }
    }

    /// Of a configuration, as if the weights were stored in two bytes each.
    #[must_use]
    pub fn of_configuration(config: &Config) -> Self {
        let shapes = expected_tensors(config).into_iter();
        let parameters = shapes
            .map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>())
            .sum();
        Self {
            family: match config.text.family {
                Family::Gemma => "PaliGemma",
                Family::Gemma2 => "PaliGemma 2",
            },
            parameters,
            bytes: 2 * parameters,
            image_size: config.vision.image_size,
            image_tokens: config.vision.num_patches(),
            context: config.text.max_position_embeddings,
        }
    }
}

pub(crate) fn processor(
    config: &Config,
    tokenizer: Option<Vec<u8>>,
    preprocessor: Option<Vec<u8>>,
) -> Result<Processor, EngineError> {
    Ok(Processor::new(
        tokenizer.ok_or(EngineError::NoTokenizer)?,
        preprocessor.as_deref(),
        config.vision.image_size,
        config.vision.num_patches(),
        config.image_token_id,
    )?)
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
