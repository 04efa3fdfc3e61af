//! What is stored, byte by byte. These may never change.

use super::{Random, bytes_f32, packed};
use paligemma_checkpoint::{Dtype, Packed, Precision, pack};

const Q8: Precision = Precision::Q8 { group: 8 };
const Q4: Precision = Precision::Q4 { group: 8 };
const INT4: Precision = Precision::Int4 { group: 8 };

#[test]
fn a_precision_has_a_name_and_a_size() {
    // Name, bits a weight, and bytes of a row of 1, 33 and 4304 weights.
    let expected = [
        ("f32", 32.0, [(32, 0), (160, 0), (17216, 0)]),
        ("f16", 16.0, [(16, 0), (80, 0), (8608, 0)]),
        ("bf16", 16.0, [(16, 0), (80, 0), (8608, 0)]),
        ("q8-g32", 8.5, [(8, 4), (40, 4), (4304, 272)]),
        ("q8-g64", 8.25, [(8, 4), (40, 4), (4304, 136)]),
        ("q4-g32", 4.5, [(4, 4), (20, 4), (2152, 272)]),
        ("q4-g64", 4.25, [(4, 4), (20, 4), (2152, 136)]),
        ("int4-g128", 4.25, [(4, 4), (20, 4), (2152, 136)]),
        ("int4-g32", 5.0, [(4, 4), (20, 8), (2152, 540)]),
    ];
    for (name, bits, rows) in expected {
        let precision: Precision = name.parse().unwrap();
        assert_eq!(precision.to_string(), name);
        assert_eq!(precision.bits_per_weight(), bits, "{name}");
        for (columns, sizes) in [1, 33, 4304].into_iter().zip(rows) {
            let layout = precision.layout(columns);
            assert_eq!(
                (layout.weight_bytes, layout.scale_bytes),
                sizes,
                "{name} {columns}"
            );
        }
    }
}

#[test]
fn a_stored_format_is_a_precision() {
    assert_eq!(Precision::from(Dtype::F32), Precision::F32);
    assert_eq!(Precision::from(Dtype::F16), Precision::F16);
    assert_eq!(Precision::from(Dtype::BF16), Precision::BF16);
}

#[test]
fn floats_are_padded_with_zeros() {
    let row = [1.0, -2.0, 0.5];
    let f32s = packed(Precision::F32, &row);
    let mut expected = vec![0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 0, 0, 0, 0x3f];
    expected.resize(32, 0);
    assert_eq!(f32s.weights, expected);
    let f16s = packed(Precision::F16, &row);
    assert_eq!(
        f16s.weights,
        [0, 0x3c, 0, 0xc0, 0, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    let bf16s = packed(Precision::BF16, &row);
    assert_eq!(
        bf16s.weights,
        [0x80, 0x3f, 0, 0xc0, 0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    for floats in [f32s, f16s, bf16s] {
        assert!(floats.scales.is_empty());
    }
}

#[test]
fn q8_is_signed_bytes_in_order() {
    // The scale is 1. Ties go to the even code.
    let row = [127.0, -127.0, 2.5, 3.5, -0.5, -1.5, 64.0, -0.0];
    let row = packed(Q8, &row);
    assert_eq!(row.weights, [127, 0x81, 2, 4, 0, 0xfe, 64, 0]);
    assert_eq!(row.scales, [0x00, 0x3c, 0, 0]);
}

#[test]
fn q8_ends_with_a_short_group() {
    // Scales 1 and 2; the second group is one weight and seven zeros.
    let row = packed(Q8, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 127.0, -254.0]);
    assert_eq!(
        row.weights,
        [1, 2, 3, 4, 5, 6, 7, 127, 0x81, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(row.scales, [0x00, 0x3c, 0x00, 0x40]);
}

#[test]
fn q4_has_the_first_four_columns_in_the_low_nibbles() {
    let weights = [-8.0, -7.0, -1.0, 0.0, 1.0, 2.0, 6.0, 7.0];
    let row = packed(Q4, &weights);
    assert_eq!(row.weights, [0x90, 0xa1, 0xe7, 0xf8]);
    assert_eq!(row.scales, [0x00, 0x3c, 0, 0]);
    // The code −8 goes to the farthest weight, whatever its sign.
    let row = packed(Q4, &weights.map(|weight| -2.0 * weight));
    assert_eq!(row.weights, [0x90, 0xa1, 0xe7, 0xf8]);
    assert_eq!(row.scales, [0x00, 0xc0, 0, 0]);
}

#[test]
fn q4_is_padded_with_the_code_of_zero() {
    let row = packed(Q4, &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -4.0]);
    assert_eq!(
        row.weights,
        [0x88, 0x88, 0x88, 0x88, 0x80, 0x88, 0x88, 0x88]
    );
    assert_eq!(row.scales, [0, 0, 0x00, 0x38]);
}

#[test]
fn int4_has_scale_and_zero() {
    let row = packed(INT4, &[0.0, 15.0, 1.0, 2.0, 3.0, 4.0, 5.0, 14.0]);
    assert_eq!(row.weights, [0x30, 0x4f, 0x51, 0xe2]);
    // 1 and 8.
    assert_eq!(row.scales, [0x00, 0x3c, 0x00, 0x48]);
    // Two groups: scale 2 and zero −14 + 16, scale 1 and zero −1 + 8.
    let row = packed(
        INT4,
        &[
            -14.0, 16.0, -12.0, -10.0, -8.0, -6.0, -4.0, 14.0, //
            -1.0, 14.0, 0.0, 1.0, 2.0, 3.0, 4.0, 13.0,
        ],
    );
    assert_eq!(
        row.weights,
        [0x30, 0x4f, 0x51, 0xe2, 0x30, 0x4f, 0x51, 0xe2]
    );
    assert_eq!(row.scales, [0x00, 0x40, 0x00, 0x40, 0x00, 0x3c, 0x00, 0x47]);
}

/// A slice may hold one row or all of them.
#[test]
fn portions_do_not_matter() {
    let mut random = Random(1);
    let (rows, columns) = (5, 96);
    let weights: Vec<f32> = (0..rows).flat_map(|_| random.row(columns)).collect();
    for name in [
        "f32", "f16", "bf16", "q8-g64", "q4-g40", "q4-g1024", "int4-g32",
    ] {
        let to = name.parse().unwrap();
        let mut together = Packed {
            weights: vec![0xaa; 7],
            scales: vec![0xaa; 7777],
        };
        pack(to, Dtype::F32, columns, &bytes_f32(&weights), &mut together).unwrap();
        let mut apart = Packed::default();
        for row in weights.chunks(columns) {
            let row = packed(to, row);
            assert_eq!(row.weights.len(), to.layout(columns).weight_bytes, "{name}");
            assert_eq!(row.scales.len(), to.layout(columns).scale_bytes, "{name}");
            apart.weights.extend(row.weights);
            apart.scales.extend(row.scales);
        }
        assert_eq!(together, apart, "{name}");
    }
}

#[test]
fn no_rows_are_no_bytes() {
    let mut out = packed(Q8, &[1.0]);
    pack(Q8, Dtype::BF16, 9, &[], &mut out).unwrap();
    assert_eq!(out, Packed::default());
}
