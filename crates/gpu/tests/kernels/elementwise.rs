use paligemma_gpu::{Recorder, Tensor};

use super::device::{Target, input, open, read, run};
use crate::support::bounds;
use crate::support::compare::{Bounded, assert_agrees, assert_differs, assert_same_bits};
use crate::support::random::Rng;
use crate::twins;
use crate::twins::math;

/// Rows and columns: 1, primes, around 64 vec4s, not multiples of four or eight.
const SHAPES: [[usize; 2]; 8] = [
    [1, 1],
    [1, 3],
    [2, 5],
    [7, 13],
    [1, 256],
    [1, 257],
    [33, 8],
    [5, 1009],
];

pub(crate) fn add() {
    let gpu = open();
    let mut rng = Rng::new(1);
    for [rows, columns] in SHAPES {
        let x = rng.numbers(rows * columns, 3.0);
        let y = rng.numbers(rows * columns, 3.0);
        let target = Target::holding(&gpu, columns, &y);
        let x_gpu = input(&gpu, columns, &x);
        run(&gpu, |r| r.add(&x_gpu, &target.view));
        let expected: Vec<_> = twins::add::add(&x, &y)
            .into_iter()
            .map(bounds::rounded)
            .collect();
        assert_agrees("add", &target.read(&gpu), &expected);
    }
    assert_eq!(many(256, |r, x, y| r.add(x, y)), [43.0; 64]);
}

pub(crate) fn geglu() {
    let gpu = open();
    let mut rng = Rng::new(2);
    for [rows, columns] in SHAPES {
        let up = rng.numbers(rows * columns, 3.0);
        let mut gate = rng.numbers(rows * columns, 6.0);
        // Where tanh changes its formula, where it is 1, and far beyond.
        for (gate, special) in gate.iter_mut().zip([0.0, -0.31, 0.32, 100.0, -100.0, 1e5]) {
            *gate = special;
        }
        let target = Target::poisoned(&gpu, rows, columns);
        let both = side_by_side(&gate, &up, columns);
        let both = input(&gpu, 2 * columns, &both);
        run(&gpu, |r| r.geglu(&both, &target.view));
        let actual = target.read(&gpu);

        let expected = twins::geglu::geglu(&up, &gate);
        assert_agrees("geglu", &actual, &bounds::geglu(&up, &gate, &expected));
        if rows * columns > 64 {
            let erf = twins::geglu::geglu_with(&up, &gate, math::gelu_erf);
            assert_differs("gelu by erf", &actual, &bounds::geglu(&up, &gate, &erf));
            let swapped = twins::geglu::geglu(&gate, &up);
            let swapped = bounds::geglu(&gate, &up, &swapped);
            assert_differs("gelu of up", &actual, &swapped);
        }
    }
}

/// Rows of gates, then of ups.
fn side_by_side(gate: &[f32], up: &[f32], columns: usize) -> Vec<f32> {
    let rows = gate.chunks(columns).zip(up.chunks(columns));
    rows.flat_map(|(gate, up)| [gate, up].concat()).collect()
}

pub(crate) fn soft_cap() {
    let gpu = open();
    let mut rng = Rng::new(3);
    for ([rows, columns], cap) in SHAPES.into_iter().zip([30.0, 50.0, 1.0, 30.0].repeat(2)) {
        let mut x = rng.numbers(rows * columns, 4.0 * cap);
        for (x, special) in x.iter_mut().zip([-1e30, 0.0, 1e4, 1e-3, 0.2499 * cap]) {
            *x = special;
        }
        let target = Target::holding(&gpu, columns, &x);
        run(&gpu, |r| r.soft_cap(&target.view, cap));
        let actual = target.read(&gpu);

        let expected = twins::soft_cap::soft_cap(&x, cap);
        assert_agrees("soft cap", &actual, &bounds::soft_cap(&x, cap, &expected));
        assert!(actual.iter().all(|x| x.abs() <= cap), "beyond the cap");
        let unscaled: Vec<f64> = expected.iter().map(|y| y / f64::from(cap)).collect();
        if cap != 1.0 {
            let unscaled = bounds::soft_cap(&x, cap, &unscaled);
            assert_differs("tanh without the cap", &actual, &unscaled);
        }
        let clamped = |x: &f32| Bounded {
            value: f64::from(x.clamp(-cap, cap)),
            bound: 1e-4 * f64::from(cap),
        };
        if columns > 1 && rows > 1 {
            let clamped: Vec<_> = x.iter().map(clamped).collect();
            assert_differs("a clamp", &actual, &clamped);
        }
    }
    no_cap();
    assert_eq!(many(64, |r, _, y| r.soft_cap(y, 2.0)), [2.0; 64]);
}

/// A cap of 0 is none.
fn no_cap() {
    let gpu = open();
    let x = [-1e30, 0.0, 1.0, 77.7];
    let target = Target::holding(&gpu, 4, &x);
    run(&gpu, |r| r.soft_cap(&target.view, 0.0));
    assert_same_bits("no cap", &target.read(&gpu), &x);
}

/// More workgroups than one dimension of a dispatch may have: the last rows are done too.
/// `per_group` is how many floats a workgroup does.
fn many(per_group: usize, record: impl FnOnce(&mut Recorder, &Tensor, &Tensor)) -> Vec<f32> {
    let gpu = open();
    let before = per_group * 65_535 / 8;
    let [(x, x_tail), (y, y_tail)] = [(); 2].map(|()| {
        let whole = gpu.tensor("many", before + 8, 8).unwrap();
        let tail = whole.slice_rows(before..before + 8).unwrap();
        (whole, tail)
    });
    gpu.write(&x_tail, 0, &[3.0; 64]).unwrap();
    gpu.write(&y_tail, 0, &[40.0; 64]).unwrap();
    run(&gpu, |r| record(r, &x, &y));
    read(&gpu, &y_tail)
}
