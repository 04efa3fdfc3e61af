//! Products of many rows by cooperative matrices, and what makes their inputs.

use half::f16;
use paligemma_checkpoint::Precision;
use paligemma_gpu::{Gpu, GpuOptions, Linear, MatmulVariant, Variants};
use pollster::block_on;

use super::device::{input, read, run};
use super::linear::{ROWS, cases, check_of};
use super::rounded::{kernels, not_everywhere};
use crate::support::random::Rng;
use crate::support::upload;

/// x and weights are off by 2^-10 of themselves at most (WGSL lets a conversion round to either
/// side), so a product by little more than 2^-9; the sum of hundreds of them, which an adapter may cut
/// off instead of rounding, by as many units of 2^-23 of all magnitudes: much less than another 2^-10.
const ROUNDING: f64 = 3.0 / 1024.0;

/// On an adapter without them, as on that of most machines without a GPU, products go another way;
/// there this shows no more than that.
pub(crate) fn matmul(side: u32, precision: Precision, larger: Precision) {
    let gpu = block_on(Gpu::open(&GpuOptions::default())).expect("there was one");
    gpu.set_variants(Variants {
        matmul: MatmulVariant::Cooperative,
        ..gpu.variants()
    });
    let name = match side {
        16 => "_sixteen",
        _ => "",
    };
    let there = gpu.cooperative_side() == side;
    let mut rng = Rng::new(15);
    let columns = [32, 40, 64, 136, 160, 480, 1000, 2304];
    for (i, mut case) in cases(&mut rng, &ROWS).into_iter().enumerate() {
        case.columns = columns[i * 5 % columns.len()];
        for precision in [precision, larger] {
            let columns = upload::columns(precision, case.columns);
            let recorded = kernels(&gpu, precision, columns, Linear::default());
            let by_these = recorded.starts_with("halve_rows matmul_cooperative_")
                && recorded.ends_with("_sixteen") == name.ends_with("_sixteen");
            assert_eq!(by_these, there, "{recorded}");
            if !there {
                continue;
            }
            // Of whatever size, each row of its own.
            let mut x = rng.numbers(case.rows * columns, 1.0);
            for (row, x) in x.chunks_mut(columns).enumerate() {
                let size = 2f32.powi([0, -30, -12, 17, 60][(i + row) % 5]);
                x.iter_mut().for_each(|x| *x *= size);
            }
            check_of(&gpu, &mut rng, precision, &case, &x, ROUNDING);
        }
    }
    if there {
        not_everywhere(&gpu, precision);
    }
}

/// Halves times a row's factor are x but for what 16 bits hold; what is nothing, infinite or no number
/// stays so; factors are powers of two.
pub(crate) fn halve_rows() {
    let gpu = block_on(Gpu::open(&GpuOptions::default())).expect("there was one");
    assert!(gpu.has_f16(), "no 16-bit floats");
    let mut rng = Rng::new(16);
    for columns in [8, 120, 128, 136, 2304] {
        let sizes = [0, -100, -30, 15, 16, 100, 127];
        let mut x = rng.numbers(sizes.len() * columns, 1.0);
        for (x, size) in x.chunks_mut(columns).zip(sizes) {
            x.iter_mut().for_each(|x| *x *= 2f32.powi(size));
        }
        x.extend(vec![0.0; columns]);
        for strange in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let mut row = vec![1.0; columns];
            row[columns / 2] = strange;
            x.extend(row);
        }
        let rows = x.len() / columns;
        let x_gpu = input(&gpu, columns, &x);
        let stride = columns.next_multiple_of(64);
        let halves_gpu = gpu.indices("halves", rows * stride / 2).unwrap();
        let factors = gpu.tensor("factors", 1, rows).unwrap();
        let back = gpu.readback(rows * stride / 2).unwrap();
        run(&gpu, |r| {
            r.halve_rows(&x_gpu, &halves_gpu, &factors);
            r.copy_back(&halves_gpu, &back);
        });
        let words = block_on(gpu.read(&back)).unwrap();
        let halves: Vec<u16> = words
            .iter()
            .flat_map(|word| [*word as u16, (*word >> 16) as u16])
            .collect();
        let factors = read(&gpu, &factors);
        for row in 0..rows {
            let x = &x[row * columns..(row + 1) * columns];
            let halves = &halves[row * stride..(row + 1) * stride];
            let factor = factors[row];
            assert_eq!(
                factor.to_bits() & 0x807f_ffff,
                0,
                "{factor} is a power of two"
            );
            let largest = x.iter().fold(0f32, |most, x| most.max(x.abs()));
            let ordinary = x.iter().all(|x| x.is_finite());
            for (x, half) in x.iter().zip(halves) {
                let found = f16::from_bits(*half).to_f32() * factor;
                if ordinary {
                    // A unit in the eleventh place, as either side is allowed; below 2^-14 of what is
                    // 2^14 at least there are no more than 2^-24.
                    let bound = (x.abs() / 1024.0).max(largest * 2f32.powi(-37));
                    assert!((found - x).abs() <= bound, "{found} {x} of {largest}");
                } else if !x.is_finite() {
                    assert!(found == *x || (found.is_nan() && x.is_nan()), "{found} {x}");
                }
            }
            assert!(
                halves[columns..].iter().all(|half| *half == 0),
                "zeros after a row"
            );
        }
    }
}
