//! torchao's int4 weight-only quantization: asymmetric, with a zero point that
//! is a float (`pytorch/ao`, `torchao/quantization/quant_primitives.py`, the
//! functions named `tinygemm`).

use super::error::QuantizeError;
use super::number::{f32_to_f16, range, round_to_byte};
use super::precision::Precision;
use super::q4::pack_nibbles;
use super::{BLOCK, check_row};

/// What torchao keeps a scale from falling below.
const SMALLEST_SCALE: f32 = 1e-6;

/// A row quantized, its parameters not yet rounded for storage.
#[derive(Clone, PartialEq, Debug)]
pub struct Int4Row {
    /// A code from 0 to 15 a weight.
    pub codes: Vec<u8>,
    /// A scale a group.
    pub scales: Vec<f32>,
    /// The value of code 8, a group.
    pub zeros: Vec<f32>,
}

impl Int4Row {
    /// The weights that the codes stand for: `(code − 8) · scale + zero`.
    pub fn dequantize(&self) -> Vec<f32> {
        let group = self.codes.len() / self.scales.len().max(1);
        let groups = self.codes.chunks(group.max(1));
        let parameters = self.scales.iter().zip(&self.zeros);
        groups
            .zip(parameters)
            .flat_map(|(codes, (scale, zero))| {
                codes
                    .iter()
                    .map(move |&code| (f32::from(code) - 8.0) * scale + zero)
            })
            .collect()
    }
}

/// Quantizes one row with f32 parameters: what the packed form is before they
/// are rounded to f16, to be held against other implementations.
///
/// # Errors
/// As [`pack`](super::pack) to [`Precision::Int4`].
pub fn int4_row(weights: &[f32], group: usize) -> Result<Int4Row, QuantizeError> {
    let precision = Precision::Int4 { group };
    precision.check(weights.len())?;
    check_row(precision, weights)?;
    let mut row = Int4Row {
        codes: Vec::with_capacity(weights.len()),
        scales: Vec::new(),
        zeros: Vec::new(),
    };
    for weights in weights.chunks(group) {
        let (scale, zero) = parameters(weights.as_chunks().0);
        let code = coder(scale, zero);
        row.codes
            .extend(weights.iter().map(|&weight| round_to_byte(code(weight))));
        row.scales.push(scale);
        row.zeros.push(zero);
    }
    Ok(row)
}

/// Codes come from the f32 parameters, which are then rounded: so torchao does
/// when it stores them in fewer bits.
pub(super) fn pack_row(row: &[f32], group: usize, weights: &mut [u8], scales: &mut [u8]) {
    let groups = row.chunks(group).zip(weights.chunks_mut(group / 2));
    for ((row, nibbles), [stored_scale, stored_zero]) in
        groups.zip(scales.as_chunks_mut::<2>().0.as_chunks_mut().0)
    {
        let blocks = row.as_chunks().0;
        let (scale, zero) = parameters(blocks);
        *stored_scale = f32_to_f16(scale).to_le_bytes();
        *stored_zero = f32_to_f16(zero).to_le_bytes();
        let code = coder(scale, zero);
        for (block, nibbles) in blocks.iter().zip(nibbles.as_chunks_mut().0) {
            *nibbles = pack_nibbles(block.map(&code));
        }
    }
}

/// `scale = max((max − min) / 15, 1e-6)`, `zero = min + 8 · scale`.
fn parameters(blocks: &[[f32; BLOCK]]) -> (f32, f32) {
    let (least, greatest) = range(blocks);
    let scale = ((greatest - least) / 15.0).max(SMALLEST_SCALE);
    (scale, least + 8.0 * scale)
}

/// From a weight to its code, not yet rounded. It is a division because
/// torchao's is: the product with the reciprocal is another number, and now and
/// then another code.
#[inline(always)]
fn coder(scale: f32, zero: f32) -> impl Fn(f32) -> f32 {
    let lowest = zero - 8.0 * scale;
    move |weight| ((weight - lowest) / scale).clamp(0.0, 15.0)
}
