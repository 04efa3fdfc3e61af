//! A matrix that is larger than a binding gives the numbers that it gives in one piece.

use paligemma_checkpoint::Precision;
use paligemma_gpu::{Gpu, GpuError, Linear};
use pollster::block_on;

use super::device::{Target, input, open, open_with, run};
use crate::support::compare::assert_same_bits;
use crate::support::random::Rng;
use crate::support::upload;

/// Bytes of a binding: room for the activations of these tests, not for their weights.
const SMALL: usize = 16_384;

struct Case {
    rows: usize,
    columns: usize,
    outputs: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    before: Vec<f32>,
}

fn case(rng: &mut Rng, rows: usize, columns: usize, outputs: usize) -> Case {
    Case {
        rows,
        columns,
        outputs,
        x: rng.numbers(rows * columns, 1.0),
        w: rng.numbers(outputs * columns, 1.0),
        bias: rng.numbers(outputs, 1.0),
        before: rng.numbers(rows * outputs, 1.0),
    }
}

fn linear(gpu: &Gpu, case: &Case, precision: Precision) -> (Vec<f32>, usize) {
    let (w, _) = upload::matrix(gpu, case.outputs, case.columns, precision, &case.w);
    let x = input(gpu, case.columns, &case.x);
    let bias = upload::tensor(gpu, case.outputs, &case.bias);
    let target = Target::holding(gpu, case.outputs, &case.before);
    let then = Linear {
        bias: Some(&bias),
        gelu: true,
        accumulate: true,
        first_column: None,
        exact: false,
    };
    run(gpu, |r| r.linear(&x, &w, then, &target.view));
    (target.read(gpu), w.shard_count())
}

#[test]
fn products_do_not_depend_on_shards() {
    let whole = open();
    let split = open_with(Some(SMALL as u64));
    let mut rng = Rng::new(130);
    for (rows, columns, outputs) in [(1, 256, 150), (1, 263, 200), (5, 256, 150), (3, 256, 150)] {
        for precision in upload::PRECISIONS {
            let columns = upload::columns(precision, columns);
            let case = case(&mut rng, rows, columns, outputs);
            let (expected, one) = linear(&whole, &case, precision);
            let (actual, several) = linear(&split, &case, precision);
            assert_eq!(one, 1);
            let layout = precision.layout(case.columns);
            let row = layout.weight_bytes.max(layout.scale_bytes);
            assert_eq!(several, case.outputs.div_ceil(SMALL / row));
            assert!(several > 1, "{several} shards");
            let what = format!("{precision:?}, {} rows, {several} shards", case.rows);
            assert_same_bits(&what, &actual, &expected);
        }
    }
}

/// One row a shard, and exactly full shards.
#[test]
fn shards_of_single_rows() {
    let whole = open();
    let mut rng = Rng::new(140);
    for (max_binding_bytes, shards) in [(1024, 7), (2048, 4), (7168, 1)] {
        let split = open_with(Some(max_binding_bytes));
        let (w, _) = upload::matrix(&split, 7, 256, Precision::F32, &rng.numbers(7 * 256, 1.0));
        assert_eq!(w.shard_count(), shards);
        let case = Case {
            before: vec![0.0; 7],
            ..case(&mut rng, 1, 256, 7)
        };
        let x = upload::tensor(&split, 256, &case.x[..256]);
        let (w, _) = upload::matrix(&split, 7, 256, Precision::F32, &case.w);
        let y = split.tensor("y", 1, 7).unwrap();
        run(&split, |r| r.linear(&x, &w, Linear::default(), &y));
        let actual = block_on(split.read_tensor(&y)).unwrap();

        let x = upload::tensor(&whole, 256, &case.x);
        let (w, _) = upload::matrix(&whole, 7, 256, Precision::F32, &case.w);
        let y = whole.tensor("y", 1, 7).unwrap();
        run(&whole, |r| r.linear(&x, &w, Linear::default(), &y));
        let expected = block_on(whole.read_tensor(&y)).unwrap();
        assert_same_bits("single rows", &actual, &expected);
    }
}

#[test]
fn embeddings_do_not_depend_on_shards() {
    let whole = open();
    let split = open_with(Some(2304));
    let mut rng = Rng::new(150);
    let (vocabulary, columns) = (300, 21);
    // Near the edges of shards, which depend on the precision, and one outside.
    let ids = [0, 84, 85, 86, 169, 170, 171, 254, 255, 299, 300, 85];
    for precision in upload::PRECISIONS {
        let columns = upload::columns(precision, columns);
        let w = rng.numbers(vocabulary * columns, 1.0);
        let embed = |gpu: &Gpu| {
            let (w, _) = upload::matrix(gpu, vocabulary, columns, precision, &w);
            let ids = upload::indices(gpu, &ids);
            let target = Target::poisoned(gpu, ids.len(), columns);
            run(gpu, |r| r.embed(&ids, &w, 3.5, &target.view));
            (target.read(gpu), w.shard_count())
        };
        let (actual, several) = embed(&split);
        assert!(several > 1);
        assert_same_bits("embed", &actual, &embed(&whole).0);
    }
}

/// Rows arrive in pieces that do not respect shards.
#[test]
fn pieces_may_straddle_shards() {
    let split = open_with(Some(SMALL as u64));
    let mut rng = Rng::new(160);
    let (outputs, columns) = (300, 37);
    for precision in upload::PRECISIONS {
        let columns = upload::columns(precision, columns);
        let w = rng.numbers(outputs * columns, 1.0);
        let matrix = split.matrix("pieces", outputs, columns, precision).unwrap();
        let mut held = Vec::new();
        for start in (0..outputs).step_by(111) {
            let end = (start + 111).min(outputs);
            let (piece, numbers) =
                upload::packed(precision, columns, &w[start * columns..end * columns]);
            split.write_matrix(&matrix, start..end, &piece).unwrap();
            held.extend(numbers);
        }
        // Each input alone picks a column of the matrix.
        for column in 0..columns {
            let mut x = vec![0.0; columns];
            x[column] = 1.0;
            let x = upload::tensor(&split, columns, &x);
            let target = Target::poisoned(&split, 1, outputs);
            run(&split, |r| {
                r.linear(&x, &matrix, Linear::default(), &target.view)
            });
            let picked: Vec<f32> = held.iter().skip(column).step_by(columns).copied().collect();
            // Numbers, not bits: a code of zero times a negative scale is -0.
            assert_eq!(target.read(&split), picked);
        }
    }
}

#[test]
fn what_is_too_large_is_said() {
    let gpu = open_with(Some(4096));
    assert_eq!(gpu.info().max_binding_bytes, 4096);
    let row = gpu.matrix("wide", 2, 1025, Precision::F32);
    assert!(matches!(
        row,
        Err(GpuError::LimitTooSmall {
            needed: 4128,
            available: 4096,
            ..
        })
    ));
    let tensor = gpu.tensor("tall", 129, 8);
    assert!(matches!(
        tensor,
        Err(GpuError::LimitTooSmall {
            needed: 4128,
            available: 4096,
            ..
        })
    ));
    // Not a multiple of what a binding's offset must be: rounded down.
    assert_eq!(open_with(Some(1000)).info().max_binding_bytes, 768);
}
