//! How fast a model is on this adapter, and how near that is to what the adapter can do.

mod answers;
mod decode;
mod picking;
mod profile;
mod report;
mod roofline;
mod text;

use std::collections::BTreeMap;

use paligemma_checkpoint::{Config, Published, Recipe};
use paligemma_gpu::{Choice, Gpu, GpuOptions, Tuned};
use paligemma_model::{CachePrecision, ModelOptions, PaliGemma, Session, Taps, made_up_bytes};
use thiserror::Error;
use web_time::Instant;

pub use report::{
    Adapter, BenchReport, Decode, Kernel, LimitFigures, Spread, Stage, StageProfile, Subject, Tried,
};
pub use text::Line;

use crate::answer::CancelToken;
use crate::engine::{Engine, ModelInfo, milliseconds};
use crate::error::EngineError;

/// Positions at which decoding is measured unless others are asked for.
const POSITIONS: [usize; 3] = [300, 1000, 4000];
/// Tokens of the prompt beside the picture's.
const PROMPT: usize = 8;

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Runs of each stage, after one that is not counted.
    pub runs: usize,
    /// Tokens of a run of decoding.
    pub tokens: usize,
    /// Positions at which decoding begins; none: 300, 1,000 and 4,000, those that the model has.
    pub positions: Option<Vec<usize>>,
    /// Time single kernels too: by timestamps if the GPU was opened with them, or by repeating each.
    pub profile: bool,
    /// Measure first which kernels suit the adapter, and use them from then on.
    pub tune: bool,
    /// Answer for two seconds or more at the end, untimed, so that the caller can watch meanwhile how
    /// smooth something else stays. Whoever stops there has the report all the same.
    pub answers: bool,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            runs: 5,
            tokens: 32,
            positions: None,
            profile: false,
            tune: false,
            answers: false,
        }
    }
}

/// Why nothing was measured.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BenchError {
    /// No runs, or runs of no tokens.
    #[error("{0} is zero, and nothing would be measured; choose at least 1")]
    Nothing(&'static str),
    /// A position that the model does not have.
    #[error(
        "position {position} and {tokens} tokens after it are more than the {context} that the \
         model has; choose an earlier one, or fewer tokens"
    )]
    Beyond {
        /// The position.
        position: usize,
        /// Tokens of a run.
        tokens: usize,
        /// The model's positions.
        context: usize,
    },
    /// Someone asked to stop.
    #[error("the measurement was stopped")]
    Cancelled,
}

/// How far a measurement is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchProgress {
    /// What is being measured.
    pub stage: String,
    /// Stages before it.
    pub done: usize,
    /// Stages in all.
    pub of: usize,
    /// From here on, up to the end, are [answers](BenchOptions::answers).
    pub answering: bool,
}

/// A model with made-up weights, to be measured.
pub struct Bench {
    gpu: Gpu,
    model: PaliGemma,
    subject: Subject,
    load_ms: f64,
}

impl Bench {
    /// Opens the GPU and makes a model of a published shape up on it: no file is needed.
    /// `progress` hears the bytes so far and those in all. With `layers`, each tower has at most
    /// so many; `cache` is as in [`ModelOptions`].
    ///
    /// # Errors
    /// No usable GPU, a GPU that is too small, no layers.
    pub async fn made_up(
        shape: Published,
        layers: Option<usize>,
        recipe: &Recipe,
        cache: Option<CachePrecision>,
        gpu: &GpuOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, EngineError> {
        let config = shape.config(layers)?;
        let in_full = layers_of(&shape.config(None)?);
        let mut bench =
            Self::of_config(&shape.name(), config, recipe, cache, gpu, progress).await?;
        let some = bench.subject.layers != in_full;
        bench.subject.layers_in_full = some.then_some(in_full);
        Ok(bench)
    }

    /// As [`Bench::made_up`], of any configuration.
    ///
    /// # Errors
    /// No usable GPU, or one that is too small.
    pub async fn of_config(
        name: &str,
        config: Config,
        recipe: &Recipe,
        cache: Option<CachePrecision>,
        gpu: &GpuOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, EngineError> {
        let started = Instant::now();
        let gpu = Gpu::open_tuned(gpu).await?;
        let options = ModelOptions {
            recipe: Some(recipe.clone()),
            cache,
            ..ModelOptions::default()
        };
        let total = made_up_bytes(&config, recipe);
        let mut on_bytes = |bytes| progress(bytes, total);
        let model = PaliGemma::made_up(&gpu, config, &options, &mut on_bytes).await?;
        let mut subject = Subject::new(name.to_owned(), &model);
        subject.made_up = true;
        subject.recipe = Some(recipe.name.to_owned());
        Ok(Self {
            gpu,
            model,
            subject,
            load_ms: milliseconds(started),
        })
    }

    /// The kernels in force, and where they come from.
    #[must_use]
    pub fn choice(&self) -> Choice {
        self.gpu.choice()
    }

    /// What was measured of the adapter, as [`Engine::tuned`] tells it.
    #[must_use]
    pub fn tuned(&self) -> Option<Tuned> {
        self.gpu.measured()
    }

    /// Measures. `conditions` go into the report as they are.
    ///
    /// # Errors
    /// [`BenchError`], or a GPU that fails.
    pub async fn run(
        &self,
        options: &BenchOptions,
        conditions: BTreeMap<String, String>,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(BenchProgress),
    ) -> Result<BenchReport, EngineError> {
        let run = Run {
            gpu: &self.gpu,
            model: &self.model,
            options,
            cancel,
        };
        let subject = self.subject.clone();
        run.report(subject, self.load_ms, conditions, progress)
            .await
    }
}

impl Engine {
    /// Measures the loaded model, which the report calls `name`; `conditions` go into it as they
    /// are.
    ///
    /// # Errors
    /// [`BenchError`], or a GPU that fails.
    pub async fn bench(
        &mut self,
        name: &str,
        options: &BenchOptions,
        conditions: BTreeMap<String, String>,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(BenchProgress),
    ) -> Result<BenchReport, EngineError> {
        // Its keys and values might leave no room for others.
        self.session = None;
        let run = Run {
            gpu: &self.gpu,
            model: &self.model,
            options,
            cancel,
        };
        let subject = Subject::new(name.to_owned(), &self.model);
        run.report(subject, self.load_ms(), conditions, progress)
            .await
    }
}

impl Subject {
    fn new(name: String, model: &PaliGemma) -> Self {
        let parts = ["decoder", "vocabulary", "vision"].iter();
        let parts = parts.zip(model.sizes().precisions);
        let precision: Vec<String> = parts
            .filter_map(|(part, precision)| Some(format!("{part} {}", precision?)))
            .collect();
        let info = ModelInfo::of_configuration(model.config());
        Self {
            name,
            family: info.family.to_owned(),
            recipe: None,
            precision: precision.join(", "),
            cache: model.cache_precision().to_string(),
            made_up: false,
            parameters: info.parameters,
            weight_bytes: model.sizes().total(),
            image_size: info.image_size,
            layers: layers_of(model.config()),
            layers_in_full: None,
        }
    }
}

fn layers_of(config: &Config) -> [usize; 2] {
    [
        config.vision.num_hidden_layers,
        config.text.num_hidden_layers,
    ]
}

/// One measurement.
struct Run<'r> {
    gpu: &'r Gpu,
    model: &'r PaliGemma,
    options: &'r BenchOptions,
    cancel: &'r CancelToken,
}

impl Run<'_> {
    async fn report(
        &self,
        model: Subject,
        load_ms: f64,
        conditions: BTreeMap<String, String>,
        progress: &mut dyn FnMut(BenchProgress),
    ) -> Result<BenchReport, EngineError> {
        let positions = self.positions()?;
        let profiled = self.options.profile;
        let tune = usize::from(self.options.tune);
        let profiles = if profiled { 2 + positions.len() } else { 0 };
        let answers = usize::from(self.options.answers);
        let of = 2 + positions.len() + profiles + tune + answers;
        let mut done = 0;
        let mut next = |stage: String| {
            progress(BenchProgress {
                stage,
                done,
                of,
                answering: answers > 0 && done + 1 == of,
            });
            done += 1;
        };

        if self.options.tune {
            next("which kernels suit it".to_owned());
            self.gpu.retune().await;
            self.go_on()?;
        }
        next("the adapter's limits".to_owned());
        let limits = self.gpu.measure_limits().await?;
        let limits = LimitFigures {
            copy_gb_per_second: limits.copy_bytes_per_second / 1e9,
            f32_gflop_per_second: 2.0 * limits.multiply_adds_per_second / 1e9,
        };
        self.go_on()?;

        next("picture and prompt".to_owned());
        let first = self.first_tokens(&limits).await?;

        let mut decode = Vec::with_capacity(positions.len());
        for &position in &positions {
            next(format!("tokens after {position}"));
            decode.push(self.decode(position, &limits).await?);
        }
        let mut profile = None;
        if profiled {
            profile = Some(self.profile(&positions, &mut next).await?);
        }
        if self.options.answers {
            next("answers".to_owned());
            match self.answers().await {
                // What was measured before stays.
                Ok(()) | Err(EngineError::Bench(BenchError::Cancelled)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(BenchReport {
            conditions,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            adapter: Adapter::new(self.gpu.info(), self.gpu.kernels()),
            tried: Tried::of(&self.gpu.choice()),
            model,
            limits,
            runs: self.options.runs,
            load_ms,
            vision: first.vision,
            prefill: first.prefill,
            first_token_ms: first.both,
            first_token_share_of_f32_peak: limits.share([first.vision, first.prefill], first.both),
            decode,
            profile: profile.map(|stages| StageProfile::held_against(stages, &limits)),
        })
    }

    /// Where decoding is measured.
    fn positions(&self) -> Result<Vec<usize>, BenchError> {
        let (runs, tokens) = (self.options.runs, self.options.tokens);
        if runs == 0 {
            return Err(BenchError::Nothing("the number of runs"));
        }
        if tokens == 0 {
            return Err(BenchError::Nothing("the number of tokens"));
        }
        let context = self.model.config().text.max_position_embeddings;
        let fits = |position: usize| position.saturating_add(tokens) <= context;
        let Some(asked) = &self.options.positions else {
            return Ok(POSITIONS.into_iter().filter(|&p| fits(p)).collect());
        };
        match asked.iter().find(|&&position| !fits(position)) {
            Some(&position) => Err(BenchError::Beyond {
                position,
                tokens,
                context,
            }),
            None => Ok(asked.clone()),
        }
    }

    fn go_on(&self) -> Result<(), BenchError> {
        if self.cancel.is_cancelled() {
            return Err(BenchError::Cancelled);
        }
        Ok(())
    }

    /// A picture and a prompt, from pixels to the first token.
    async fn first_tokens(&self, limits: &LimitFigures) -> Result<FirstTokens, EngineError> {
        let config = self.model.config();
        let (pixels, ids) = inputs(config);
        let mut session = Session::new(self.model, ids.len() + 1, usize::MAX)?;
        let (mut vision, mut prefill) = (Vec::new(), Vec::new());
        // One more, the first, which compiles.
        for _ in 0..=self.options.runs {
            self.go_on()?;
            let started = Instant::now();
            let features = self.model.encode_image(&pixels, &mut Taps::none()).await?;
            vision.push(milliseconds(started));
            let started = Instant::now();
            session
                .prefill(self.model, &ids, &[features], &mut Taps::none())
                .await?;
            prefill.push(milliseconds(started));
        }
        let both: Vec<f64> = vision.iter().zip(&prefill).map(|(a, b)| a + b).collect();
        let stage = |rows, ms: &[f64], multiply_adds| {
            Stage::new(rows, ms[0], Spread::of(&ms[1..]), multiply_adds, limits)
        };
        let patches = config.vision.num_patches();
        Ok(FirstTokens {
            vision: stage(patches, &vision, roofline::vision(config)),
            prefill: stage(ids.len(), &prefill, roofline::prefill(config, ids.len())),
            both: Spread::of(&both[1..]),
        })
    }
}

struct FirstTokens {
    vision: Stage,
    prefill: Stage,
    both: Spread,
}

/// A picture of noise, and a prompt about it.
fn inputs(config: &Config) -> (Vec<f32>, Vec<u32>) {
    let vision = &config.vision;
    let count = vision.num_channels * vision.image_size * vision.image_size;
    // Evenly spread, and the same everywhere.
    let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_769) >> 8) as f32 / 8_388_608.0 - 1.0;
    let pixels = (0..count).map(noise).collect();
    let mut ids = vec![config.image_token_id; vision.num_patches()];
    ids.push(config.bos_token_id);
    ids.extend((3..).take(PROMPT - 1));
    (pixels, ids)
}
