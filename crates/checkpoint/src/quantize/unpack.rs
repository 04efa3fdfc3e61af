//! Packed rows back to numbers, plainly: what kernels are tested against.

use super::BLOCK;
use super::number::{bf16_to_f32, f16_to_f32};
use super::precision::Precision;

/// The weights of one packed row, `columns` of them, from its part of each
/// plane: the reference that every kernel agrees with.
///
/// # Panics
/// If the parts are not as long as [`Precision::layout`] says, or the group is
/// none that [`pack`](super::pack) accepts.
pub fn unpack_row(from: Precision, columns: usize, weights: &[u8], scales: &[u8]) -> Vec<f32> {
    let layout = from.layout(columns);
    assert_eq!(weights.len(), layout.weight_bytes, "weights of a row");
    assert_eq!(scales.len(), layout.scale_bytes, "scales of a row");
    let half =
        |bytes: &[u8], index: usize| u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]);
    let nibble = |column: usize| {
        let (block, place) = (column / BLOCK, column % BLOCK);
        let byte = weights[block * BLOCK / 2 + place % 4];
        f32::from(byte >> (place / 4 * 4) & 15) - 8.0
    };
    let weight = |column: usize| match from {
        Precision::F32 => {
            let bytes = weights[4 * column..].first_chunk();
            f32::from_le_bytes(*bytes.expect("an element has 4 bytes"))
        }
        Precision::F16 => f16_to_f32(half(weights, column)),
        Precision::BF16 => bf16_to_f32(half(weights, column)),
        Precision::Q8 { group } => {
            let scale = f16_to_f32(half(scales, column / group));
            f32::from(weights[column] as i8) * scale
        }
        Precision::Q4 { group } => nibble(column) * f16_to_f32(half(scales, column / group)),
        Precision::Int4 { group } => {
            let scale = f16_to_f32(half(scales, column / group * 2));
            nibble(column) * scale + f16_to_f32(half(scales, column / group * 2 + 1))
        }
    };
    (0..columns).map(weight).collect()
}
