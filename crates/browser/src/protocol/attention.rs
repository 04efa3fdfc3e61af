//! Where the model looked.

use serde::{Deserialize, Serialize};

/// Which token of an answer, and what of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The prompt as it was run.
    pub prompt: String,
    /// The answer's ids.
    pub token_ids: Vec<u32>,
    /// Which of them, from 0.
    pub token: u32,
    /// One layer of the decoder, from 0; none: the mean of all.
    pub layer: Option<u32>,
    /// One head, from 0; none: the mean of all.
    pub head: Option<u32>,
}

/// Attention on the patches of the pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttentionMap {
    /// What each token of the answer adds to its text.
    pub tokens: Vec<String>,
    /// Layers of the decoder.
    pub layers: u32,
    /// Heads of a layer.
    pub heads: u32,
    /// Patches a side of a picture.
    pub side: u32,
    /// Of each picture.
    pub pictures: Vec<PictureHeat>,
}

/// Attention on one picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureHeat {
    /// The part of all attention that is on this picture, from 0 to 1.
    pub share: f32,
    /// Each patch, row by row, as a part of the most that any patch of any picture has: from 0 to
    /// 1, `[side, side]`.
    pub heat: Vec<f32>,
}
