use clap::Args as ClapArgs;
use paligemma_engine::{Generation, Sampling};

/// How the answer is generated; without any of these the most probable token is taken each time.
#[derive(ClapArgs)]
#[command(next_help_heading = "Generation")]
pub(crate) struct GenerationArgs {
    /// Draw tokens at random, after dividing logits by this: below 1 bolder, above 1 more various
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// Draw from the K most probable tokens only (ties are kept)
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Draw from the fewest tokens whose probabilities sum to more than P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Divide logits of ids that were there before by P if positive, else multiply; 1: none
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub(crate) repetition_penalty: f32,
    /// Draw at random, by the random numbers of this name: the same seed, the same answer [default
    /// when drawing: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Draw N answers and print the one with the highest summed log-probability
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) best_of: usize,
    /// Search with N beams, as big_vision does: no length penalty
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) num_beams: usize,
    /// End the answer at this id too; repeat it for several
    #[arg(long = "stop-id", value_name = "ID")]
    pub(crate) stop_ids: Vec<u32>,
    /// Hold the answer to `detect …` or `segment …` to its grammar: boxes, masks, labels of the
    /// prompt
    #[arg(long)]
    pub(crate) constrained: bool,
    /// Of objects of one label that overlap by more than IOU keep the one with the highest score
    #[arg(long, value_name = "IOU", allow_negative_numbers = true)]
    pub(crate) dedupe: Option<f32>,
}

impl GenerationArgs {
    /// As the engine takes it, which also checks it. Any option of drawing turns drawing on.
    pub(crate) fn options(&self) -> Generation {
        let draws = self.temperature.is_some()
            || self.top_k.is_some()
            || self.top_p.is_some()
            || self.seed.is_some();
        let plain = Sampling::default();
        Generation {
            sampling: draws.then(|| Sampling {
                temperature: self.temperature.unwrap_or(plain.temperature),
                top_k: self.top_k,
                top_p: self.top_p.unwrap_or(plain.top_p),
                seed: self.seed.unwrap_or(plain.seed),
            }),
            repetition_penalty: self.repetition_penalty,
            best_of: self.best_of,
            num_beams: self.num_beams,
            stop_ids: self.stop_ids.clone(),
            constrained: self.constrained,
            dedupe: self.dedupe,
        }
    }
}
