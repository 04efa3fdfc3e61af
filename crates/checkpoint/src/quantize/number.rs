//! Between number formats, without branches, so that the compiler can do
//! several at once.

use crate::tensor::Dtype;
use wide::{f32x4, f32x8};

/// The largest finite f16.
pub(super) const F16_MAX: f32 = 65504.0;

/// The largest finite bf16.
pub(super) const BF16_MAX: f32 = f32::from_bits(0x7f7f_0000);

const SIGN: u32 = 0x8000_0000;

/// The bits of 2⁻¹⁴, the smallest normal f16.
const SMALLEST_NORMAL: u32 = 113 << 23;

/// What the exponent of an f32 has more than that of an f16, in place.
const REBIAS: u32 = (127 - 15) << 23;

/// 1.5 · 2²³: an f32 of this size has no bits for fractions, so that adding it
/// rounds to an integer, ties to even, and leaves the integer in the lowest
/// bits. Right for magnitudes below 2²².
const ROUNDING: f32 = 12_582_912.0;

/// Each lane rounded to an integer, ties to even; magnitudes below 2²². (An
/// instruction for this is not on every target, and a function call is slow.)
#[inline(always)]
pub(super) fn round(lanes: f32x8) -> f32x8 {
    (lanes + ROUNDING) - ROUNDING
}

/// The lowest 8 bits of `x` rounded to an integer, two's complement.
#[inline(always)]
pub(super) fn round_to_byte(x: f32) -> u8 {
    (x + ROUNDING).to_bits() as u8
}

/// The value of an f16.
#[inline(always)]
pub(super) fn f16_to_f32(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff) << 13;
    let exponent = magnitude & (0x1f << 23);
    let normal = magnitude + REBIAS;
    let special = normal + REBIAS;
    // A subnormal is a fraction of 2⁻¹⁴ that lacks the leading one.
    let subnormal = f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
    let bits = if exponent == 0 {
        subnormal.to_bits()
    } else if exponent == 0x1f << 23 {
        special
    } else {
        normal
    };
    f32::from_bits(bits | u32::from(half & 0x8000) << 16)
}

/// The nearest f16, ties to even, of a number no larger than [`F16_MAX`].
#[inline(always)]
pub(super) fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let magnitude = bits & !SIGN;
    // The last bit of 0.5 is worth as much as that of a subnormal f16: the
    // addition rounds.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits();
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(REBIAS).wrapping_add(0xfff + odd) >> 13;
    let half = if magnitude < SMALLEST_NORMAL {
        subnormal
    } else {
        normal
    };
    half as u16 | ((bits & SIGN) >> 16) as u16
}

/// The smallest f16 that is not below `value`, which is no larger than
/// [`F16_MAX`] and not negative.
pub(super) fn f16_not_below(value: f32) -> u16 {
    let nearest = f32_to_f16(value);
    nearest + u16::from(f16_to_f32(nearest) < value)
}

/// The value of a bf16.
#[inline(always)]
pub(super) fn bf16_to_f32(upper: u16) -> f32 {
    f32::from_bits(u32::from(upper) << 16)
}

/// The nearest bf16, ties to even, of a finite number.
#[inline(always)]
pub(super) fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let odd = (bits >> 16) & 1;
    ((bits + 0x7fff + odd) >> 16) as u16
}

/// The largest magnitude; NaN if there is one.
pub(super) fn magnitude(row: &[f32]) -> f32 {
    // Magnitudes are ordered as their bits are, NaN above all.
    let bits = row.iter().map(|weight| (weight.to_bits() & !SIGN) as i32);
    f32::from_bits(bits.fold(0, i32::max) as u32)
}

/// The least and the greatest of `blocks`; positive and negative infinity if
/// there are none.
pub(super) fn range(blocks: &[[f32; 8]]) -> (f32, f32) {
    let mut least = f32x8::splat(f32::INFINITY);
    let mut greatest = f32x8::splat(f32::NEG_INFINITY);
    for &block in blocks {
        let weights = f32x8::new(block);
        least = least.fast_min(weights);
        greatest = greatest.fast_max(weights);
    }
    // Written out, each is one instruction; `f32::min` minds NaN.
    (
        fold(least, |a, b| if a < b { a } else { b }),
        fold(greatest, |a, b| if a > b { a } else { b }),
    )
}

/// Combines the lanes pairwise: in the same order on every target, and without
/// a long chain of results that wait for each other.
#[inline(always)]
pub(super) fn fold(lanes: f32x8, with: impl Fn(f32, f32) -> f32) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes.to_array();
    with(with(with(a, e), with(c, g)), with(with(b, f), with(d, h)))
}

/// The sums of four times eight lanes, each as [`fold`] adds them, in a fraction of the time.
#[inline(always)]
pub(super) fn fold_four(sums: [f32x8; 4]) -> f32x4 {
    let quarters = sums.map(|lanes| {
        let [a, b, c, d, e, f, g, h] = lanes.to_array();
        f32x4::new([a, b, c, d]) + f32x4::new([e, f, g, h])
    });
    let [ae, bf, cg, dh] = f32x4::transpose(quarters);
    (ae + cg) + (bf + dh)
}

/// Reads little-endian elements into the beginning of `row`.
pub(super) fn widen(stored: Dtype, bytes: &[u8], row: &mut [f32]) {
    match stored {
        Dtype::F32 => {
            for (weight, bytes) in row.iter_mut().zip(bytes.as_chunks().0) {
                *weight = f32::from_le_bytes(*bytes);
            }
        }
        Dtype::F16 => {
            for (weight, bytes) in row.iter_mut().zip(bytes.as_chunks().0) {
                *weight = f16_to_f32(u16::from_le_bytes(*bytes));
            }
        }
        Dtype::BF16 => {
            for (weight, bytes) in row.iter_mut().zip(bytes.as_chunks().0) {
                *weight = bf16_to_f32(u16::from_le_bytes(*bytes));
            }
        }
    }
}

pub(super) fn write_f32(row: &[f32], out: &mut [u8]) {
    for (bytes, weight) in out.as_chunks_mut().0.iter_mut().zip(row) {
        *bytes = weight.to_le_bytes();
    }
}

pub(super) fn write_f16(row: &[f32], out: &mut [u8]) {
    for (bytes, &weight) in out.as_chunks_mut().0.iter_mut().zip(row) {
        *bytes = f32_to_f16(weight).to_le_bytes();
    }
}

pub(super) fn write_bf16(row: &[f32], out: &mut [u8]) {
    for (bytes, &weight) in out.as_chunks_mut().0.iter_mut().zip(row) {
        *bytes = f32_to_bf16(weight).to_le_bytes();
    }
}
