//! Weights packed to every precision: their bytes, their errors, and what is
//! refused.

mod bytes;
mod floats;
mod int4;
mod q4;
mod q8;
mod refused;

use half::f16;
use paligemma_checkpoint::{Dtype, Packed, Precision, pack, unpack_row};

/// Around blocks and groups: 1, primes, one less and one more.
const COLUMNS: [usize; 13] = [1, 7, 8, 9, 31, 32, 33, 63, 65, 127, 128, 129, 300];

/// splitmix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 to below 1.
    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// Of mean 0 and deviation 1, nearly.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// A row whose groups differ in size by orders of magnitude.
    fn row(&mut self, columns: usize) -> Vec<f32> {
        let mut row = Vec::with_capacity(columns);
        while row.len() < columns {
            let size = 10_f64.powf(self.uniform() * 5.0 - 3.0);
            let shift = if self.below(3) == 0 { size } else { 0.0 };
            let run = (1 + self.below(40)).min(columns - row.len());
            row.extend((0..run).map(|_| (self.normal() * size + shift) as f32));
        }
        row
    }
}

fn bytes_f32(row: &[f32]) -> Vec<u8> {
    row.iter().flat_map(|weight| weight.to_le_bytes()).collect()
}

/// Packs one row of f32.
#[track_caller]
fn packed(to: Precision, row: &[f32]) -> Packed {
    let mut out = Packed::default();
    pack(to, Dtype::F32, row.len(), &bytes_f32(row), &mut out).unwrap();
    out
}

fn unpacked(from: Precision, columns: usize, row: &Packed) -> Vec<f32> {
    unpack_row(from, columns, &row.weights, &row.scales)
}

/// The 16-bit numbers of a scale plane.
fn halves(scales: &[u8]) -> Vec<f16> {
    let (halves, rest) = scales.as_chunks();
    assert!(rest.is_empty());
    halves
        .iter()
        .map(|bytes| f16::from_le_bytes(*bytes))
        .collect()
}

/// The codes of a row of nibbles, padding included.
fn nibbles(weights: &[u8]) -> Vec<u8> {
    let (blocks, rest) = weights.as_chunks::<4>();
    assert!(rest.is_empty());
    let low = |block: &[u8; 4]| block.map(|byte| byte & 15);
    let high = |block: &[u8; 4]| block.map(|byte| byte >> 4);
    blocks
        .iter()
        .flat_map(|block| [low(block), high(block)])
        .flatten()
        .collect()
}

fn squares(weights: impl IntoIterator<Item = f64>) -> f64 {
    weights.into_iter().map(|weight| weight * weight).sum()
}
