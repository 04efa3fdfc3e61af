//! Checkpoints of every layout, in one file and in shards, sound and broken.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod bad_config;
mod bad_index;
mod bad_weights;
mod config;
mod lora;
mod masks;
mod names;
mod open;
mod packed;
mod quantize;
mod recipes;
mod slices;
mod sources;
mod support;
