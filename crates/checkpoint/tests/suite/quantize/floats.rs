//! Between float formats, against the `half` crate.

use super::{Random, bytes_f32};
use half::{bf16, f16};
use paligemma_checkpoint::{Dtype, Packed, Precision, pack, unpack_row};

/// Packs and reads back; not a multiple of 8 long.
#[track_caller]
fn through(stored: Dtype, to: Precision, bytes: &[u8]) -> Vec<f32> {
    let columns = bytes.len() / stored.size();
    let mut out = Packed::default();
    pack(to, stored, columns, bytes, &mut out).unwrap();
    unpack_row(to, columns, &out.weights, &out.scales)
}

#[track_caller]
fn assert_same(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert_eq!(
            actual.to_bits(),
            expected.to_bits(),
            "{actual:e} {expected:e}"
        );
    }
}

/// Every finite number of 16 bits.
fn every(is_finite: impl Fn(u16) -> bool) -> Vec<u16> {
    (0..=u16::MAX).filter(|&bits| is_finite(bits)).collect()
}

#[test]
fn every_f16_survives() {
    let all = every(|bits| f16::from_bits(bits).is_finite());
    let bytes: Vec<u8> = all.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let values: Vec<f32> = all
        .iter()
        .map(|&bits| f16::from_bits(bits).to_f32())
        .collect();
    assert_same(&through(Dtype::F16, Precision::F32, &bytes), &values);
    assert_same(&through(Dtype::F16, Precision::F16, &bytes), &values);
    assert_same(
        &through(Dtype::F32, Precision::F16, &bytes_f32(&values)),
        &values,
    );
}

#[test]
fn every_bf16_survives() {
    let all = every(|bits| bf16::from_bits(bits).is_finite());
    let bytes: Vec<u8> = all.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let values: Vec<f32> = all
        .iter()
        .map(|&bits| bf16::from_bits(bits).to_f32())
        .collect();
    assert_same(&through(Dtype::BF16, Precision::F32, &bytes), &values);
    assert_same(&through(Dtype::BF16, Precision::BF16, &bytes), &values);
    assert_same(
        &through(Dtype::F32, Precision::BF16, &bytes_f32(&values)),
        &values,
    );
}

/// Halfway between neighbours, and the nearest f32 to either side.
#[test]
fn f16_is_rounded_to_nearest_even() {
    let mut values = Vec::new();
    for bits in 0..0x7bff {
        let (low, high) = (
            f16::from_bits(bits).to_f32(),
            f16::from_bits(bits + 1).to_f32(),
        );
        let middle = (low + high) / 2.0;
        for value in [middle, middle.next_up(), middle.next_down()] {
            values.extend([value, -value]);
        }
    }
    let expected: Vec<f32> = values.iter().map(|&v| f16::from_f32(v).to_f32()).collect();
    assert_same(
        &through(Dtype::F32, Precision::F16, &bytes_f32(&values)),
        &expected,
    );
}

#[test]
fn bf16_is_rounded_to_nearest_even() {
    let mut random = Random(2);
    let mut values = Vec::new();
    while values.len() < 100_000 {
        let bits = random.bits();
        // Halfway, to either side of it, or anywhere.
        let below = [0x8000, 0x7fff, 0x8001, bits as u32 & 0xffff][values.len() % 4];
        let value = f32::from_bits((bits >> 32) as u32 & 0xffff_0000 | below);
        if value.abs() < bf16::MAX.to_f32() {
            values.push(value);
        }
    }
    let expected: Vec<f32> = values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect();
    assert_same(
        &through(Dtype::F32, Precision::BF16, &bytes_f32(&values)),
        &expected,
    );
}

#[test]
fn formats_of_16_bits_meet() {
    let values = [1.0_f32, -0.001, 3.5e-5, 1e-7, 1e-30, 65280.0, -255.5];
    let stored: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
    let bytes: Vec<u8> = stored.iter().flat_map(|v| v.to_le_bytes()).collect();
    let expected: Vec<f32> = stored
        .iter()
        .map(|v| f16::from_f32(v.to_f32()).to_f32())
        .collect();
    assert_same(&through(Dtype::BF16, Precision::F16, &bytes), &expected);
    let stored: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
    let bytes: Vec<u8> = stored.iter().flat_map(|v| v.to_le_bytes()).collect();
    let expected: Vec<f32> = stored
        .iter()
        .map(|v| bf16::from_f32(v.to_f32()).to_f32())
        .collect();
    assert_same(&through(Dtype::F16, Precision::BF16, &bytes), &expected);
}
