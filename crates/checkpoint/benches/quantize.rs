//! How fast weights are packed, in MB of bfloat16 input a second on one core,
//! and how far the result is from them:
//! `cargo bench -p paligemma-checkpoint --bench quantize`.
#![allow(clippy::print_stdout, reason = "the result is what is printed")]

use paligemma_checkpoint::{Dtype, Packed, Precision, pack, unpack_row};
use std::time::{Duration, Instant};

/// Rows of PaliGemma 2 3B's hidden size, about 1 MiB of them.
const COLUMNS: usize = 2304;
const ROWS: usize = 228;
const SHORTEST: Duration = Duration::from_millis(500);

fn main() {
    let rows = normal_bf16(COLUMNS * ROWS);
    println!("precision   bits   MB/s  rms error / rms weight");
    for precision in [
        Precision::F32,
        Precision::F16,
        Precision::BF16,
        Precision::Q8 { group: 32 },
        Precision::Q8 { group: 64 },
        Precision::Q4 { group: 32 },
        Precision::Q4 { group: 128 },
        Precision::Int4 { group: 128 },
    ] {
        let mut packed = Packed::default();
        let rate = rate(rows.len(), || {
            let result = pack(precision, Dtype::BF16, COLUMNS, &rows, &mut packed);
            assert_eq!(result, Ok(()), "{precision}");
        });
        println!(
            "{precision:10} {:5.2} {:6.0}  {:.5}",
            precision.bits_per_weight(),
            rate / 1e6,
            relative_error(precision, &rows, &packed)
        );
    }
}

/// Bytes a second: the best of several runs, since what disturbs a run only
/// makes it slower.
fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    while begin.elapsed() < SHORTEST {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    bytes as f64 / best.as_secs_f64()
}

fn relative_error(precision: Precision, rows: &[u8], packed: &Packed) -> f64 {
    let layout = precision.layout(COLUMNS);
    let (mut error, mut signal) = (0.0, 0.0);
    for (index, row) in rows.chunks(2 * COLUMNS).enumerate() {
        let weights = &packed.weights[index * layout.weight_bytes..][..layout.weight_bytes];
        let scales = &packed.scales[index * layout.scale_bytes..][..layout.scale_bytes];
        let unpacked = unpack_row(precision, COLUMNS, weights, scales);
        for (bytes, unpacked) in row.as_chunks().0.iter().zip(unpacked) {
            let weight = half::bf16::from_le_bytes(*bytes).to_f64();
            error += (weight - f64::from(unpacked)).powi(2);
            signal += weight.powi(2);
        }
    }
    (error / signal).sqrt()
}

/// Normal weights: the sum of 12 uniform numbers, from splitmix64.
fn normal_bf16(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..count)
        .flat_map(|_| {
            let sum: f64 = (0..12).map(|_| uniform()).sum();
            half::bf16::from_f64(0.03 * (sum - 6.0)).to_le_bytes()
        })
        .collect()
}
