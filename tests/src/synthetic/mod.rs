//! Checkpoints of the published sizes with made-up weights, the same bytes each time, computed when
//! they are read.

mod checkpoint;
mod numbers;
mod pieces;
mod shape;
#[cfg(test)]
mod tests;
pub mod tokenizer;
mod weights;

pub use checkpoint::{Options, Synthetic};
pub use shape::Shape;

/// splitmix64's step between two states.
pub(crate) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// splitmix64's output for a state before its step: 64 bits without visible order.
pub(crate) const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
