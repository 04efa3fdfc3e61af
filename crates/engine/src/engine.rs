use paligemma_checkpoint::{
    Checkpoint, Config, Family, LoraAdapter, PackedSource, Pieces, Source, expected_tensors,
};
use paligemma_gpu::{AdapterInfo, Choice, Gpu, GpuOptions, HostBytes, Tuned};
use paligemma_model::{ImageFeatures, ModelError, ModelOptions, PaliGemma, Session, Taps};
use paligemma_processor::Processor;
use web_time::Instant;

use crate::answer::{Answer, CancelToken, Event, Stopped, Timings};
use crate::error::EngineError;
use crate::features::FeatureCache;
use crate::generation::Generation;
use crate::masks::{self, MaskFile, Masks};
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
    /// The mask decoder to use, whether or not one lies beside the model. Without either, answers
    /// have boxes and no masks.
    pub mask_decoder: Option<MaskFile>,
}

/// A loaded checkpoint, ready for prompts.
pub struct Engine {
    pub(crate) gpu: Gpu,
    pub(crate) model: PaliGemma,
    pub(crate) processor: Processor,
    pub(crate) masks: Masks,
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
        Self::load_adapted(source, None, options, on_event).await
    }

    /// As [`Engine::load`], with a LoRA adapter merged into the weights on their way.
    ///
    /// # Errors
    /// As [`Engine::load`]; also if the model is packed, or the adapter is for another one.
    pub async fn load_adapted<S: Source>(
        source: S,
        adapter: Option<LoraAdapter<S>>,
        options: &LoadOptions,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Self, EngineError> {
        if PackedSource::is_there(&source).await? {
            if adapter.is_some() {
                return Err(EngineError::AdapterForPacked);
            }
            let packed = PackedSource::open(source).await?;
            return Self::load_packed(&packed, options, on_event).await;
        }
        let started = Instant::now();
        let gpu = Gpu::open_tuned(&options.gpu).await?;
        let checkpoint = Checkpoint::open(source).await?;
        let checkpoint = match adapter {
            Some(adapter) => checkpoint.with_adapter(adapter)?,
            None => checkpoint,
        };
        let tokenizer = checkpoint.file(TOKENIZER_FILE).await?;
        let preprocessor = checkpoint.file(PREPROCESSOR_FILE).await?;
        let processor = processor(checkpoint.config(), tokenizer, preprocessor)?;
        // Before the weights: it is quick to refuse, and they are not quick to load.
        let masks = masks::beside_checkpoint(&checkpoint, options).await?;
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
        let masks = Masks::new(&gpu, masks.as_ref()).await?;
        Ok(Self::new(gpu, model, processor, masks, info, started))
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
        let gpu = Gpu::open_tuned(&options.gpu).await?;
        let config = Config::of_packed(pieces).await?;
        let tokenizer = pieces.file(TOKENIZER_FILE).await?;
        let preprocessor = pieces.file(PREPROCESSOR_FILE).await?;
        let processor = processor(&config, tokenizer, preprocessor)?;
        let masks = masks::beside_pieces(pieces, options).await?;
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
        let masks = Masks::new(&gpu, masks.as_ref()).await?;
        Ok(Self::new(gpu, model, processor, masks, info, started))
    }

    fn new(
        gpu: Gpu,
        model: PaliGemma,
        processor: Processor,
        masks: Masks,
        info: ModelInfo,
        started: Instant,
    ) -> Self {
        Self {
            gpu,
            model,
            processor,
            masks,
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

    /// The kernels in force, and where they come from.
    #[must_use]
    pub fn choice(&self) -> Choice {
        self.gpu.choice()
    }

    /// What was measured of the adapter by this engine, if anything was: to keep, and to give to
    /// later ones in [`GpuOptions::tuning`].
    #[must_use]
    pub fn tuned(&self) -> Option<Tuned> {
        self.gpu.measured()
    }

    /// Milliseconds that loading took.
    #[must_use]
    pub fn load_ms(&self) -> f64 {
        self.load_ms
    }

    /// Programs that were encoded beneath wgpu's tracking, each time counted, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn replayed(&self) -> u64 {
        self.gpu.replayed()
    }

    /// Buffers and bind groups that were made, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.gpu.allocations()
    }

    /// Waits until the kernels of this model are compiled that were asked for while it loaded, for tests;
    /// shaders of those that nobody has needed yet.
    #[cfg(not(target_arch = "wasm32"))]
    #[doc(hidden)]
    #[must_use]
    pub fn finish_preparing(&self) -> Vec<&'static str> {
        self.gpu.finish_preparing()
    }

    /// Shaders of the kernels that were compiled when they were needed, not ahead, for tests.
    #[cfg(not(target_arch = "wasm32"))]
    #[doc(hidden)]
    #[must_use]
    pub fn compiled_late(&self) -> Vec<&'static str> {
        self.gpu.compiled_late()
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
        let greedy = Generation::default();
        self.generate(request, &greedy, cancel, on_event).await
    }

    /// Answers a prompt as [`Engine::run`] does, with tokens picked as `generation` says.
    ///
    /// The text and objects of events are those of the answer that is being written, of several
    /// beams those of the best; the returned answer may be another.
    ///
    /// # Errors
    /// As [`Engine::run`]; and options out of their range or that do not go together.
    pub async fn generate(
        &mut self,
        request: &RunRequest<'_>,
        generation: &Generation,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Answer, EngineError> {
        let ids = self.input_ids(request)?;
        let mut guide = self.guide(request, generation, &ids)?;
        let context = self.info.context;
        if ids.len() > context {
            return Err(ModelError::PromptTooLong {
                tokens: ids.len(),
                context,
            }
            .into());
        }
        let processor = &self.processor;
        let warnings = match request.prompt {
            Prompt::Text(text) => processor.warnings_of(text),
            Prompt::Ids(_) => processor.warnings().to_vec(),
        };
        for warning in warnings {
            on_event(Event::Warning { warning });
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
            session.pick(&self.model, guide.picking())?;
            guide.steer(&self.model, &session, 0..1)?;
            let first = session
                .prefill(&self.model, &ids, &features, &mut Taps::none())
                .await;
            timings.prefill_ms = milliseconds(started);

            let started = Instant::now();
            let outcome = match first {
                Ok(_) => {
                    self.answer(&mut session, &mut guide, request, cancel, on_event)
                        .await
                }
                Err(error) => Err(error.into()),
            };
            timings.decode_ms = milliseconds(started);
            self.session = Some(session);
            (tokens, stopped) = outcome?;
        }

        if guide.read > 0 && timings.decode_ms > 0.0 {
            timings.tokens_per_second = guide.read as f64 * 1000.0 / timings.decode_ms;
        }
        let logprobs = tokens.iter().map(|token| token.log_prob).collect();
        if stopped == Stopped::Eos {
            tokens.pop();
        }
        let token_ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let text = self.processor.decode(&token_ids)?;
        let found = self
            .found(&text, &tokens, request.pictures, generation)
            .await?;
        on_event(Event::Done { timings });
        Ok(Answer {
            text,
            token_ids,
            stopped,
            scores: found.scores(),
            detections: found.detections,
            evidence: found.evidence,
            logprobs,
            timings,
        })
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
