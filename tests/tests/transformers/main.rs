//! The model against Hugging Face transformers: every stage of every fixture, and generated ids
//! token for token.
//!
//! `tests/fixtures/*/expected` holds what transformers 5.23 computes in f32 with eager attention
//! from the same weights (`tests/oracle` makes them). The stored `pixel_values` are fed, so that
//! nothing but the model is compared.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::print_stdout,
    reason = "shown when a test fails, or on request"
)]

mod ahead;
mod expected;
mod generation;
mod lora;
mod losses;
mod maps;
mod masks;
mod passes;
mod picking;
mod quantized;
mod refused;
mod samples;
mod stages;
