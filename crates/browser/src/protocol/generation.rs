use serde::{Deserialize, Serialize};

/// How an answer's tokens are picked: as the engine's options of the same names say. Any option of
/// drawing turns drawing on; none of them is greedy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Logits are divided by this.
    pub temperature: Option<f32>,
    /// Draw from so many of the most probable tokens.
    pub top_k: Option<u32>,
    /// Draw from the fewest tokens whose probabilities sum to more than this.
    pub top_p: Option<f32>,
    /// Names the sequence of random numbers. (JavaScript's numbers would not hold 64 bits.)
    pub seed: Option<u32>,
    /// Hold the answer to the grammar of `detect` and `segment`.
    pub constrained: bool,
}
