use std::cell::Cell;
use std::rc::Rc;

use paligemma_processor::{Detection, ProcessorWarning};
use serde::Serialize;

use crate::evidence::Evidence;

/// What happens while an engine works, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes of weights on the GPU so far.
    Loading {
        /// Bytes done.
        loaded_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// Something about the prompt or the checkpoint that is allowed and seldom meant, before
    /// anything is computed: what transformers' processor would write to its log.
    Warning {
        /// What: a sentence by `to_string`, a name for programs by [`ProcessorWarning::kind`].
        warning: ProcessorWarning,
    },
    /// The vision tower starts on a picture whose features are not kept from before.
    EncodingImage {
        /// Which of the request's pictures, from 0.
        index: usize,
        /// How many pictures the request has.
        of: usize,
    },
    /// Images and prompt are being read.
    Prefill {
        /// Tokens of both.
        tokens: usize,
    },
    /// A token was generated.
    Token {
        /// Its id.
        id: u32,
        /// The answer so far, whole characters only.
        text: String,
        /// The objects so far; a box is there as soon as its four coordinates are, a mask as soon as
        /// its sixteen codes are.
        detections: Vec<Detection>,
        /// How sure the model is of each, from 0 to 1.
        scores: Vec<f32>,
        /// Tokens so far.
        count: usize,
    },
    /// The run is over; its [`Answer`] is about to be returned.
    Done {
        /// How long it took.
        timings: Timings,
    },
}

/// A finished answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The text, location tokens included, special tokens not.
    pub text: String,
    /// Generated ids, without the end token.
    pub token_ids: Vec<u32>,
    /// Why generation ended.
    pub stopped: Stopped,
    /// The objects in `text`, in pixels of the first picture, with their masks.
    pub detections: Vec<Detection>,
    /// How sure the model is of each of them, from 0 to 1: see [`crate::Evidence::score`].
    pub scores: Vec<f32>,
    /// What the probabilities say about each of them; none of an object whose tokens are not to
    /// be told apart.
    #[serde(skip)]
    pub evidence: Vec<Option<Evidence>>,
    /// The logarithm of the probability of each generated token, of the end token too if it came:
    /// then there is one more than there are `token_ids`. They are the model's own probabilities,
    /// whatever sampling or a penalty made of them.
    pub logprobs: Vec<f32>,
    /// How long each stage took.
    pub timings: Timings,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// The model wrote its end token.
    Eos,
    /// `max_new_tokens` or the model's context was reached.
    Length,
    /// A [`CancelToken`] asked for it.
    Cancelled,
}

/// Wall-clock milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Loading the checkpoint, once.
    pub load_ms: f64,
    /// Encoding the pictures; 0 when their features were kept.
    pub vision_ms: f64,
    /// Reading images and prompt, up to the first token.
    pub prefill_ms: f64,
    /// Every later token.
    pub decode_ms: f64,
    /// Tokens per second of the decode stage; 0 when it had none.
    pub tokens_per_second: f64,
}

/// Asks a run to stop before its next token. Clones ask the same run.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Rc<Cell<bool>>);

impl CancelToken {
    /// Asks.
    pub fn cancel(&self) {
        self.0.set(true);
    }

    /// Someone asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.get()
    }
}
