//! How fast weights are packed in a browser, one worker's worth. Not a check: it prints.

#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, reason = "a measurement may end anywhere")]

use paligemma_checkpoint::{Dtype, Packed, Precision, pack};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};
use web_time::Instant;

wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// Columns of most matrices of the 3B model, and rows that come to a slice of 2 MiB or so.
const COLUMNS: usize = 2304;
const ROWS: usize = 512;

/// Packings of the same slice, and runs of which the median counts.
const PASSES: usize = 16;
const RUNS: usize = 7;

/// bf16 numbers of both signs, between 2⁻⁸ and 2⁻⁴.
fn slice() -> Vec<u8> {
    let mut state = 1_u32;
    (0..COLUMNS * ROWS)
        .flat_map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let exponent = 119 + (state >> 28) % 4;
            let bits = (state & 0x8000) | (exponent << 7) | ((state >> 16) & 0x7f);
            (bits as u16).to_le_bytes()
        })
        .collect()
}

#[wasm_bindgen_test]
fn quantizers() {
    let slice = slice();
    for name in ["f16", "q8-g64", "q4-g32", "q4-g64", "int4-g128"] {
        let to: Precision = name.parse().unwrap();
        let mut packed = Packed::default();
        let mut rates: Vec<f64> = (0..RUNS)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..PASSES {
                    pack(to, Dtype::BF16, COLUMNS, &slice, &mut packed).unwrap();
                }
                let megabytes = (PASSES * slice.len()) as f64 / 1e6;
                megabytes / start.elapsed().as_secs_f64()
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        let (least, most) = (rates[0], rates[RUNS - 1]);
        let median = rates[RUNS / 2];
        console_log!("{name}: {median:.0} MB/s of bf16 ({least:.0} to {most:.0})");
    }
}
