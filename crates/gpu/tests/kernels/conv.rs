//! Convolutions over batches of pictures.

use paligemma_gpu::{Conv, Gpu, Recorder, Tensor};

use super::device::{Target, input, open, run};
use crate::support::bounds;
use crate::support::compare::{Bounded, assert_agrees, assert_differs};
use crate::support::random::Rng;
use crate::support::upload;
use crate::twins::conv::{Shape, conv as conv_twin};
use crate::twins::conv_transposed::conv_transposed as transposed_twin;
use crate::twins::matmul::Dot;

const fn shape(
    pictures: usize,
    side: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
) -> Shape {
    Shape {
        pictures,
        side,
        inputs,
        outputs,
        kernel,
    }
}

type Record = fn(&mut Recorder, &Tensor, usize, Conv<'_>, &Tensor);

/// One shape with every combination of what may follow, and mistakes that have to be seen.
fn check(
    gpu: &Gpu,
    rng: &mut Rng,
    of: Shape,
    growth: usize,
    record: Record,
    twin: fn(&[f32], &[f32], Shape) -> Vec<Dot>,
) {
    let x = rng.numbers(of.pictures * of.side * of.side * of.inputs, 1.0);
    let w = rng.numbers(of.outputs * of.kernel * of.kernel * of.inputs, 1.0);
    let bias = rng.numbers(of.outputs, 1.0);
    let pixels = of.pictures * of.side * of.side * growth * growth;
    let (x_gpu, w_gpu) = (
        input(gpu, of.inputs, &x),
        upload::tensor(gpu, of.inputs, &w),
    );
    let bias_gpu = upload::tensor(gpu, of.outputs, &bias);
    let sums = twin(&x, &w, of);
    let length = of.kernel * of.kernel * of.inputs;
    for (relu, accumulate) in [(false, false), (true, false), (false, true), (true, true)] {
        let before = rng.numbers(pixels * of.outputs, 2.0);
        let target = if accumulate {
            Target::holding(gpu, of.outputs, &before)
        } else {
            Target::poisoned(gpu, pixels, of.outputs)
        };
        let conv = Conv {
            weight: &w_gpu,
            bias: &bias_gpu,
            kernel: of.kernel,
            relu,
            accumulate,
        };
        run(gpu, |r| record(r, &x_gpu, of.side, conv, &target.view));
        let actual = target.read(gpu);

        let before = accumulate.then_some(&before[..]);
        let expected = |sums: &[Dot], bias: &[f32]| bounds::conv(sums, length, bias, relu, before);
        assert_agrees("conv", &actual, &expected(&sums, &bias));
        if relu {
            // A single number may be above 0 anyway.
            if pixels * of.outputs > 8 {
                let linear = bounds::conv(&sums, length, &bias, false, before);
                assert_differs("no rectifier", &actual, &linear);
            }
        } else {
            let none = vec![0.0; of.outputs];
            assert_differs("no bias", &actual, &expected(&sums, &none));
            if of.kernel > 1 && of.side > 1 {
                // Rows of the kernel where its columns should be.
                let turned: Vec<f32> = (0..w.len())
                    .map(|i| {
                        let (row, input) = (i / of.inputs, i % of.inputs);
                        let (output, place) =
                            (row / (of.kernel * of.kernel), row % (of.kernel * of.kernel));
                        w[of.weight(output, [place % of.kernel, place / of.kernel], input)]
                    })
                    .collect();
                let mistaken: Vec<Bounded> = expected(&twin(&x, &turned, of), &bias);
                assert_differs("a turned kernel", &actual, &mistaken);
            }
        }
    }
}

pub(crate) fn conv() {
    let gpu = open();
    let mut rng = Rng::new(90);
    for of in [
        shape(1, 1, 1, 1, 1),
        shape(1, 1, 8, 5, 3), // all but the middle of the kernel lies outside
        shape(2, 4, 13, 7, 1),
        shape(1, 4, 128, 128, 3),
        shape(3, 5, 3, 2, 3),
        shape(5, 2, 9, 33, 3),
        shape(1, 7, 4, 3, 5),
        shape(2, 9, 16, 1, 1),
    ] {
        check(&gpu, &mut rng, of, 1, Recorder::conv, conv_twin);
    }
}

pub(crate) fn conv_transposed() {
    let gpu = open();
    let mut rng = Rng::new(91);
    for of in [
        shape(1, 1, 1, 1, 4),
        shape(1, 4, 128, 35, 4),
        shape(3, 3, 5, 7, 4),
        shape(2, 8, 32, 16, 4),
        shape(7, 2, 1, 33, 4),
        shape(1, 13, 11, 2, 4),
    ] {
        check(
            &gpu,
            &mut rng,
            of,
            2,
            Recorder::conv_transposed,
            transposed_twin,
        );
    }
}

/// More pictures than one dispatch may have workgroups for: the batch is cut, and every part of it
/// is computed.
#[test]
fn a_large_batch_is_cut_into_dispatches() {
    let gpu = open();
    let mut rng = Rng::new(92);
    let of = shape(131, 64, 1, 1, 1); // 131 · 4096 pixels, 8 a workgroup
    let x = rng.numbers(of.pictures * of.side * of.side, 1.0);
    let (x_gpu, w_gpu) = (input(&gpu, 1, &x), upload::tensor(&gpu, 1, &[2.0]));
    let bias_gpu = upload::tensor(&gpu, 1, &[0.25]);
    let target = Target::poisoned(&gpu, x.len(), 1);
    let conv = Conv {
        weight: &w_gpu,
        bias: &bias_gpu,
        kernel: 1,
        relu: false,
        accumulate: false,
    };
    run(&gpu, |r| r.conv(&x_gpu, of.side, conv, &target.view));
    let sums = conv_twin(&x, &[2.0], of);
    let expected = bounds::conv(&sums, 1, &[0.25], false, None);
    assert_agrees("conv", &target.read(&gpu), &expected);
}
