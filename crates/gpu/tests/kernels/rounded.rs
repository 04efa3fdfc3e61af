//! Products of many rows whose inputs are rounded first: to 16-bit floats, to bytes.

use paligemma_checkpoint::Precision;
use paligemma_gpu::{Gpu, GpuOptions, Linear, MatmulVariant, Variants};
use pollster::block_on;

use super::device::{read, run};
use super::linear::{ROWS, cases, check_of, large, open_for, rounds_to};
use crate::support::random::{Rng, for_every_cache};
use crate::support::upload;

/// Products of 16-bit floats. Where those hold everything on the way, they are as good as any: codes
/// times 0, 1 or -1, of every other input, add up to at most 16 · 127 < 2^11. Where they do not, x is
/// off by 2^-10 of itself at most (WGSL lets it round to either side), a product by as much, and each of
/// 32 additions by 2^-10 of a sum that is at most that of all magnitudes. What is too small for 16
/// bits is smaller than the largest of 32 inputs by more than 2^16, or a product of such: less than
/// 2^-10 of it all.
pub(crate) fn matmul_half(precision: Precision, larger: Precision) {
    const ROUNDING: f64 = 36.0 / 1024.0;
    let gpu = block_on(Gpu::open(&GpuOptions::default())).expect("there was one");
    let info = gpu.info();
    assert!(
        gpu.has_f16(),
        "{} computes no 16-bit floats: {info:?}",
        info.name
    );
    gpu.set_variants(Variants {
        matmul: MatmulVariant::Half,
        ..gpu.variants()
    });
    let mut rng = Rng::new(12);
    let columns = [32, 64, 96, 128, 160, 480, 992, 2304];
    let mut all = cases(&mut rng, &ROWS);
    all.push(large());
    for (i, mut case) in all.into_iter().enumerate() {
        // Of the large one, 96: more than a step.
        case.columns = columns[(i * 5 + 2) % columns.len()];
        for precision in [precision, larger] {
            let columns = upload::columns(precision, case.columns);
            let recorded = kernels(&gpu, precision, columns, Linear::default());
            assert!(recorded.starts_with("matmul_half_"), "{recorded}");
            // Of whatever size: what is too small for 16 bits is not too small here.
            let size = 2f32.powi([0, -30, -12, 15, 60][i % 5]);
            let mut x = rng.numbers(case.rows * columns, 1.5);
            for (i, x) in x.iter_mut().enumerate() {
                *x = if i % 2 == 0 { size * x.round() } else { 0.0 };
            }
            check_of(&gpu, &mut rng, precision, &case, &x, 0.0);
            let x = rng.numbers(case.rows * columns, size);
            check_of(&gpu, &mut rng, precision, &case, &x, ROUNDING);
        }
    }
    not_everywhere(&gpu, precision);
}

/// What is not rounded: numbers that are none, matrices of other groups, what has to be exact.
pub(crate) fn not_everywhere(gpu: &Gpu, precision: Precision) {
    // What is no number, or infinite, is not made one.
    let (columns, outputs) = (upload::columns(precision, 64), 5);
    let ones = vec![1.0; outputs * columns];
    let (w, _) = upload::matrix(gpu, outputs, columns, precision, &ones);
    for broken in [f32::NAN, f32::INFINITY, -f32::INFINITY] {
        let mut numbers = vec![1.0; 3 * columns];
        numbers[columns + 7] = broken;
        let x = upload::tensor(gpu, columns, &numbers);
        let y = gpu.tensor("y", 3, outputs).unwrap();
        run(gpu, |r| r.linear(&x, &w, Linear::default(), &y));
        let y = read(gpu, &y);
        let finite: Vec<bool> = y.iter().map(|y| y.is_finite()).collect();
        assert_eq!(finite[..outputs], [true; 5]);
        assert_eq!(finite[outputs..2 * outputs], [false; 5]);
        assert_eq!(finite[2 * outputs..], [true; 5]);
    }
    // Rows that are not of whole groups of 32 inputs go another way, and what has to be exact.
    let narrow = Precision::Q8 { group: 16 };
    assert!(!rounds(&kernels(gpu, narrow, 16, Linear::default())));
    let exact = Linear {
        exact: true,
        ..Linear::default()
    };
    assert!(!rounds(&kernels(gpu, precision, columns, exact)));
}

fn rounds(kernel: &str) -> bool {
    ["_half_", "_dots_", "_cooperative_"]
        .iter()
        .any(|name| kernel.contains(name))
}

/// Products of bytes. Where 32 inputs are whole multiples of a 127th of the largest they are as good as
/// any: sums are whole numbers. Others are rounded to such first, here as there.
pub(crate) fn matmul_dots(precision: Precision, larger: Precision) {
    let gpu = open_for(MatmulVariant::Dots);
    let mut rng = Rng::new(13);
    let columns = [32, 64, 96, 128, 160, 480, 992, 2304];
    let mut all = cases(&mut rng, &ROWS);
    all.push(large());
    for (i, mut case) in all.into_iter().enumerate() {
        // Of the large one, 96: more than a step.
        case.columns = columns[(i * 5 + 2) % columns.len()];
        for precision in [precision, larger] {
            let columns = upload::columns(precision, case.columns);
            let recorded = kernels(&gpu, precision, columns, Linear::default());
            assert!(recorded.starts_with("matmul_dots_"), "{recorded}");
            let mut x = rng.numbers(case.rows * columns, 2.0);
            // Of several sizes, from 32 inputs to the next.
            for_every_cache(&mut x, 32, i);
            check_of(&gpu, &mut rng, precision, &case, &x, 0.0);
        }
    }
    rounded_as_it_should_be(&gpu, precision);
    not_everywhere(&gpu, precision);
}

/// Inputs between multiples go to the nearer one; zeros stay zeros.
fn rounded_as_it_should_be(gpu: &Gpu, precision: Precision) {
    let (rows, columns) = (3, upload::columns(precision, 32));
    let mut whole = vec![0.0; rows * columns];
    let mut x = whole.clone();
    for i in 0..2 * columns {
        // Multiples of 1/16 up to 127 of them, and up to 0.4 of one beside.
        let steps = match i % 32 {
            0 => 127.0,
            other => ((other * 37) % 255) as f32 - 127.0,
        };
        let aside = match i % 32 {
            0 => 0.0,
            other => [0.0, 0.4, -0.4, 0.25][other % 4],
        };
        let inside = steps + aside;
        whole[i] = steps / 16.0;
        x[i] = inside.clamp(-127.0, 127.0) / 16.0;
    }
    rounds_to(gpu, precision, columns, &x, &whole);
}

/// What is recorded for a product of two rows.
pub(crate) fn kernels(gpu: &Gpu, precision: Precision, columns: usize, then: Linear<'_>) -> String {
    let w = gpu.matrix("w", 3, columns, precision).unwrap();
    let (x, y) = (
        gpu.tensor("x", 2, columns).unwrap(),
        gpu.tensor("y", 2, 3).unwrap(),
    );
    let mut recorder = gpu.recorder();
    recorder.linear(&x, &w, then, &y);
    let program = recorder.finish().unwrap();
    let names: Vec<_> = program.kernels().collect();
    names.join(" ")
}
