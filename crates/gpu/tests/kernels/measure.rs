//! Made-up weights, and what measures an adapter.

use paligemma_checkpoint::{Precision, unpack_row};
use paligemma_gpu::Gpu;
use pollster::block_on;

use super::device::{Target, input, open, open_with, read, run};
use crate::support::bounds::U;
use crate::support::compare::{Bounded, assert_agrees, assert_differs, assert_same_bits};
use crate::support::random::Rng;
use crate::support::upload;
use crate::twins::fill::{Element, plane};
use crate::twins::{fma_peak as peak, stream_copy as copied};

const EVERY: [Precision; 7] = [
    Precision::F32,
    Precision::F16,
    Precision::BF16,
    Precision::Q8 { group: 64 },
    Precision::Q4 { group: 32 },
    Precision::Q4 { group: 64 },
    Precision::Int4 { group: 8 },
];

/// Every number of a matrix is its twin's, to the bit; read through the look-up of all its rows.
pub(crate) fn fill() {
    let gpu = open();
    for precision in EVERY {
        for [rows, columns] in [[1, 8], [3, 13], [65, 72], [7, 588], [2, 2304]] {
            let columns = upload::columns(precision, columns);
            let got = filled(&gpu, rows, columns, precision, 7);
            let wanted = twin(rows, columns, precision, 7);
            let what = format!("{precision} [{rows}, {columns}]");
            assert_same_bits(&what, &got, &wanted);
            let largest = got.iter().fold(0f32, |most, x| most.max(x.abs()));
            let unit = 1.0 / (columns as f32).sqrt();
            assert!(
                (0.1 * unit..8.0 * unit).contains(&largest),
                "{largest} {what}"
            );
        }
    }
    shards_differ();
    vectors();
}

fn filled(gpu: &Gpu, rows: usize, columns: usize, precision: Precision, seed: u32) -> Vec<f32> {
    let matrix = gpu.matrix("made up", rows, columns, precision).unwrap();
    let ids: Vec<u32> = (0..rows as u32).collect();
    let ids = upload::indices(gpu, &ids);
    let y = Target::poisoned(gpu, rows, columns);
    run(gpu, |r| {
        r.fill_matrix(&matrix, seed);
        r.embed(&ids, &matrix, 1.0, &y.view);
    });
    y.read(gpu)
}

fn twin(rows: usize, columns: usize, precision: Precision, seed: u32) -> Vec<f32> {
    let layout = precision.layout(columns);
    let (codes, scales, deviation, least) = match precision {
        Precision::F32 => (Element::F32, None, 73.0, -14),
        Precision::F16 => (Element::F16, None, 73.0, -14),
        Precision::BF16 => (Element::Bf16, None, 73.0, -14),
        Precision::Q8 { group } => (Element::Byte, Some((Element::Scale, group)), 73.0, -14),
        Precision::Q4 { group } => (Element::Nibble, Some((Element::Scale, group)), 4.6, -14),
        Precision::Int4 { group } => (Element::Nibble, Some((Element::Pair, group)), 4.6, -10),
    };
    let exponent = (1.0 / (deviation * (columns as f64).sqrt())).log2().round() as i32;
    let exponent = exponent.max(least);
    let weights = [rows, layout.weight_bytes / 4, columns];
    let weights = plane(codes, weights, seed, exponent);
    let scales = scales.map_or_else(Vec::new, |(element, group)| {
        let each = if matches!(element, Element::Pair) {
            2
        } else {
            1
        };
        let shape = [rows, layout.scale_bytes / 4, each * columns.div_ceil(group)];
        plane(element, shape, seed + 1, exponent)
    });
    (0..rows)
        .flat_map(|row| {
            let weights = &weights[row * layout.weight_bytes..][..layout.weight_bytes];
            let scales = &scales[row * layout.scale_bytes..][..layout.scale_bytes];
            unpack_row(precision, columns, weights, scales)
        })
        .collect()
}

/// The shards of a matrix are not copies of one another.
fn shards_differ() {
    let gpu = open_with(Some(64 << 10));
    let matrix = gpu.matrix("shards", 80, 512, Precision::F32).unwrap();
    assert_eq!(matrix.shard_count(), 3);
    let ids = upload::indices(&gpu, &[0, 32, 64]);
    let y = Target::poisoned(&gpu, 3, 512);
    run(&gpu, |r| {
        r.fill_matrix(&matrix, 3);
        r.embed(&ids, &matrix, 1.0, &y.view);
    });
    let rows = y.read(&gpu);
    let [first, second, third] = [0, 1, 2].map(|i| &rows[i * 512..][..512]);
    assert!(first != second && second != third && first != third);
}

/// Tensors: an offset plus noise, padding untouched.
fn vectors() {
    let gpu = open();
    for [rows, columns] in [[1, 13], [5, 72]] {
        let y = Target::poisoned(&gpu, rows, columns);
        run(&gpu, |r| r.fill_tensor(&y.view, 11, -12, 1.0));
        let row_words = columns.next_multiple_of(8);
        let noise = plane(Element::F32, [rows, row_words, columns], 11, -12);
        let wanted: Vec<f32> = noise
            .chunks(row_words * 4)
            .flat_map(|row| row[..columns * 4].chunks(4))
            // Exact: 8 bits and the one of the offset, 12 bits apart.
            .map(|b| 1.0 + f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert_same_bits("a tensor", &y.read(&gpu), &wanted);
    }
}

pub(crate) fn stream_copy() {
    let gpu = open();
    let mut rng = Rng::new(21);
    for [rows, columns] in [[1, 4], [1, 13], [3, 4096], [129, 256], [1000, 257]] {
        let x = rng.numbers(rows * columns, 3.0);
        let target = Target::poisoned(&gpu, rows, columns);
        let source = input(&gpu, columns, &x);
        run(&gpu, |r| r.stream_copy(&source, &target.view));
        assert_same_bits("a copy", &target.read(&gpu), &copied::stream_copy(&x));
    }
}

/// With factors of at most a half an error shrinks as it goes: each step adds at most two
/// roundings of what it holds, at most u (|c| + |addend|) each where fma is a product and a sum,
/// so that a chain is never off by more than 4 u (|start| + 2 |addend|). The sum of 32 chains adds
/// 6 roundings of at most their magnitudes.
pub(crate) fn fma_peak() {
    let gpu = open();
    for (rounds, factor, addend) in [
        (0, 0.5, 1.0),
        (1, 0.5, 1.0),
        (3, -0.4, 0.3),
        (300, 0.5, 7.0),
    ] {
        let y = gpu.tensor("sums", 1, 512).unwrap();
        run(&gpu, |r| r.fma_peak(&y, rounds, factor, addend));
        let got = read(&gpu, &y);
        let expected = |steps: usize| -> Vec<Bounded> {
            (0..512)
                .map(|i| {
                    let i = i % 256;
                    let value = peak::fma_peak(i, steps, factor, addend);
                    let largest = (i + 32) as f64 + 2.0 * f64::from(addend);
                    Bounded {
                        value,
                        bound: 32.0 * (4.0 + 6.0) * U * largest,
                    }
                })
                .collect()
        };
        assert_agrees("chains", &got, &expected(8 * rounds as usize));
        if rounds == 1 {
            assert_differs("a step less", &got, &expected(7));
        }
    }
}

/// Nothing about the numbers but that they are some: machines differ.
#[test]
fn limits_are_measured() {
    let limits = block_on(open().measure_limits()).unwrap();
    for limit in [
        limits.copy_bytes_per_second,
        limits.multiply_adds_per_second,
    ] {
        assert!(limit.is_finite() && limit > 0.0, "{limits:?}");
    }
}
