//! Products of a row of the residual stream with the norm before them inside.

use paligemma_checkpoint::Precision;
use paligemma_gpu::{Gpu, Linear, Normed, Recorder, Variants};

use super::device::{Target, input, open, open_with, run_first};
use super::linear::ENOUGH;
use super::misfits::refused;
use super::{WIDE_Q4, WIDE_Q8};
use crate::support::compare::{Bounded, assert_agrees, assert_differs};
use crate::support::random::Rng;
use crate::support::{bounds, upload};
use crate::twins;
use crate::twins::math;
use crate::twins::matmul::Then;
use crate::twins::rms_norm::rms_norm as rms_twin;

const EPS: f32 = 1e-6;

/// Either product, by the name of its kernel.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain(&'static str),
    Gated(&'static str),
}

/// `unit`: what the inputs of a row are a multiple of.
pub(crate) fn linear(name: &'static str, precision: Precision, unit: usize) {
    of_kind(Kind::Plain(name), precision, unit);
}

pub(crate) fn geglu(name: &'static str, precision: Precision, unit: usize) {
    of_kind(Kind::Gated(name), precision, unit);
}

fn of_kind(kind: Kind, precision: Precision, unit: usize) {
    let gpu = open();
    let mut rng = Rng::new(62);
    // Fewer invocations than a team may have, several, and as many as a workgroup; rows that are padded,
    // that the 256 invocations of a workgroup read in one go and in several.
    for (i, factor) in [1, 3, 9, 36, 72, 145].into_iter().enumerate() {
        for (j, outputs) in [1, 7, 33, ENOUGH].into_iter().enumerate() {
            in_force(&gpu, 1 << 10 << ((i + j) % 6));
            let short = usize::from(unit == 8 && j % 2 == 1);
            let columns = upload::columns(precision, factor * unit - 3 * short);
            let is_branched = (i + j) % 2 == 0;
            check(
                &gpu,
                &mut rng,
                kind,
                precision,
                [outputs, columns],
                is_branched,
            );
        }
    }
}

fn in_force(gpu: &Gpu, fours: u32) {
    let variants = Variants {
        fours,
        norms: true,
        ..gpu.variants()
    };
    gpu.set_variants(variants);
    assert_eq!(gpu.variants(), variants);
}

fn check(
    gpu: &Gpu,
    rng: &mut Rng,
    kind: Kind,
    precision: Precision,
    [outputs, columns]: [usize; 2],
    is_branched: bool,
) {
    let rows = match kind {
        Kind::Plain(_) => outputs,
        Kind::Gated(_) => 2 * outputs,
    };
    let numbers = rng.numbers(rows * columns, 1.0);
    let (w_gpu, w) = upload::matrix(gpu, rows, columns, precision, &numbers);
    // Near eps, a wrong one shows.
    let size = [1.0, 3e-3, 3.0][rng.below(3)];
    let hidden = rng.numbers(columns, size);
    let branch = rng.numbers(columns, 40.0 * size);
    let (scale, branch_scale) = (rng.numbers(columns, 1.5), rng.numbers(columns, 1.5));
    let [hidden_gpu, branch_gpu, scale_gpu, branch_scale_gpu] =
        [&hidden, &branch, &scale, &branch_scale].map(|x| input(gpu, columns, x));
    let before = vec![7.0; columns];
    let sum = Target::holding(gpu, columns, &before);
    let y = Target::poisoned(gpu, 1, outputs);
    let x = Normed {
        hidden: &hidden_gpu,
        branch: is_branched.then_some((&branch_gpu, &branch_scale_gpu)),
        sum: &sum.view,
        scale: &scale_gpu,
        eps: EPS,
    };
    let record = |r: &mut Recorder| {
        assert!(r.norms_within(&w_gpu));
        match kind {
            Kind::Plain(_) => r.linear_normed(x, &w_gpu, &y.view),
            Kind::Gated(_) => r.linear_geglu_normed(x, &w_gpu, &y.view),
        }
    };
    let (Kind::Plain(name) | Kind::Gated(name)) = kind;
    run_first(gpu, name, record);
    let (added, actual) = (sum.read(gpu), y.read(gpu));

    let read = if is_branched {
        let twin = rms_twin(&branch, &branch_scale, EPS);
        assert_agrees("sum", &added, &bounds::rms_norm(&twin, Some(&hidden)));
        // The product is of the sum as it was rounded.
        added
    } else {
        assert_eq!(added, before);
        hidden.clone()
    };
    let expected =
        |x: &[f32], scale: &[f32], eps: f32| twin(kind, &rms_twin(x, scale, eps), &w, outputs);
    let variants = gpu.variants();
    let what = format!("{name}: {outputs} outputs of {columns} inputs by {variants}");
    assert_agrees(&what, &actual, &expected(&read, &scale, EPS));
    if outputs == 1 || columns <= 8 {
        // The gelu of one gate may be next to nothing whatever it is of.
        return;
    }
    let largest = read.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let differs = |what: &str, x: &[f32], scale: &[f32], eps: f32| {
        assert_differs(what, &actual, &expected(x, scale, eps));
    };
    differs("eps", &read, &scale, largest * largest);
    differs("the other scale", &read, &branch_scale, EPS);
    if is_branched {
        differs("no branch", &hidden, &scale, EPS);
    }
}

/// Products with the norm of a row. A term rounds its scale, and its product with that, beside what a product
/// rounds; the factor is off by half the columns and 13, as of any norm, and its product with the sum rounds; and
/// here the norm is rounded to 32 bits: half the columns and 17 roundings more than a product's.
fn twin(kind: Kind, normed: &[f64], w: &[f32], outputs: usize) -> Vec<Bounded> {
    let columns = normed.len();
    let normed: Vec<f32> = normed.iter().map(|&x| x as f32).collect();
    let dots = twins::matvec::matvec(&normed, w);
    let length = columns + columns / 2 + 17;
    let of = |from: usize, gelu: Option<fn(f64) -> f64>| {
        let then = Then {
            bias: None,
            gelu,
            accumulate: None,
        };
        bounds::linear(&dots[from..from + outputs], length, outputs, then)
    };
    if let Kind::Plain(_) = kind {
        return of(0, None);
    }
    bounds::product(&of(0, Some(math::gelu_tanh)), &of(outputs, None))
}

#[test]
fn norms_stay_outside_where_they_have_to() {
    let gpu = open();
    let within = |gpu: &Gpu, precision: Precision, columns: usize| {
        let w = gpu.matrix("w", 40, columns, precision).unwrap();
        gpu.recorder().norms_within(&w)
    };
    assert!(!within(&gpu, WIDE_Q4, 64));
    in_force(&gpu, 1 << 10);
    assert!(within(&gpu, WIDE_Q4, 64) && within(&gpu, Precision::F32, 40));
    // Narrow rows have no such kernel, and a matrix of several shards would write a row several times.
    assert!(!within(&gpu, WIDE_Q4, 40));
    assert!(!within(&gpu, Precision::Q8 { group: 16 }, 64));
    let split = open_with(Some(16_384));
    in_force(&split, 1 << 10);
    assert!(within(&split, WIDE_Q8, 64) && !within(&split, WIDE_Q8, 1024));
    // Whoever writes a row packs it for products of bytes.
    let both = Variants {
        bytes: true,
        ..gpu.variants()
    };
    gpu.set_variants(both);
    assert!(gpu.variants().bytes && !gpu.variants().norms);
    gpu.set_variants(Variants {
        fours: 0,
        bytes: false,
        ..both
    });
    assert!(!gpu.variants().norms);
}

#[test]
fn what_is_bound_twice_or_does_not_fit_is_refused() {
    let gpu = open();
    in_force(&gpu, 1 << 10);
    let w = gpu.matrix("w", 6, 64, WIDE_Q4).unwrap();
    let row = |columns| gpu.tensor("row", 1, columns).unwrap();
    let (hidden, branch, sum, scale, y) = (row(64), row(64), row(64), row(64), row(6));
    let (narrow, gated) = (row(32), row(3));
    let x = Normed {
        hidden: &hidden,
        branch: Some((&branch, &scale)),
        sum: &sum,
        scale: &scale,
        eps: EPS,
    };
    let mut fine = gpu.recorder();
    fine.linear_normed(x, &w, &y);
    fine.linear_geglu_normed(x, &w, &gated);
    fine.finish().unwrap();
    let square = gpu.matrix("w", 64, 64, WIDE_Q4).unwrap();
    for (x, w, y) in [
        (Normed { sum: &hidden, ..x }, &w, &y),
        (Normed { sum: &branch, ..x }, &w, &y),
        (Normed { sum: &narrow, ..x }, &w, &y),
        (
            Normed {
                scale: &narrow,
                ..x
            },
            &w,
            &y,
        ),
        (
            Normed {
                branch: Some((&narrow, &scale)),
                ..x
            },
            &w,
            &y,
        ),
        (
            Normed {
                branch: Some((&branch, &narrow)),
                ..x
            },
            &w,
            &y,
        ),
        (
            Normed {
                hidden: &narrow,
                ..x
            },
            &w,
            &y,
        ),
        (x, &w, &gated),
        (x, &square, &hidden),
        (x, &square, &branch),
        (x, &square, &sum),
    ] {
        refused(&gpu, "matvec_", |r| r.linear_normed(x, w, y));
    }
    refused(&gpu, "matvec_", |r| r.linear_geglu_normed(x, &w, &y));
    gpu.set_variants(Variants {
        norms: false,
        ..gpu.variants()
    });
    refused(&gpu, "matvec_", |r| r.linear_normed(x, &w, &y));
    // Without it, a product is what it was.
    let mut plain = gpu.recorder();
    plain.linear(&hidden, &w, Linear::default(), &y);
    plain.finish().unwrap();
}
