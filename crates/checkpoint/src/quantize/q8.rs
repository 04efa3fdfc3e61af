//! Symmetric 8-bit codes.
//!
//! The scale is the smallest f16 that is not below `absmax / 127`, so that no
//! weight is clipped; the code is `weight / scale` rounded to nearest, ties to
//! even. Hence `|weight − code · scale| ≤ scale / 2`.

use super::BLOCK;
use super::number::{f16_not_below, f16_to_f32, magnitude, round_to_byte};

pub(super) fn pack_row(row: &[f32], group: usize, weights: &mut [u8], scales: &mut [u8]) {
    let groups = row.chunks(group).zip(weights.chunks_mut(group));
    for ((row, codes), stored) in groups.zip(scales.as_chunks_mut().0) {
        let half = f16_not_below(magnitude(row) / 127.0);
        *stored = half.to_le_bytes();
        let scale = f16_to_f32(half);
        if scale == 0.0 {
            codes.fill(0);
            continue;
        }
        let blocks = row.as_chunks::<BLOCK>().0.iter();
        for (block, codes) in blocks.zip(codes.as_chunks_mut::<BLOCK>().0) {
            *codes = block.map(|weight| round_to_byte(weight / scale));
        }
    }
}
