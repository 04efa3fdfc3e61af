//! int4 weight-only, bit by bit against torchao's formula in PyTorch.

use super::{Random, halves, nibbles, packed, unpacked};
use crate::support::{folder, open};
use half::f16;
use paligemma_checkpoint::{Folder, Int4Row, Packed, Precision, int4_row, pack, unpack_row};
use safetensors::SafeTensors;

/// Rows of a tensor of a fixture's checkpoint.
fn rows(tensor: &str) -> Vec<Vec<f32>> {
    let checkpoint = open(Folder::new(folder("tests/fixtures/pg2_q128/model")));
    let mut slices = checkpoint.slices(1 << 20);
    let mut rows = Vec::new();
    while let Some(slice) = pollster::block_on(slices.next()).unwrap() {
        let info = &checkpoint.tensors()[slice.tensor];
        if info.name == tensor {
            let mut out = Packed::default();
            pack(
                Precision::F32,
                info.dtype,
                info.cols(),
                &slice.bytes,
                &mut out,
            )
            .unwrap();
            let layout = Precision::F32.layout(info.cols());
            for row in out.weights.chunks(layout.weight_bytes) {
                rows.push(unpack_row(Precision::F32, info.cols(), row, &[]));
            }
        }
    }
    rows
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn codes_scales_and_zeros_equal_torchao() {
    let path = folder("tests/fixtures/quant/pg2_q128.safetensors");
    let file = std::fs::read(path).unwrap();
    let fixture = SafeTensors::deserialize(&file).unwrap();
    let numbers = |name: &str| -> Vec<u32> {
        let bytes = fixture.tensor(name).unwrap().data().as_chunks().0;
        bytes
            .iter()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .collect()
    };
    for (tensor, count) in [
        ("language_model.model.layers.0.self_attn.q_proj", 256),
        ("language_model.model.layers.1.mlp.down_proj", 128),
    ] {
        let mut all = Int4Row {
            codes: Vec::new(),
            scales: Vec::new(),
            zeros: Vec::new(),
        };
        let rows = rows(&format!("{tensor}.weight"));
        assert_eq!(rows.len(), count);
        for row in rows {
            let quantized = int4_row(&row, 128).unwrap();
            let out = packed(Precision::Int4 { group: 128 }, &row);
            assert_eq!(nibbles(&out.weights), quantized.codes);
            let stored: Vec<f16> = quantized
                .scales
                .iter()
                .zip(&quantized.zeros)
                .flat_map(|(&scale, &zero)| [f16::from_f32(scale), f16::from_f32(zero)])
                .collect();
            assert_eq!(halves(&out.scales), stored);
            all.codes.extend(quantized.codes);
            all.scales.extend(quantized.scales);
            all.zeros.extend(quantized.zeros);
        }
        let codes = fixture.tensor(&format!("{tensor}.codes")).unwrap();
        assert_eq!(all.codes, codes.data());
        assert_eq!(bits(&all.scales), numbers(&format!("{tensor}.scale")));
        assert_eq!(bits(&all.zeros), numbers(&format!("{tensor}.zero")));
    }
}

#[track_caller]
fn assert_formula(row: &[f32], group: usize) {
    let quantized = int4_row(row, group).unwrap();
    let precision = Precision::Int4 { group };
    let values = quantized.dequantize();
    let stored = unpacked(precision, row.len(), &packed(precision, row));
    assert_eq!(values.len(), row.len());
    for (index, weights) in row.chunks(group).enumerate() {
        let (scale, zero) = (quantized.scales[index], quantized.zeros[index]);
        let least = weights
            .iter()
            .map(|&w| f64::from(w))
            .fold(f64::INFINITY, f64::min);
        let greatest = weights
            .iter()
            .map(|&w| f64::from(w))
            .fold(f64::NEG_INFINITY, f64::max);
        let exact = ((greatest - least) / 15.0).max(f64::from(1e-6_f32));
        // One rounding each in the difference and the quotient, of 2⁻²⁴.
        assert!((f64::from(scale) / exact - 1.0).abs() <= 2_f64.powi(-22));
        let (scale, zero) = (f64::from(scale), f64::from(zero));
        let size = zero.abs() + 8.0 * scale;
        assert!((zero - (least + 8.0 * scale)).abs() <= size * 2_f64.powi(-23));
        for (offset, &weight) in weights.iter().enumerate() {
            let column = index * group + offset;
            let weight = f64::from(weight);
            // Six roundings of at most this size on the way there and back, the
            // scale's among them: all of it in f32.
            let bound = 0.5 * scale + 6.0 * size * 2_f64.powi(-23);
            let error = (f64::from(values[column]) - weight).abs();
            assert!(error <= bound, "{weight:e} {error:e} {bound:e}");
            // Scale and zero in f16: 2⁻¹¹ relative, or 2⁻²⁵ absolute.
            let bound = bound + size * 2_f64.powi(-11) + 9.0 * 2_f64.powi(-25);
            let error = (f64::from(stored[column]) - weight).abs();
            assert!(error <= bound, "{weight:e} {error:e} {bound:e}");
        }
    }
}

#[test]
fn errors_are_half_a_step() {
    let mut random = Random(9);
    for group in [8, 32, 64, 128, 256] {
        for groups in [1, 2, 3, 9] {
            for _ in 0..8 {
                assert_formula(&random.row(group * groups), group);
            }
        }
    }
}

#[test]
fn extremes_are_met() {
    let mut spread = vec![0.0; 32];
    spread[..4].copy_from_slice(&[65504.0, -65504.0, 1.0, -1e-20]);
    for row in [
        vec![0.0; 32],
        vec![0.25; 32],
        vec![-123.456; 32],
        vec![65504.0; 32],
        vec![1e-6; 32],
        vec![-1e-30; 32],
        spread,
    ] {
        assert_formula(&row, 8);
        assert_formula(&row, 32);
    }
}

/// The smallest scale there is, 1e-6: a constant is its own zero, nearly.
#[test]
fn a_constant_group_keeps_its_value() {
    let quantized = int4_row(&[0.0; 8], 8).unwrap();
    assert_eq!(quantized.codes, [0; 8]);
    assert_eq!(quantized.scales, [1e-6]);
    assert_eq!(quantized.zeros, [8e-6]);
    assert_eq!(quantized.dequantize(), [0.0; 8]);
}

/// Weights that were 4-bit before, with both ends in use, keep their codes.
#[test]
fn packing_again_keeps_the_codes() {
    let mut random = Random(10);
    for _ in 0..100 {
        let mut codes: Vec<u8> = (0..128).map(|_| random.below(16) as u8).collect();
        codes[random.below(64)] = 0;
        codes[64 + random.below(64)] = 15;
        let once = Int4Row {
            codes,
            scales: vec![(random.uniform() * 0.1 + 1e-3) as f32],
            zeros: vec![random.normal() as f32 * 0.1],
        };
        let again = int4_row(&once.dequantize(), 128).unwrap();
        assert_eq!(again.codes, once.codes);
    }
}
