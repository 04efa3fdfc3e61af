//! 8-bit codes against their formula.

use super::{COLUMNS, Random, halves, packed, unpacked};
use half::f16;
use paligemma_checkpoint::Precision;

#[track_caller]
fn assert_formula(row: &[f32], group: usize) {
    let precision = Precision::Q8 { group };
    let out = packed(precision, row);
    let scales = halves(&out.scales);
    let values = unpacked(precision, row.len(), &out);
    for (index, weights) in row.chunks(group).enumerate() {
        let scale = scales[index].to_f64();
        let absmax = weights
            .iter()
            .map(|w| f64::from(w.abs()))
            .fold(0.0, f64::max);
        // The smallest scale under which nothing is clipped; the quotient is
        // computed in f32.
        let rounded = f64::from((absmax / 127.0) as f32);
        assert!(scale >= rounded, "{scale:e} {absmax:e}");
        if scale > 0.0 {
            let smaller = f16::from_bits(scales[index].to_bits() - 1).to_f64();
            assert!(smaller < rounded, "{smaller:e} {absmax:e}");
        }
        for (offset, &weight) in weights.iter().enumerate() {
            let column = index * group + offset;
            let code = out.weights[column] as i8;
            assert_ne!(code, i8::MIN);
            assert_eq!(values[column], f32::from(code) * scale as f32);
            // The quotient is off by half a unit in the last place of a number
            // below 128: 2⁻¹⁸ steps.
            let error = (f64::from(weight) - f64::from(code) * scale).abs();
            assert!(
                error <= scale * (0.5 + 2_f64.powi(-18)),
                "{weight:e} {code} {scale:e}"
            );
        }
    }
    for &padding in &out.weights[row.len()..] {
        assert_eq!(padding, 0);
    }
}

#[test]
fn errors_are_half_a_step() {
    let mut random = Random(3);
    for columns in COLUMNS {
        for group in [8, 32, 64, 128] {
            for _ in 0..8 {
                assert_formula(&random.row(columns), group);
            }
        }
    }
}

/// Halfway between codes, exactly, whatever the scale.
#[test]
fn ties_go_to_the_even_code() {
    let mut random = Random(11);
    for _ in 0..200 {
        let scale = f16::from_f64(random.uniform() + 0.01).to_f32();
        let mut row = vec![127.0 * scale];
        row.extend((-126..126).map(|code| (code as f32 + 0.5) * scale));
        let out = packed(Precision::Q8 { group: 256 }, &row);
        let codes = out.weights[1..].iter().zip(-126_i32..126);
        for (&actual, below) in codes {
            let expected = if below % 2 == 0 { below } else { below + 1 };
            assert_eq!(i32::from(actual as i8), expected, "{scale:e} {below}");
        }
    }
}

#[test]
fn extremes_are_met() {
    let largest = 127.0 * 65504.0;
    let smallest = 2_f32.powi(-24);
    for row in [
        vec![0.0; 40],
        vec![-3.0; 40],
        vec![largest; 9],
        vec![-largest, largest, 1.0],
        // Scales that are subnormal, and weights that have no scale that small.
        vec![1e-5, -2e-6, 3e-7],
        vec![smallest, -smallest * 126.0, smallest * 127.0],
        vec![1e-30, -1e-38, 1e-45],
    ] {
        assert_formula(&row, 8);
        assert_formula(&row, 32);
    }
}

#[test]
fn a_group_of_zeros_has_no_scale() {
    let row = packed(Precision::Q8 { group: 32 }, &[0.0; 33]);
    assert!(row.weights.iter().chain(&row.scales).all(|&byte| byte == 0));
}

/// Weights that were 8-bit before keep their codes: the largest of a group has
/// the code ±127, whatever the rounding of the scale.
#[test]
fn packing_again_changes_nothing() {
    let mut random = Random(4);
    let precision = Precision::Q8 { group: 64 };
    for columns in COLUMNS {
        let once = packed(precision, &random.row(columns));
        let again = packed(precision, &unpacked(precision, columns, &once));
        assert_eq!(once, again, "{columns}");
    }
}
