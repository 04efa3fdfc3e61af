//! Views, copies, uploads, and submitting again.

use paligemma_checkpoint::{Dtype, Precision};
use paligemma_gpu::{
    Attention, CachePrecision, Gpu, GpuOptions, Heads, Linear, MatmulVariant, Needed, Normed,
    Program, Tensor, Variants,
};
use pollster::block_on;

use super::device::{Target, open, read, read_indices, read_padded, run};
use crate::support::compare::assert_same_bits;
use crate::support::random::Rng;
use crate::support::upload;

#[test]
fn the_baseline_is_what_is_proven() {
    let gpu = open();
    assert_eq!(gpu.info().max_binding_bytes, 128 << 20);
    assert_eq!(gpu.info().max_buffer_bytes, 256 << 20);
    assert!(!gpu.info().name.trim().is_empty());
    let all = block_on(paligemma_gpu::Gpu::open(&GpuOptions::default())).unwrap();
    assert!(all.info().max_buffer_bytes >= 256 << 20);
}

/// A step of a decoder, recorded once, and where it writes: the same numbers each time, as nothing
/// that it reads changes. What it reads and writes on the way, only the program still owns.
pub(crate) fn a_step(gpu: &Gpu) -> (Program, Tensor) {
    let mut rng = Rng::new(170);
    let (rows, hidden, heads, head_dim) = (5, 24, 4, 6);
    let x = upload::tensor(gpu, hidden, &rng.numbers(rows * hidden, 1.0));
    let scale = upload::tensor(gpu, hidden, &rng.numbers(hidden, 1.0));
    let numbers = rng.numbers(24 * 24, 1.0);
    let (w, _) = upload::matrix(gpu, 24, hidden, Precision::BF16, &numbers);
    let numbers = rng.numbers(12 * 24, 1.0);
    let (kv, _) = upload::matrix(gpu, 12, hidden, Precision::F16, &numbers);
    let normed = gpu.tensor("normed", rows, hidden).unwrap();
    let qkv = gpu.tensor("queries, keys, values", rows, 48).unwrap();
    let table = gpu.rotary_table(20, head_dim, 10_000.0).unwrap();
    let span = upload::indices(gpu, &[3, 8]);
    let q = gpu.queries(heads, rows, head_dim).unwrap();
    let cache = gpu.kv_cache(2, 10, head_dim, CachePrecision::F32).unwrap();
    let attended = gpu.tensor("attended", rows, 24).unwrap();
    let out = gpu.tensor("out", rows, 24).unwrap();

    let mut r = gpu.recorder();
    r.rms_norm(&x, &scale, 1e-6, false, &normed);
    for (matrix, first) in [(&w, 0), (&kv, 24), (&kv, 36)] {
        let then = Linear {
            first_column: Some(first),
            ..Linear::default()
        };
        r.linear(&normed, matrix, then, &qkv);
    }
    let how = Heads {
        heads,
        kv_heads: 2,
        head_dim,
        rotary: Some((&table, 1)),
    };
    r.split_heads(&qkv, 0, how, &span, &q, &cache);
    let how = Attention {
        heads,
        scale: 0.4,
        soft_cap: Some(50.0),
        window: Some(4),
    };
    r.attention(&q, &cache, &span, how, &attended);
    r.copy(&x, &out);
    r.add(&attended, &out);
    r.soft_cap(&out, 30.0);
    // Two products with their norms inside: the second reads of the stream what the first wrote beside its
    // result, and writes over what the first read.
    let usual = gpu.variants();
    gpu.set_variants(Variants {
        fours: 1 << 10,
        norms: true,
        ..usual
    });
    let row = || gpu.tensor("row", 1, hidden).unwrap();
    let (stream, other, first, second) = (row(), row(), row(), row());
    r.copy_row(&x, 2, &stream);
    let last = out.slice_rows(0..1).unwrap();
    for (hidden, sum, branch, y) in [
        (&stream, &other, &last, &first),
        (&other, &stream, &first, &second),
    ] {
        let x = Normed {
            hidden,
            branch: Some((branch, &scale)),
            sum,
            scale: &scale,
            eps: 1e-6,
        };
        r.linear_normed(x, &w, y);
    }
    r.add(&second, &last);
    r.add(&stream, &last);
    gpu.set_variants(usual);
    let program = r.finish().unwrap();
    assert_eq!(program.dispatches(), 12);
    (program, out)
}

#[test]
fn a_program_gives_the_same_again() {
    let gpu = open();
    let (program, out) = a_step(&gpu);
    gpu.submit(&program);
    let first = read(&gpu, &out);
    assert!(first.iter().all(|x| x.is_finite()));
    assert!(first.iter().any(|&x| x != 0.0));
    gpu.write(&out, 0, &vec![f32::NAN; first.len()]).unwrap();
    gpu.submit(&program);
    gpu.submit(&program);
    assert_same_bits("again", &read(&gpu, &out), &first);
}

/// Kernels without checks of their indices give the same bits.
#[test]
fn unchecked_kernels_are_the_same() {
    let open = |unchecked| {
        let options = GpuOptions {
            baseline_limits: true,
            unchecked,
            ..GpuOptions::default()
        };
        block_on(paligemma_gpu::Gpu::open(&options)).unwrap()
    };
    let product = |gpu: &paligemma_gpu::Gpu| {
        let mut rng = Rng::new(175);
        let numbers = rng.numbers(70 * 72, 1.0);
        let (w, _) = upload::matrix(gpu, 70, 72, Precision::Q4 { group: 32 }, &numbers);
        let x = upload::tensor(gpu, 72, &rng.numbers(9 * 72, 1.0));
        gpu.set_variants(Variants {
            matmul: MatmulVariant::Tiled,
            ..gpu.variants()
        });
        let target = Target::poisoned(gpu, 9, 70);
        run(gpu, |r| r.linear(&x, &w, Linear::default(), &target.view));
        target.read(gpu)
    };
    assert_same_bits("unchecked", &product(&open(true)), &product(&open(false)));
}

#[test]
fn accumulating_twice_adds_twice() {
    let gpu = open();
    let x = upload::tensor(&gpu, 2, &[1.0, 2.0]);
    let (w, _) = upload::matrix(&gpu, 2, 2, Precision::F32, &[1.0, 0.0, 0.0, 1.0]);
    let y = upload::tensor(&gpu, 2, &[10.0, 20.0]);
    let then = Linear {
        accumulate: true,
        ..Linear::default()
    };
    let mut recorder = gpu.recorder();
    recorder.linear(&x, &w, then, &y);
    let program = recorder.finish().unwrap();
    gpu.submit(&program);
    gpu.submit(&program);
    assert_eq!(read(&gpu, &y), [12.0, 24.0]);
}

#[test]
fn views_share_memory() {
    let gpu = open();
    let numbers: Vec<f32> = (0..20 * 3).map(|i| i as f32).collect();
    let whole = upload::tensor(&gpu, 3, &numbers);
    let tail = whole.slice_rows(8..20).unwrap();
    assert_eq!((tail.rows(), tail.columns(), tail.stride()), (12, 3, 8));
    assert_eq!(read(&gpu, &tail), numbers[24..]);
    let inner = tail.slice_rows(8..11).unwrap();
    assert_eq!(read(&gpu, &inner), numbers[16 * 3..19 * 3]);
    gpu.write(&inner, 1, &[-1.0, -2.0, -3.0]).unwrap();
    assert_eq!(read(&gpu, &whole)[17 * 3..18 * 3], [-1.0, -2.0, -3.0]);
    assert_eq!(read(&gpu, &whole)[18 * 3..], numbers[18 * 3..]);
}

/// Vectors that belong together are written one by one.
#[test]
fn a_part_of_a_row_is_written_alone() {
    let gpu = open();
    let row = upload::tensor(&gpu, 11, &[7.0; 11]);
    let part = row.slice_columns(3..8).unwrap();
    gpu.write(&part, 0, &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let inner = part.slice_columns(1..2).unwrap();
    gpu.write(&inner, 0, &[-2.0]).unwrap();
    let expected = [7.0, 7.0, 7.0, 1.0, -2.0, 3.0, 4.0, 5.0, 7.0, 7.0, 7.0];
    assert_eq!(read(&gpu, &row), expected);
}

#[test]
fn copies_move_whole_rows() {
    let gpu = open();
    let mut rng = Rng::new(180);
    let numbers = rng.numbers(11 * 5, 1.0);
    let source = upload::tensor(&gpu, 5, &numbers);
    let target = Target::poisoned(&gpu, 11, 5);
    run(&gpu, |r| r.copy(&source, &target.view));
    assert_same_bits("copy", &target.read(&gpu), &numbers);
    for row in [0, 3, 10] {
        let target = Target::poisoned(&gpu, 1, 5);
        run(&gpu, |r| r.copy_row(&source, row, &target.view));
        assert_same_bits("copy_row", &target.read(&gpu), &numbers[row * 5..][..5]);
        // From a view, rows count from its start.
        if row < 3 {
            let view = source.slice_rows(8..11).unwrap();
            run(&gpu, |r| r.copy_row(&view, row, &target.view));
            let expected = &numbers[(8 + row) * 5..][..5];
            assert_same_bits("copy_row of a view", &target.read(&gpu), expected);
        }
    }
}

#[test]
fn numbers_come_back() {
    let gpu = open();
    let numbers: Vec<u32> = vec![0, 1, u32::MAX, 0x7fc0_0001, 257_152];
    let indices = upload::indices(&gpu, &numbers);
    assert_eq!(read_indices(&gpu, &indices), numbers);
    // A few of them, again and again into the same place.
    let back = gpu.readback(2).unwrap();
    let mut recorder = gpu.recorder();
    recorder.copy_back(&indices, &back);
    let program = recorder.finish().unwrap();
    for first in [5, 6] {
        gpu.write_indices(&indices, &[first]).unwrap();
        gpu.submit(&program);
        assert_eq!(block_on(gpu.read(&back)).unwrap(), [first, 1]);
    }
}

#[test]
fn uploads_are_widened() {
    let gpu = open();
    let numbers = Rng::new(190).numbers(6 * 7, 4.0);
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let (bytes, held) = upload::encode(dtype, &numbers);
        let target = Target::poisoned(&gpu, 7, 7);
        gpu.write_widened(&target.view, 1, dtype, &bytes).unwrap();
        let actual = target.read(&gpu);
        assert!(actual[..7].iter().all(|x| x.is_nan()));
        assert_same_bits("widened", &actual[7..], &held);
    }
}

/// Uploads go in pieces where rows are padded; a large one has several.
#[test]
fn large_uploads_keep_their_padding() {
    let gpu = open();
    let (rows, columns) = (70_001, 5);
    let numbers: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
    let tensor = upload::tensor(&gpu, columns, &numbers);
    assert_same_bits("numbers", &read(&gpu, &tensor), &numbers);
    let padded = read_padded(&gpu, &tensor);
    assert!(padded.chunks(8).all(|row| row[5..] == [0.0; 3]));
}

#[test]
fn what_begins_is_zero() {
    let gpu = open();
    let tensor = gpu.tensor("fresh", 3, 5).unwrap();
    assert_eq!(read_padded(&gpu, &tensor), [0.0; 24]);
    let indices = gpu.indices("fresh", 3).unwrap();
    assert_eq!((indices.len(), indices.is_empty()), (3, false));
    assert_eq!(read_indices(&gpu, &indices), [0; 3]);
}

/// A sketch leaves no trace, however large what it makes is said to be, and ends however it ends.
#[test]
fn a_sketch_writes_and_submits_nothing() {
    let gpu = open();
    let [x, y] = [1.0, 2.0].map(|number| upload::tensor(&gpu, 8, &[number; 8]));
    let program = {
        let mut r = gpu.recorder();
        r.add(&x, &y);
        r.finish().unwrap().for_replay()
    };
    let needed = gpu.sketch(|| {
        gpu.sketch(|| ()); // within another
        gpu.write(&x, 0, &[5.0; 8]).unwrap();
        gpu.submit(&program);
        // 64 GiB, which few machines have.
        let large = (0..500).map(|_| gpu.tensor("large", 4096, 8192).unwrap());
        let large: Vec<Tensor> = large.collect();
        let rows = large[0].slice_rows(4000..4096).unwrap();
        gpu.write(&rows, 0, &vec![1.0; 96 * 8192]).unwrap();
        let mut r = gpu.recorder();
        r.add(&large[0], &large[1]);
        let mut needed = Needed::default();
        needed.add(r, false).unwrap();
        let mut r = gpu.recorder();
        r.add(&large[0], &large[1]);
        gpu.submit(&r.finish().unwrap());
        // What is too large for a binding is so here, too.
        assert!(gpu.tensor("larger", 4097, 8192).is_err());
        needed
    });
    assert_eq!(block_on(gpu.prepare(needed)), [1, 0]);
    assert_eq!(read(&gpu, &y), [2.0; 8]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        gpu.sketch(|| panic!("on purpose"))
    }));
    assert!(panicked.is_err());
    gpu.submit(&program);
    assert_eq!(read(&gpu, &y), [3.0; 8]);
    assert!(gpu.finish_preparing().is_empty(), "it was compiled before");
}

#[test]
fn an_empty_program_runs() {
    let gpu = open();
    run(&gpu, |_| {});
    gpu.check().unwrap();
}
