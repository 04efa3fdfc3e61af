use serde::{Deserialize, Serialize};

/// How an answer's tokens are picked: as the engine's options of the same names say, which also
/// checks them. Any option of drawing turns drawing on; none of anything is greedy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// An option of drawing: logits are divided by this.
    pub temperature: Option<f32>,
    /// An option of drawing: draw from so many of the most probable tokens.
    pub top_k: Option<u32>,
    /// An option of drawing: draw from the fewest tokens whose probabilities sum to more than this.
    pub top_p: Option<f32>,
    /// An option of drawing: names the sequence of random numbers. It travels in decimal digits, as
    /// JavaScript's numbers do not hold 64 bits.
    #[serde(with = "digits")]
    pub seed: Option<u64>,
    /// Makes tokens that were there before less probable, above 1.
    pub repetition_penalty: Option<f32>,
    /// Draw so many answers and keep the most probable.
    pub best_of: Option<u32>,
    /// Follow so many answers at once.
    pub num_beams: Option<u32>,
    /// Ids that end the answer, beside the model's own.
    pub stop_ids: Vec<u32>,
    /// Hold the answer to the grammar of `detect` and `segment`.
    pub constrained: bool,
    /// Of objects of one label that overlap by more than this (intersection over union), keep the
    /// one with the highest score.
    pub dedupe: Option<f32>,
}

/// 64 bits as text.
mod digits {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option)] // Serde's own form.
    pub(super) fn serialize<S: Serializer>(seed: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        seed.map(|seed| seed.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let digits = Option::<String>::deserialize(from)?;
        let read = |digits: String| digits.parse().map_err(D::Error::custom);
        digits.map(read).transpose()
    }
}
