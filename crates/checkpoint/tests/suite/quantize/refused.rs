//! What cannot be packed, and how a person is told.

use super::{bytes_f32, packed};
use crate::support::says;
use half::bf16;
use paligemma_checkpoint::{Dtype, Packed, Precision, QuantizeError, int4_row, pack};

const Q8: Precision = Precision::Q8 { group: 32 };
const Q4: Precision = Precision::Q4 { group: 32 };
const INT4: Precision = Precision::Int4 { group: 8 };
const ALL: [Precision; 6] = [
    Precision::F32,
    Precision::F16,
    Precision::BF16,
    Q8,
    Q4,
    INT4,
];

/// The error, after making sure that nothing was left behind.
#[track_caller]
fn refusal(to: Precision, stored: Dtype, columns: usize, bytes: &[u8]) -> QuantizeError {
    let mut out = packed(Precision::F32, &[1.0]);
    let error = pack(to, stored, columns, bytes, &mut out).unwrap_err();
    assert_eq!(out, Packed::default(), "{to}");
    error
}

#[test]
fn what_is_no_number_is_named() {
    for to in ALL {
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = [0.5; 3 * 40];
            row[2 * 40 + 37] = value;
            let error = refusal(to, Dtype::F32, 40, &bytes_f32(&row));
            says(
                &error.to_string(),
                &["row 2, column 37", &value.to_string()],
            );
            says(
                &error.in_rows_from(100).to_string(),
                &["row 102, column 37"],
            );
        }
    }
    let half = 0x7c00_u16.to_le_bytes();
    says(
        &refusal(Q8, Dtype::F16, 1, &half).to_string(),
        &["row 0, column 0 is inf"],
    );
    says(
        &refusal(Q8, Dtype::BF16, 1, &[0xc0, 0xff]).to_string(),
        &["is NaN"],
    );
}

#[test]
fn what_is_too_large_is_named() {
    for (to, largest, instead) in [
        (Precision::F16, 65504.0, "bf16 or f32"),
        (INT4, 65504.0, "bf16 or f32"),
        (Q8, 65504.0 * 127.0, "bf16 or f32"),
        (Q4, 65504.0 * 7.0, "bf16 or f32"),
        (Precision::BF16, bf16::MAX.to_f32(), "f32"),
    ] {
        for sign in [1.0, -1.0] {
            let mut row = [0.5; 40];
            row[38] = largest * sign;
            packed(to, &row);
            row[38] = f32::from_bits((largest * sign).to_bits() + 1);
            let error = refusal(to, Dtype::F32, 40, &bytes_f32(&row)).to_string();
            says(&error, &["row 0, column 38", &to.to_string()]);
            assert!(error.ends_with(&format!("as {instead}")), "{error}");
        }
    }
    let stored = bf16::from_f32(65536.0).to_le_bytes();
    let error = refusal(Precision::F16, Dtype::BF16, 1, &stored);
    says(&error.to_string(), &["6.5536e4", "f16"]);
}

#[test]
fn groups_are_whole_blocks() {
    for group in [0, 4, 12, usize::MAX] {
        for to in [
            Precision::Q8 { group },
            Precision::Q4 { group },
            Precision::Int4 { group },
        ] {
            let error = refusal(to, Dtype::F32, 8, &[0; 32]);
            says(&error.to_string(), &[&to.to_string(), "multiple of 8"]);
        }
    }
}

#[test]
fn int4_has_no_partial_groups() {
    let to = Precision::Int4 { group: 128 };
    let error = refusal(to, Dtype::F32, 4304, &[0; 4304 * 4]).to_string();
    says(&error, &["4304", "int4-g128", "as it is stored"]);
    assert_eq!(int4_row(&[0.0; 4304], 128).unwrap_err().to_string(), error);
    let error = int4_row(&[0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 8).unwrap_err();
    says(&error.to_string(), &["row 0, column 1 is NaN"]);
}

#[test]
fn rows_are_whole() {
    for (columns, bytes) in [(3, 11), (3, 13), (0, 0), (0, 4), (usize::MAX, 4)] {
        let error = refusal(Precision::F32, Dtype::F32, columns, &vec![0; bytes]);
        let expected = QuantizeError::NotWholeRows {
            bytes,
            columns,
            stored: Dtype::F32,
        };
        assert_eq!(error, expected);
        says(&error.to_string(), &[&format!("{bytes} bytes"), "F32"]);
    }
}

#[test]
fn a_huge_row_has_a_size() {
    for to in ALL {
        assert!(to.layout(usize::MAX).weight_bytes >= to.layout(1 << 20).weight_bytes);
    }
}

#[test]
fn names_are_exact() {
    for name in [
        "",
        "F32",
        "f64",
        "q8",
        "q8-g",
        "q8-g064",
        "q8-g+64",
        "q8-g-64",
        " q8-g64",
        "q8-g64 ",
        "q5-g32",
        "int4-g128-g128",
        "f16-g32",
        "q4-g99999999999999999999999",
    ] {
        let error = name.parse::<Precision>().unwrap_err();
        assert!(matches!(error, QuantizeError::Unknown(_)), "{name}");
        says(&error.to_string(), &["not a precision", "q4-g32"]);
    }
    for name in ["q8-g0", "q4-g4", "int4-g100"] {
        let error = name.parse::<Precision>().unwrap_err();
        says(&error.to_string(), &[name, "multiple of 8"]);
    }
    let long = "x\n"
        .repeat(1000)
        .parse::<Precision>()
        .unwrap_err()
        .to_string();
    assert!(long.len() < 250 && !long.contains('\n'), "{long}");
}
