//! LoRA adapters in PEFT's format, merged into the weights as they are read.
//!
//! An adapter is a folder with `adapter_config.json` and `adapter_model.safetensors`. For each
//! linear layer it changes it has two thin matrices, A `[rank, in]` and B `[out, rank]`, and the
//! layer's weights become `W + scale · B·A`, where `scale` is `alpha / rank`, or `alpha / √rank`
//! with rsLoRA.
//!
//! The sum is computed in f32 and rounded once to the type in which W is stored, which is what
//! `merge_and_unload` of PEFT does on a CPU: a checkpoint with an adapter is the checkpoint that
//! PEFT would have saved, and is packed, kept and run like any other. It is computed for the rows
//! that were read and for no others, so that no merged weight is ever whole.

mod adapter;
mod config;
mod merge;
mod names;
mod patterns;

pub use adapter::{AdapterOrigin, AdapterSummary, LoraAdapter};
pub(crate) use adapter::{Factors, Overlay};

/// What to do about an adapter that cannot be merged here.
pub(crate) const MERGE_FIRST: &str = "merge it into its base model with PEFT's merge_and_unload, \
                                      then use what save_pretrained writes";

/// The next step for an adapter and a checkpoint that do not belong together.
pub(crate) const OTHER_BASE: &str = "use the adapter with the checkpoint it was trained on";
