use paligemma_checkpoint::Precision;
use paligemma_gpu::{Gpu, Linear, MatmulVariant, Variants};

use super::device::{Target, input, open, open_by_subgroups, read, run};
use crate::support::compare::{assert_agrees, assert_differs};
use crate::support::random::Rng;
use crate::support::{bounds, upload};
use crate::twins;
use crate::twins::math;
use crate::twins::matmul::{Dot, Then};

/// Around a block of eight inputs, sixteen lanes of one, and primes.
const COLUMNS: [usize; 12] = [1, 2, 7, 8, 9, 13, 63, 64, 65, 127, 129, 257];
/// Around a tile of 4, of 32, and the eight outputs of a workgroup.
const OUTPUTS: [usize; 11] = [1, 2, 3, 7, 8, 9, 31, 32, 33, 65, 101];
pub(crate) const ROWS: [usize; 8] = [2, 3, 5, 8, 31, 32, 33, 65];

pub(crate) struct Case {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) outputs: usize,
    pub(crate) bias: bool,
    pub(crate) gelu: bool,
    pub(crate) accumulate: bool,
}

/// All eight combinations of options, over shapes that are drawn from the lists.
pub(crate) fn cases(rng: &mut Rng, rows: &[usize]) -> Vec<Case> {
    (0..24)
        .map(|i| Case {
            rows: rows[i % rows.len()],
            columns: COLUMNS[rng.below(COLUMNS.len())],
            outputs: OUTPUTS[rng.below(OUTPUTS.len())],
            bias: i & 1 != 0,
            gelu: i & 2 != 0,
            // With eight rows in the list, `i & 4` would tie the option to the row.
            accumulate: (i / 8 + i / 4) & 1 != 0,
        })
        .collect()
}

pub(crate) fn matmul(precision: Precision) {
    matmul_on(&open_for(MatmulVariant::Registers), precision);
}

pub(crate) fn matmul_tiled(precision: Precision) {
    let gpu = open_for(MatmulVariant::Tiled);
    matmul_on(&gpu, precision);
    check(&gpu, &mut Rng::new(11), precision, &large());
}

/// So many outputs that tiles are the larger ones, and rows for half of a second one.
pub(crate) fn large() -> Case {
    Case {
        rows: 67,
        columns: 41,
        outputs: 64 * 191 + 5,
        bias: true,
        gelu: false,
        accumulate: true,
    }
}

pub(crate) fn open_for(matmul: MatmulVariant) -> Gpu {
    let gpu = open();
    gpu.set_variants(Variants {
        matmul,
        ..gpu.variants()
    });
    gpu
}

fn matmul_on(gpu: &Gpu, precision: Precision) {
    let mut rng = Rng::new(10);
    for case in cases(&mut rng, &ROWS) {
        check(gpu, &mut rng, precision, &case);
    }
    mistakes(gpu, 33, precision);
}

pub(crate) fn matvec(precision: Precision) {
    let gpu = open();
    let mut rng = Rng::new(20);
    for case in cases(&mut rng, &[1]) {
        check(&gpu, &mut rng, precision, &case);
    }
    // More than one round of the sixteen lanes.
    let long = Case {
        rows: 1,
        columns: 1153,
        outputs: 5,
        bias: true,
        gelu: false,
        accumulate: true,
    };
    check(&gpu, &mut rng, precision, &long);
    mistakes(&gpu, 1, precision);
    for (lanes, columns) in LANES.into_iter().zip([9, 13, 65, 127, 129, 257, 1153]) {
        share(&gpu, lanes);
        for outputs in [3, ENOUGH] {
            let case = Case {
                rows: 1,
                columns,
                outputs,
                bias: true,
                gelu: lanes % 2 == 0,
                accumulate: lanes > 4,
            };
            check(&gpu, &mut rng, precision, &case);
        }
    }
    // Eight outputs a workgroup, so that they are more than one dimension has.
    share(&gpu, 16);
    many(&gpu, precision);
    beside(&gpu, precision);
}

/// Rows of whole chunks of 32 inputs, read 16 bytes at a time; any number of invocations a team.
pub(crate) fn matvec_wide(precision: Precision) {
    let gpu = open();
    let mut rng = Rng::new(25);
    for (lanes, columns) in LANES.into_iter().zip([64, 128, 192, 256, 512, 1152, 4608]) {
        share(&gpu, lanes);
        for outputs in [1, 2, 33, 101, ENOUGH] {
            let case = Case {
                rows: 1,
                columns,
                outputs,
                bias: outputs > 2,
                gelu: outputs == 33,
                accumulate: outputs == 101,
            };
            check(&gpu, &mut rng, precision, &case);
        }
    }
    let many = Variants {
        matvec_lanes: 1000,
        ..gpu.variants()
    };
    gpu.set_variants(many);
    assert_eq!(gpu.variants().matvec_lanes, 64);
}

/// The same, a team at most as large as a subgroup; larger ones do without.
pub(crate) fn matvec_by_subgroups(precision: Precision) {
    let (gpu, fitting) = open_by_subgroups();
    assert!(!fitting.is_empty());
    let mut rng = Rng::new(26);
    for (lanes, columns) in LANES.into_iter().zip([64, 128, 192, 256, 512, 1152, 4608]) {
        share(&gpu, lanes);
        for outputs in [1, 2, 33, ENOUGH] {
            let case = Case {
                rows: 1,
                columns,
                outputs,
                bias: outputs > 2,
                gelu: outputs == 33,
                accumulate: outputs == 2,
            };
            check(&gpu, &mut rng, precision, &case);
        }
        let columns = upload::columns(precision, columns);
        let w = gpu.matrix("w", ENOUGH, columns, precision).unwrap();
        let (x, y) = (
            gpu.tensor("x", 1, columns).unwrap(),
            gpu.tensor("y", 1, ENOUGH).unwrap(),
        );
        let mut recorder = gpu.recorder();
        recorder.linear(&x, &w, Linear::default(), &y);
        let program = recorder.finish().unwrap();
        let by_subgroups = program.kernels().all(|name| name.ends_with("_subgroups"));
        assert_eq!(by_subgroups, fitting.contains(&lanes), "{lanes}");
    }
}

/// Four outputs a team, of as many invocations as there are blocks for and are wanted.
pub(crate) fn matvec_fours(precision: Precision) {
    let gpu = open();
    matvec_fours_of(&gpu, precision, [8, 24, 64, 129, 257, 1153, 2304]);
    mistakes(&gpu, 1, precision);
    in_fours(&gpu, 1 << 10);
    many(&gpu, precision);
    beside(&gpu, precision);
}

/// The same where rows are of whole chunks of 32 inputs.
pub(crate) fn matvec_fours_wide(precision: Precision) {
    matvec_fours_of(&open(), precision, [32, 64, 96, 160, 512, 1152, 4608]);
}

fn matvec_fours_of(gpu: &Gpu, precision: Precision, columns: [usize; 7]) {
    let mut rng = Rng::new(29);
    for (i, columns) in columns.into_iter().enumerate() {
        for (outputs, fours) in [
            (1, 1 << 10),
            (7, 1 << 12),
            (9, 1 << 10),
            (ENOUGH, 1 << 10 << i),
        ] {
            in_fours(gpu, fours);
            let case = Case {
                rows: 1,
                columns,
                outputs,
                bias: outputs > 2,
                gelu: i % 2 == 0,
                accumulate: outputs == 9,
            };
            check(gpu, &mut rng, precision, &case);
        }
    }
}

pub(crate) fn in_fours(gpu: &Gpu, fours: u32) {
    gpu.set_variants(Variants {
        fours,
        ..gpu.variants()
    });
    assert_eq!(gpu.variants().fours, fours);
}

/// Invocations that may share an output.
pub(crate) const LANES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
/// So many outputs that they are shared by as few as was chosen.
pub(crate) const ENOUGH: usize = 1031;

pub(crate) fn share(gpu: &Gpu, lanes: u32) {
    gpu.set_variants(Variants {
        matvec_lanes: lanes,
        fours: 0,
        ..gpu.variants()
    });
    assert_eq!(gpu.variants().matvec_lanes, lanes);
}

/// Outputs into some columns of a wider row, whose bias is of the whole.
fn beside(gpu: &Gpu, precision: Precision) {
    let mut rng = Rng::new(27);
    let (columns, outputs, first) = (upload::columns(precision, 9), 5, 3);
    let x = rng.numbers(columns, 1.0);
    let (w_gpu, w) = upload::matrix(
        gpu,
        outputs,
        columns,
        precision,
        &rng.numbers(outputs * columns, 1.0),
    );
    let bias = rng.numbers(11, 2.0);
    let target = Target::holding(gpu, 11, &[7.0; 11]);
    let (x_gpu, bias_gpu) = (input(gpu, columns, &x), upload::tensor(gpu, 11, &bias));
    let then = Linear {
        bias: Some(&bias_gpu),
        first_column: Some(first),
        ..Linear::default()
    };
    run(gpu, |r| r.linear(&x_gpu, &w_gpu, then, &target.view));
    let actual = target.read(gpu);
    let then = Then {
        bias: Some(&bias[first..first + outputs]),
        gelu: None,
        accumulate: None,
    };
    let expected = bounds::linear(&dots(&x, &w, columns), columns, outputs, then);
    assert_agrees("beside", &actual[first..first + outputs], &expected);
    let others = [&actual[..first], &actual[first + outputs..]].concat();
    assert_eq!(others, [7.0; 6]);
}

pub(crate) fn dots(x: &[f32], w: &[f32], columns: usize) -> Vec<Dot> {
    if x.len() == columns {
        twins::matvec::matvec(x, w)
    } else {
        twins::matmul::matmul(x, w, columns)
    }
}

fn check(gpu: &Gpu, rng: &mut Rng, precision: Precision, case: &Case) {
    let columns = upload::columns(precision, case.columns);
    let x = rng.numbers(case.rows * columns, 1.0);
    check_of(gpu, rng, precision, case, &x, 0.0);
}

/// `rounding`: what else a product may be off by, as a part of the sum of magnitudes.
pub(crate) fn check_of(
    gpu: &Gpu,
    rng: &mut Rng,
    precision: Precision,
    case: &Case,
    x: &[f32],
    rounding: f64,
) {
    let (rows, outputs) = (case.rows, case.outputs);
    let columns = x.len() / rows;
    let (w_gpu, w) = upload::matrix(
        gpu,
        outputs,
        columns,
        precision,
        &rng.numbers(outputs * columns, 1.0),
    );
    let bias = rng.numbers(outputs, 2.0);
    let before = rng.numbers(rows * outputs, 2.0);

    let target = if case.accumulate {
        Target::holding(gpu, outputs, &before)
    } else {
        Target::poisoned(gpu, rows, outputs)
    };
    let x_gpu = input(gpu, columns, x);
    let bias_gpu = upload::tensor(gpu, outputs, &bias);
    let then = Linear {
        bias: case.bias.then_some(&bias_gpu),
        gelu: case.gelu,
        accumulate: case.accumulate,
        first_column: None,
        exact: false,
    };
    run(gpu, |r| r.linear(&x_gpu, &w_gpu, then, &target.view));

    let then = Then {
        bias: case.bias.then_some(&bias),
        gelu: case.gelu.then_some(Then::GELU),
        accumulate: case.accumulate.then_some(&before),
    };
    let dots = dots(x, &w, columns);
    let mut expected = bounds::linear(&dots, columns, outputs, then);
    for (of, dot) in expected.iter_mut().zip(&dots) {
        // GELU's slope is at most 1.13.
        of.bound += 1.13 * rounding * dot.magnitude;
    }
    let what = format!(
        "[{rows}, {columns}] by [{outputs}, {columns}], bias {}, gelu {}, accumulate {}",
        case.bias, case.gelu, case.accumulate
    );
    assert_agrees(&what, &target.read(gpu), &expected);
}

/// A product rounds its inputs, rows of so many columns, to these before it multiplies.
pub(crate) fn rounds_to(
    gpu: &Gpu,
    precision: Precision,
    columns: usize,
    x: &[f32],
    rounded: &[f32],
) {
    let outputs = 7;
    let numbers = Rng::new(14).numbers(outputs * columns, 1.0);
    let (w_gpu, w) = upload::matrix(gpu, outputs, columns, precision, &numbers);
    let x_gpu = input(gpu, columns, x);
    let y = gpu.tensor("y", x.len() / columns, outputs).unwrap();
    run(gpu, |r| r.linear(&x_gpu, &w_gpu, Linear::default(), &y));
    let nothing = Then {
        bias: None,
        gelu: None,
        accumulate: None,
    };
    let with = |x: &[f32]| bounds::linear(&dots(x, &w, columns), columns, outputs, nothing);
    let actual = read(gpu, &y);
    assert_agrees("rounded", &actual, &with(rounded));
    assert_differs("not rounded", &actual, &with(x));
}

/// What the bounds must not let through.
fn mistakes(gpu: &Gpu, rows: usize, precision: Precision) {
    let mut rng = Rng::new(30);
    let (columns, outputs) = (upload::columns(precision, 9), 101);
    let x = rng.numbers(rows * columns, 1.0);
    let (w_gpu, w) = upload::matrix(
        gpu,
        outputs,
        columns,
        precision,
        &rng.numbers(outputs * columns, 1.0),
    );
    let bias = rng.numbers(outputs, 2.0);
    let before = rng.numbers(rows * outputs, 2.0);
    let target = Target::holding(gpu, outputs, &before);
    let (x_gpu, bias_gpu) = (input(gpu, columns, &x), upload::tensor(gpu, outputs, &bias));
    let then = Linear {
        bias: Some(&bias_gpu),
        gelu: true,
        accumulate: true,
        first_column: None,
        exact: false,
    };
    run(gpu, |r| r.linear(&x_gpu, &w_gpu, then, &target.view));
    let actual = target.read(gpu);

    let right = Then {
        bias: Some(&bias),
        gelu: Some(Then::GELU),
        accumulate: Some(&before),
    };
    let dots = dots(&x, &w, columns);
    let with = |then: Then<'_>| bounds::linear(&dots, columns, outputs, then);
    assert_agrees("all options", &actual, &with(right));
    let erf = Then {
        gelu: Some(math::gelu_erf),
        ..right
    };
    assert_differs("gelu by erf", &actual, &with(erf));
    let no_gelu = Then {
        gelu: None,
        ..right
    };
    assert_differs("no gelu", &actual, &with(no_gelu));
    let no_bias = Then {
        bias: None,
        ..right
    };
    assert_differs("no bias", &actual, &with(no_bias));
    let overwriting = Then {
        accumulate: None,
        ..right
    };
    assert_differs("overwriting", &actual, &with(overwriting));
    // The last input of each row forgotten.
    let mut short = w.clone();
    for row in short.chunks_mut(columns) {
        row[columns - 1] = 0.0;
    }
    let short = self::dots(&x, &short, columns);
    let short = bounds::linear(&short, columns, outputs, right);
    assert_differs("a forgotten input", &actual, &short);
}

/// More workgroups than one dimension of a dispatch may have.
fn many(gpu: &Gpu, precision: Precision) {
    let outputs = 8 * 65_535 + 3;
    let columns = upload::columns(precision, 1);
    let mut w = vec![0.0; outputs * columns];
    for (i, row) in w.chunks_mut(columns).enumerate() {
        row[0] = (i % 251) as f32;
    }
    let (w_gpu, w) = upload::matrix(gpu, outputs, columns, precision, &w);
    let mut x = vec![0.0; columns];
    x[0] = 2.0;
    let x = upload::tensor(gpu, columns, &x);
    let y = gpu.tensor("y", 1, outputs).unwrap();
    gpu.write(&y, 0, &vec![f32::NAN; outputs]).unwrap();
    run(gpu, |r| r.linear(&x, &w_gpu, Linear::default(), &y));
    let doubled: Vec<f32> = w.iter().step_by(columns).map(|w| 2.0 * w).collect();
    assert_eq!(read(gpu, &y), doubled);
}
