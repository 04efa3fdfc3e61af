//! 4-bit codes: nearest under their scale, and the scale a good one.

use super::{COLUMNS, Random, halves, nibbles, packed, squares, unpacked};
use paligemma_checkpoint::{Packed, Precision};

/// The farthest from 0 taken to −8, everything rounded, no f16: the squared
/// error of not searching.
fn plain_error(weights: &[f32]) -> f64 {
    let weights = weights.iter().map(|&weight| f64::from(weight));
    let farther = |a: f64, b: f64| if b.abs() > a.abs() { b } else { a };
    let scale = weights.clone().fold(0.0, farther) / -8.0;
    let error = |w: f64| w - (w / scale).round_ties_even().clamp(-8.0, 7.0) * scale;
    if scale == 0.0 {
        0.0
    } else {
        squares(weights.map(error))
    }
}

#[track_caller]
fn assert_formula(row: &[f32], group: usize) -> Packed {
    let precision = Precision::Q4 { group };
    let out = packed(precision, row);
    let (codes, scales) = (nibbles(&out.weights), halves(&out.scales));
    let values = unpacked(precision, row.len(), &out);
    for (index, weights) in row.chunks(group).enumerate() {
        let scale = scales[index].to_f64();
        let mut error = 0.0;
        for (offset, &weight) in weights.iter().enumerate() {
            let (weight, column) = (f64::from(weight), index * group + offset);
            let value = (f64::from(codes[column]) - 8.0) * scale;
            assert_eq!(f64::from(values[column]), value);
            let nearest = (0..16)
                .map(|code| (weight - (f64::from(code) - 8.0) * scale).abs())
                .fold(f64::INFINITY, f64::min);
            // The quotient is rounded to f32, by less than 2⁻²⁰ steps.
            let distance = (weight - value).abs();
            assert!(
                distance <= nearest + scale.abs() * 2_f64.powi(-20),
                "{weight:e} {value:e}"
            );
            error += distance * distance;
        }
        // Rounding the best scale for its codes by ε adds ε²·Σq²·scale²: with
        // ε = 2⁻¹¹ at most 2⁻²²·Σw², or with 2⁻²⁵ absolute, where an f16 is
        // subnormal, at most 2⁻⁵⁰·64 a weight. Sums of n terms in f32, by which
        // the best is chosen, are off by n·2⁻²⁴ of Σw² each.
        let count = weights.len() as f64;
        let signal = squares(weights.iter().map(|&weight| f64::from(weight)));
        let rounding = signal * (2_f64.powi(-22) + count * 2_f64.powi(-22));
        let bound = plain_error(weights) + rounding + count * 2_f64.powi(-44);
        assert!(error <= bound, "{error:e} {bound:e} {weights:?}");
    }
    for &padding in &codes[row.len()..] {
        assert_eq!(padding, 8);
    }
    out
}

#[test]
fn codes_are_nearest_and_the_search_never_loses() {
    let mut random = Random(5);
    for columns in COLUMNS {
        for group in [8, 32, 64, 128] {
            for _ in 0..8 {
                assert_formula(&random.row(columns), group);
            }
        }
    }
}

#[test]
fn extremes_are_met() {
    let largest = 7.0 * 65504.0;
    let smallest = 2_f32.powi(-24);
    for row in [
        vec![-3.0; 40],
        vec![3.0, -3.0, 3.0, -3.0],
        vec![largest; 9],
        vec![-largest, largest, 1.0, largest / 2.0],
        vec![1e-5, -2e-6, 3e-7],
        vec![smallest, -smallest * 6.0, smallest * 7.0],
    ] {
        assert_formula(&row, 8);
        assert_formula(&row, 32);
    }
}

#[test]
fn a_group_without_a_scale_is_zeros() {
    for tiny in [0.0, -0.0, 1e-7, -1e-12, 1e-45] {
        let out = packed(Precision::Q4 { group: 8 }, &[tiny; 17]);
        assert_eq!(out.weights, [0x88; 12], "{tiny:e}");
        assert_eq!(out.scales, [0; 8], "{tiny:e}");
    }
}

/// Over normal weights the search takes at least 5 % off the error of plain
/// rounding, in groups of any size.
#[test]
fn the_search_pays() {
    let mut random = Random(6);
    for group in [32, 64, 128] {
        let row: Vec<f32> = (0..16384)
            .map(|_| (random.normal() * 0.03) as f32)
            .collect();
        let precision = Precision::Q4 { group };
        let values = unpacked(precision, row.len(), &packed(precision, &row));
        let error = squares(
            row.iter()
                .zip(values)
                .map(|(&w, v)| f64::from(w) - f64::from(v)),
        );
        let plain: f64 = row.chunks(group).map(plain_error).sum();
        assert!(
            error.sqrt() < 0.95 * plain.sqrt(),
            "{group}: {error} {plain}"
        );
    }
}

/// Weights that were 4-bit before keep their codes, if one of them has the code
/// −8 and another ±1: no other scale meets both.
#[test]
fn packing_again_changes_nothing() {
    let mut random = Random(7);
    for _ in 0..200 {
        let group = [8, 32, 64, 128][random.below(4)];
        let precision = Precision::Q4 { group };
        let columns = group * (1 + random.below(3));
        let mut row = Vec::with_capacity(columns);
        for _ in 0..columns / group {
            let scale = half::f16::from_f64(random.normal() * 0.01).to_f32();
            let mut codes: Vec<i8> = (0..group).map(|_| random.below(16) as i8 - 8).collect();
            codes[random.below(group / 2)] = -8;
            codes[group / 2 + random.below(group / 2)] = if random.below(2) == 0 { 1 } else { -1 };
            row.extend(codes.iter().map(|&code| f32::from(code) * scale));
        }
        let once = packed(precision, &row);
        assert_eq!(unpacked(precision, columns, &once), row);
        assert_eq!(
            packed(precision, &unpacked(precision, columns, &once)),
            once
        );
    }
}

/// The same where the farthest from 0 has the code ±7: its values stay.
#[test]
fn symmetric_codes_are_found() {
    let mut random = Random(8);
    let precision = Precision::Q4 { group: 32 };
    for _ in 0..200 {
        let scale = half::f16::from_f64(random.normal() * 0.01).to_f32();
        let mut row: Vec<f32> = (0..32)
            .map(|_| (random.below(15) as f32 - 7.0) * scale)
            .collect();
        row[random.below(32)] = 7.0 * scale;
        assert_eq!(unpacked(precision, 32, &packed(precision, &row)), row);
    }
}
