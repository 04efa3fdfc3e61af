//! The product that ends in the gated activation.

use paligemma_checkpoint::Precision;
use paligemma_gpu::{Gpu, Recorder, Tensor};

use super::device::{Target, input, open, open_by_subgroups, run};
use super::linear::{ENOUGH, LANES, in_fours, share};
use crate::support::compare::{Bounded, assert_agrees, assert_differs};
use crate::support::random::Rng;
use crate::support::{bounds, upload};
use crate::twins;
use crate::twins::math;
use crate::twins::matmul::Then;

/// Around a team's output and a workgroup's.
const OUTPUTS: [usize; 7] = [1, 2, 3, 4, 5, 33, 101];

/// `unit`: what the inputs of a row are a multiple of.
pub(crate) fn linear_geglu(precision: Precision, unit: usize) {
    linear_geglu_on(&open(), precision, unit);
}

/// The same with teams that sum through subgroups.
pub(crate) fn linear_geglu_by_subgroups(precision: Precision, unit: usize) {
    let (gpu, fitting) = open_by_subgroups();
    assert!(!fitting.is_empty());
    linear_geglu_on(&gpu, precision, unit);
}

/// The same with teams of two outputs.
pub(crate) fn linear_geglu_fours(precision: Precision, unit: usize) {
    let gpu = open();
    for (i, (outputs, factor)) in OUTPUTS
        .into_iter()
        .zip([2, 4, 6, 10, 16, 36, 2])
        .enumerate()
    {
        in_fours(&gpu, 1 << 10 << i);
        check(&gpu, &mut Rng::new(30), precision, outputs, factor * unit);
    }
    for (i, factor) in [2, 5, 9, 16, 7, 36, 3].into_iter().enumerate() {
        in_fours(&gpu, 1 << 10 << i);
        check(&gpu, &mut Rng::new(31), precision, ENOUGH, factor * unit);
    }
}

fn linear_geglu_on(gpu: &Gpu, precision: Precision, unit: usize) {
    let mut rng = Rng::new(28);
    let few = OUTPUTS.into_iter().zip([2, 4, 6, 10, 16, 36, 2]);
    let few = few.map(|(outputs, factor)| (gpu.variants().matvec_lanes, outputs, factor));
    let many = LANES.into_iter().zip([2, 5, 9, 16, 7, 36, 3]);
    let many = many.map(|(lanes, factor)| (lanes, ENOUGH, factor));
    for (lanes, outputs, factor) in few.chain(many) {
        share(gpu, lanes);
        check(gpu, &mut rng, precision, outputs, factor * unit);
    }
}

fn check(gpu: &Gpu, rng: &mut Rng, precision: Precision, outputs: usize, columns: usize) {
    let columns = upload::columns(precision, columns);
    let x = rng.numbers(columns, 1.0);
    check_of(gpu, rng, precision, outputs, &x, |_, _| ());
}

/// What else is recorded after the product, and its target.
pub(crate) fn check_of<T>(
    gpu: &Gpu,
    rng: &mut Rng,
    precision: Precision,
    outputs: usize,
    x: &[f32],
    then: impl FnOnce(&mut Recorder, &Tensor) -> T,
) -> (Vec<f32>, T) {
    let columns = x.len();
    let (w_gpu, w) = upload::matrix(
        gpu,
        2 * outputs,
        columns,
        precision,
        &rng.numbers(2 * outputs * columns, 1.0),
    );
    let target = Target::poisoned(gpu, 1, outputs);
    let x_gpu = input(gpu, columns, x);
    let mut more = None;
    run(gpu, |r| {
        r.linear_geglu(&x_gpu, &w_gpu, &target.view);
        more = Some(then(r, &target.view));
    });
    let actual = target.read(gpu);

    let plain = Then {
        bias: None,
        gelu: None,
        accumulate: None,
    };
    let dots = twins::matvec::matvec(x, &w);
    let with = |gelu: fn(f64) -> f64, gates: usize, ups: usize| -> Vec<Bounded> {
        let activated = Then {
            gelu: Some(gelu),
            ..plain
        };
        let gates = bounds::linear(&dots[gates..gates + outputs], columns, outputs, activated);
        let ups = bounds::linear(&dots[ups..ups + outputs], columns, outputs, plain);
        bounds::product(&gates, &ups)
    };
    let variants = gpu.variants();
    let what = format!("{outputs} outputs of {columns} inputs by {variants}");
    assert_agrees(&what, &actual, &with(math::gelu_tanh, 0, outputs));
    if outputs > 1 {
        assert_differs("gelu of up", &actual, &with(math::gelu_tanh, outputs, 0));
    }
    if outputs == 101 {
        assert_differs("gelu by erf", &actual, &with(math::gelu_erf, 0, outputs));
    }
    (actual, more.unwrap())
}
