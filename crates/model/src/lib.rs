//! SigLIP, projector, Gemma 1 and 2, KV cache, mask decoder: the forward pass and greedy generation
//! in terms of `gpu` functions. It reads like the paper and would not change if a kernel did.
//!
//! One implementation serves every checkpoint: precision is hidden in [`paligemma_gpu::Matrix`],
//! and Gemma 1 and 2 differ by configuration.

mod decoder;
mod error;
mod fit;
mod held;
mod kernels;
mod made_up;
mod mask_decoder;
mod model;
mod pass;
mod picking;
mod session;
mod sizes;
mod stack;
mod taps;
mod under_way;
mod vision;
mod weights;

pub use error::ModelError;
pub use fit::{Misfit, misfits};
pub use made_up::made_up_bytes;
pub use mask_decoder::{CODES, MASK_NUMBERS, MaskDecoder};
pub use model::{ImageFeatures, ModelOptions, PaliGemma};
pub use paligemma_gpu::{CachePrecision, Neighbours};
pub use pass::{Input, Pass, Residual};
pub use picking::{PickOne, Picking, Sampling, Scored, Steering};
pub use session::Session;
pub use sizes::WeightSizes;
pub use taps::{AttentionWeights, Layers, Taps};
