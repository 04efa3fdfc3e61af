//! What attention weighs values with, and the loss of rows of logits.

use paligemma_gpu::{Attention, CachePrecision, Gpu};
use pollster::block_on;

use super::attention::{Data, SHAPES};
use super::device::{Target, input, open, read, run};
use crate::support::compare::{Bounded, assert_agrees, assert_differs};
use crate::support::random::{Rng, for_every_cache};
use crate::support::{bounds, upload};
use crate::twins::attention::Shape;
use crate::twins::{attention_weights as twin, cross_entropy as loss};

pub(crate) fn attention_weights(cache: CachePrecision) {
    let gpu = open();
    let mut rng = Rng::new(130);
    for (i, shape) in SHAPES.iter().enumerate() {
        for sharpness in [0.01, 1.0, 20.0] {
            let data = Data::new(&mut rng, shape, sharpness);
            let keys = shape.prefix.max(shape.first + shape.rows);
            let expected = expected(shape, &data, keys);
            let (first, count) = (0, shape.rows);
            let actual = weigh(&gpu, cache, shape, &data, keys, first..first + count);
            assert_agrees(&format!("shape {i}"), &actual, &expected);
            for row in actual.chunks(keys) {
                let sum: f32 = row.iter().sum();
                assert!((sum - 1.0).abs() < 1e-4, "shape {i}: {sum}");
            }
            // Some rows only.
            let first = rng.below(shape.rows);
            let count = rng.size(shape.rows - first);
            let some: Vec<Bounded> = expected
                .chunks(shape.rows * keys)
                .flat_map(|head| head[first * keys..(first + count) * keys].to_vec())
                .collect();
            let actual = weigh(&gpu, cache, shape, &data, keys, first..first + count);
            assert_agrees(&format!("shape {i} from {first}"), &actual, &some);
        }
    }
    mistakes(&gpu, cache, &mut rng);
}

fn expected(shape: &Shape, data: &Data, keys: usize) -> Vec<Bounded> {
    let weights = twin::attention_weights(shape, &data.q, &data.k, keys);
    bounds::attention_weights(&weights, shape.head_dim, shape.cap)
}

fn weigh(
    gpu: &Gpu,
    precision: CachePrecision,
    shape: &Shape,
    data: &Data,
    keys: usize,
    rows: std::ops::Range<usize>,
) -> Vec<f32> {
    let cache = gpu
        .kv_cache(shape.kv_heads, shape.capacity, shape.head_dim, precision)
        .unwrap();
    gpu.write_cache(&cache, [&data.k, &data.k]).unwrap();
    let q = gpu
        .queries(shape.heads, shape.rows, shape.head_dim)
        .unwrap();
    gpu.write(&q, 0, &data.q).unwrap();
    let span = upload::indices(gpu, &[shape.first as u32, shape.prefix as u32]);
    let target = Target::poisoned(gpu, shape.heads * rows.len(), keys);
    let how = Attention {
        heads: shape.heads,
        scale: shape.scale,
        soft_cap: shape.cap,
        window: shape.window,
    };
    run(gpu, |r| {
        r.attention_weights(&q, &cache, &span, how, rows.start, &target.view);
    });
    target.read(gpu)
}

fn mistakes(gpu: &Gpu, cache: CachePrecision, rng: &mut Rng) {
    let right = Shape { ..SHAPES[22] };
    let data = Data::new(rng, &right, 1.0);
    let keys = 40;
    let actual = weigh(gpu, cache, &right, &data, keys, 0..right.rows);
    assert_agrees("weights", &actual, &expected(&right, &data, keys));
    for (mistake, wrong) in [
        (
            "another window",
            Shape {
                window: Some(8),
                ..right
            },
        ),
        (
            "a longer prefix",
            Shape {
                prefix: 34,
                ..right
            },
        ),
        ("no cap", Shape { cap: None, ..right }),
        (
            "another scale",
            Shape {
                scale: 0.250_25,
                ..right
            },
        ),
    ] {
        assert_differs(mistake, &actual, &expected(&wrong, &data, keys));
    }
}

pub(crate) fn cross_entropy() {
    let gpu = open();
    let mut rng = Rng::new(131);
    for columns in [1, 2, 63, 64, 65, 127, 1009, 2047, 2049, 9001] {
        for rows in [1, 3, 8] {
            for spread in [0.01, 3.0, 40.0] {
                check(&gpu, &mut rng, rows, columns, spread);
            }
        }
    }
    // A row all alike, far from zero: log n, whatever the level.
    let x = vec![-1.0e4; 500];
    let actual = losses(&gpu, &x, 500, &[499]);
    let log = Bounded {
        value: 500f64.ln(),
        bound: 1e-5,
    };
    assert_agrees("a level row", &actual, &[log]);

    let x = rng.numbers(3 * 700, 5.0);
    let targets = [0, 350, 699];
    let actual = losses(&gpu, &x, 700, &targets);
    let with = |targets: &[u32]| bounds::cross_entropy(&loss::cross_entropy(&x, 700, targets), 700);
    assert_agrees("losses", &actual, &with(&targets));
    assert_differs("other targets", &actual, &with(&[1, 350, 699]));
    let mut moved = x.clone();
    moved[700 + 350] += 0.001;
    let wrong = bounds::cross_entropy(&loss::cross_entropy(&moved, 700, &targets), 700);
    assert_differs("a target that moved", &actual, &wrong);
}

fn check(gpu: &Gpu, rng: &mut Rng, rows: usize, columns: usize, spread: f32) {
    let x = rng.numbers(rows * columns, spread);
    let targets: Vec<u32> = (0..rows).map(|_| rng.below(columns) as u32).collect();
    let expected = bounds::cross_entropy(&loss::cross_entropy(&x, columns, &targets), columns);
    let actual = losses(gpu, &x, columns, &targets);
    assert_agrees(&format!("{rows} of {columns}"), &actual, &expected);
}

fn losses(gpu: &Gpu, x: &[f32], columns: usize, targets: &[u32]) -> Vec<f32> {
    let x = input(gpu, columns, x);
    let targets_there = upload::indices(gpu, targets);
    let y = Target::poisoned(gpu, 1, targets.len());
    run(gpu, |r| r.cross_entropy(&x, &targets_there, &y.view));
    y.read(gpu)
}

#[test]
fn rows_are_gathered_in_any_order() {
    let gpu = open();
    let numbers: Vec<f32> = (0..11 * 13).map(|i| i as f32).collect();
    let source = input(&gpu, 13, &numbers);
    for rows in [vec![10], vec![3, 4, 5], vec![7, 0, 1, 1, 10, 9]] {
        let target = gpu.tensor("gathered", rows.len(), 13).unwrap();
        run(&gpu, |r| r.gather_rows(&source, &rows, &target));
        let wanted = rows
            .iter()
            .flat_map(|row| &numbers[row * 13..(row + 1) * 13]);
        assert_eq!(read(&gpu, &target), wanted.copied().collect::<Vec<_>>());
    }
}

#[test]
fn a_cache_is_copied_head_by_head() {
    let gpu = open();
    for precision in [
        CachePrecision::F32,
        CachePrecision::F16,
        CachePrecision::Int8,
    ] {
        let [small, large] =
            [5, 9].map(|capacity| gpu.kv_cache(3, capacity, 6, precision).unwrap());
        let mut numbers = Rng::new(140).numbers(3 * 5 * 6, 2.0);
        for_every_cache(&mut numbers, 6, 0);
        let negative: Vec<f32> = numbers.iter().map(|x| -x).collect();
        gpu.write_cache(&small, [&numbers, &negative]).unwrap();
        run(&gpu, |r| r.copy_cache(&small, 4, &large));
        let [keys, values] = block_on(gpu.read_cache(&large, 9)).unwrap();
        for head in 0..3 {
            for i in 0..9 * 6 {
                let wanted = if i < 4 * 6 {
                    numbers[head * 30 + i]
                } else {
                    0.0
                };
                assert_eq!(keys[head * 54 + i], wanted);
                assert_eq!(values[head * 54 + i], -wanted);
            }
        }
        let [first, _] = block_on(gpu.read_cache(&large, 2)).unwrap();
        assert_eq!(first.len(), 3 * 2 * 6);
        assert_eq!(first[2 * 6..][..6], keys[54..][..6]);
    }
}

#[test]
fn half_a_cache_is_half_as_large() {
    let gpu = open();
    let bytes = |precision| {
        let cache = gpu.kv_cache(3, 5, 6, precision).unwrap();
        assert_eq!(cache.precision(), precision);
        cache.bytes_per_position()
    };
    // Keys and values, three heads of six numbers, padded to eight.
    assert_eq!(bytes(CachePrecision::F32), 2 * 3 * 8 * 4);
    assert_eq!(bytes(CachePrecision::F16), 2 * 3 * 8 * 2);
    // And a factor for each head.
    assert_eq!(bytes(CachePrecision::Int8), 2 * 3 * (8 + 4));
    for precision in [
        CachePrecision::F32,
        CachePrecision::F16,
        CachePrecision::Int8,
    ] {
        assert_eq!(bytes(precision), 2 * 3 * precision.head_bytes(6));
    }
}

#[test]
fn what_a_cache_has_no_room_for() {
    let gpu = open();
    let cache = gpu.kv_cache(2, 3, 4, CachePrecision::F16).unwrap();
    for length in [2 * 4 * 4, 2 * 4 - 1, 7] {
        let numbers = vec![0.0; length];
        assert!(gpu.write_cache(&cache, [&numbers, &numbers]).is_err());
    }
    let other = gpu.kv_cache(2, 3, 4, CachePrecision::F32).unwrap();
    let mut r = gpu.recorder();
    r.copy_cache(&cache, 1, &other);
    assert!(r.finish().is_err(), "of another precision");
}
