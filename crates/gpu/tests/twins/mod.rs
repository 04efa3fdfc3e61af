//! Plain Rust twins of the kernels in `shaders/`: one file a kernel, named as it is, written from
//! the model's definition and not from the WGSL. Numbers come in as f32, row after row without
//! padding, and are computed in f64.
//!
//! Where the sound error bound of a result needs more than the result (how large the terms of a
//! sum were, say), the twin returns that too.

// Each test program uses a part of these.
#![allow(dead_code)]

pub(crate) mod add;
pub(crate) mod argmax;
pub(crate) mod attention;
pub(crate) mod attention_weights;
pub(crate) mod conv;
pub(crate) mod conv_transposed;
pub(crate) mod cross_entropy;
pub(crate) mod digits;
pub(crate) mod draw;
pub(crate) mod embed;
pub(crate) mod fill;
pub(crate) mod fma_peak;
pub(crate) mod geglu;
pub(crate) mod layer_norm;
pub(crate) mod log_probs;
pub(crate) mod log_sum_exp;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod matvec;
pub(crate) mod patchify;
pub(crate) mod process_logits;
pub(crate) mod rms_norm;
pub(crate) mod scatter_rows;
pub(crate) mod soft_cap;
pub(crate) mod split_heads;
pub(crate) mod stream_copy;
pub(crate) mod top;
