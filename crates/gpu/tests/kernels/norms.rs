use super::bytes::assert_is_packed;
use super::device::{Target, input, open, run, run_first};
use crate::support::compare::{Bounded, assert_agrees, assert_differs};
use crate::support::random::Rng;
use crate::support::{bounds, upload};
use crate::twins::layer_norm::layer_norm as layer_twin;
use crate::twins::rms_norm::{rms_norm as rms_twin, rms_norm_with};

/// Few columns, primes, a real width, two vec4s for some of the 256 invocations and three, and more
/// than the 4096 columns that a workgroup holds.
const COLUMNS: [usize; 11] = [1, 2, 5, 63, 64, 65, 127, 129, 1152, 2309, 5227];
const EPS: f32 = 1e-6;

/// Rows of very different sizes; where x² is near eps, a wrong eps shows.
fn rows(rng: &mut Rng, columns: usize) -> Vec<f32> {
    let mut x = Vec::new();
    for scale in [1.0, 1e-3, 30.0, 1e-2, 0.0, 1000.0, 1e-3, 1.0, 2.0] {
        let offset = scale * 2.0 * rng.unit();
        x.extend(rng.numbers(columns, scale).iter().map(|x| x + offset));
    }
    x
}

pub(crate) fn rms_norm(serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(40);
    for (columns, accumulate) in COLUMNS.into_iter().flat_map(|c| [(c, false), (c, true)]) {
        let x = rows(&mut rng, columns);
        let scale = rng.numbers(columns, 1.5);
        let before = rng.numbers(x.len(), 2.0);
        let target = if accumulate {
            Target::holding(&gpu, columns, &before)
        } else {
            Target::poisoned(&gpu, x.len() / columns, columns)
        };
        let (x_gpu, scale_gpu) = (
            input(&gpu, columns, &x),
            upload::tensor(&gpu, columns, &scale),
        );
        let kernel = if serial {
            "rms_norm_serial"
        } else {
            "rms_norm"
        };
        run_first(&gpu, kernel, |r| {
            r.rms_norm(&x_gpu, &scale_gpu, EPS, accumulate, &target.view);
        });
        let actual = target.read(&gpu);

        let twin = |norm: &dyn Fn(&[f32]) -> Vec<f64>| -> Vec<Bounded> {
            x.chunks(columns)
                .zip(before.chunks(columns))
                .flat_map(|(x, before)| bounds::rms_norm(&norm(x), accumulate.then_some(before)))
                .collect()
        };
        assert_agrees("rms_norm", &actual, &twin(&|x| rms_twin(x, &scale, EPS)));
        assert_differs("eps 1e-5", &actual, &twin(&|x| rms_twin(x, &scale, 1e-5)));
        assert_differs(
            "a missing 1 +",
            &actual,
            &twin(&|x| rms_norm_with(x, &scale, EPS, |scale| scale)),
        );
        if accumulate {
            let overwritten: Vec<_> = x
                .chunks(columns)
                .flat_map(|x| bounds::rms_norm(&rms_twin(x, &scale, EPS), None))
                .collect();
            assert_differs("overwriting", &actual, &overwritten);
        }
    }
}

pub(crate) fn rms_norm_twice(serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(45);
    for columns in COLUMNS {
        let x = rows(&mut rng, columns);
        let (scale, next) = (rng.numbers(columns, 1.5), rng.numbers(columns, 1.5));
        let before = rng.numbers(x.len(), 2.0);
        let hidden = Target::holding(&gpu, columns, &before);
        let target = Target::poisoned(&gpu, x.len() / columns, columns);
        let x_gpu = input(&gpu, columns, &x);
        let [scale_gpu, next_gpu] = [&scale, &next].map(|s| upload::tensor(&gpu, columns, s));
        let kernel = if serial {
            "rms_norm_twice_serial"
        } else {
            "rms_norm_twice"
        };
        run_first(&gpu, kernel, |r| {
            r.rms_norm_twice(
                &x_gpu,
                &scale_gpu,
                &hidden.view,
                &next_gpu,
                EPS,
                &target.view,
            );
        });
        let added = hidden.read(&gpu);
        let twin = |scale: &[f32]| -> Vec<Bounded> {
            x.chunks(columns)
                .zip(before.chunks(columns))
                .flat_map(|(x, before)| bounds::rms_norm(&rms_twin(x, scale, EPS), Some(before)))
                .collect()
        };
        assert_agrees("hidden", &added, &twin(&scale));
        if columns > 1 {
            assert_differs("the other scale", &added, &twin(&next));
        }
        // The second norm is of what the first one left, as it was rounded.
        let normed = |scale: &[f32], eps: f32| -> Vec<Bounded> {
            added
                .chunks(columns)
                .flat_map(|row| bounds::rms_norm(&rms_twin(row, scale, eps), None))
                .collect()
        };
        let actual = target.read(&gpu);
        assert_agrees("the next norm", &actual, &normed(&next, EPS));
        assert_differs("a missing eps", &actual, &normed(&next, 1e-3));
        if columns > 1 {
            assert_differs("the first scale", &actual, &normed(&scale, EPS));
        }
    }
}

/// Rows of whole groups of 32, padding included: around what a workgroup holds, and much more.
const PACKED: [usize; 9] = [25, 32, 64, 160, 1152, 4096, 4128, 5216, 9216];

/// Packed while it is written: a single row.
pub(crate) fn rms_norm_packs() {
    let gpu = open();
    let mut rng = Rng::new(46);
    for (i, columns) in PACKED.into_iter().enumerate() {
        let accumulate = i % 3 == 1;
        let (x, scale) = (rng.numbers(columns, 3.0), rng.numbers(columns, 1.5));
        let before = rng.numbers(columns, 2.0);
        let target = Target::holding(&gpu, columns, &before);
        let x_gpu = input(&gpu, columns, &x);
        let scale_gpu = upload::tensor(&gpu, columns, &scale);
        let mut packed = None;
        run(&gpu, |r| {
            r.rms_norm(&x_gpu, &scale_gpu, EPS, accumulate, &target.view);
            packed = r.packed_form(&target.view);
            assert_eq!(r.step_count(), 1);
        });
        let actual = target.read(&gpu);
        let twin = rms_twin(&x, &scale, EPS);
        let expected = bounds::rms_norm(&twin, accumulate.then_some(&before[..]));
        assert_agrees("rms_norm_packs", &actual, &expected);
        assert_is_packed(&gpu, &packed.unwrap(), &actual);
    }
}

pub(crate) fn rms_norm_twice_packs() {
    let gpu = open();
    let mut rng = Rng::new(47);
    for columns in PACKED {
        let (x, before) = (rng.numbers(columns, 3.0), rng.numbers(columns, 2.0));
        let (scale, next) = (rng.numbers(columns, 1.5), rng.numbers(columns, 1.5));
        let hidden = Target::holding(&gpu, columns, &before);
        let target = Target::poisoned(&gpu, 1, columns);
        let x_gpu = input(&gpu, columns, &x);
        let [scale_gpu, next_gpu] = [&scale, &next].map(|s| upload::tensor(&gpu, columns, s));
        let mut packed = None;
        run(&gpu, |r| {
            let (hidden, y) = (&hidden.view, &target.view);
            r.rms_norm_twice(&x_gpu, &scale_gpu, hidden, &next_gpu, EPS, y);
            packed = r.packed_form(y);
            assert_eq!(r.step_count(), 1);
        });
        let (added, actual) = (hidden.read(&gpu), target.read(&gpu));
        let first = bounds::rms_norm(&rms_twin(&x, &scale, EPS), Some(&before));
        assert_agrees("hidden", &added, &first);
        let second = bounds::rms_norm(&rms_twin(&added, &next, EPS), None);
        assert_agrees("the next norm", &actual, &second);
        assert_is_packed(&gpu, &packed.unwrap(), &actual);
    }
}

pub(crate) fn layer_norm(serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(50);
    for columns in COLUMNS {
        let x = rows(&mut rng, columns);
        let (scale, shift) = (rng.numbers(columns, 2.0), rng.numbers(columns, 1.0));
        let target = Target::poisoned(&gpu, x.len() / columns, columns);
        let x_gpu = input(&gpu, columns, &x);
        let scale_gpu = upload::tensor(&gpu, columns, &scale);
        let shift_gpu = upload::tensor(&gpu, columns, &shift);
        let kernel = if serial {
            "layer_norm_serial"
        } else {
            "layer_norm"
        };
        run_first(&gpu, kernel, |r| {
            r.layer_norm(&x_gpu, &scale_gpu, &shift_gpu, EPS, &target.view);
        });
        let actual = target.read(&gpu);

        let twin = |scale: &[f32], shift: &[f32], eps: f32| -> Vec<Bounded> {
            x.chunks(columns)
                .flat_map(|x| {
                    bounds::layer_norm(&layer_twin(x, scale, shift, eps), scale, shift, eps)
                })
                .collect()
        };
        assert_agrees("layer_norm", &actual, &twin(&scale, &shift, EPS));
        let without_shift = twin(&scale, &vec![0.0; columns], EPS);
        assert_differs("no shift", &actual, &without_shift);
        if columns > 1 {
            // A single number is its own mean, whatever eps and scale are.
            assert_differs("eps 1e-5", &actual, &twin(&scale, &shift, 1e-5));
            let plus_one: Vec<f32> = scale.iter().map(|scale| 1.0 + scale).collect();
            assert_differs("1 + scale", &actual, &twin(&plus_one, &shift, EPS));
        }
        // n / (n - 1) in the variance makes a difference of 1 / 2n, which the bounds of a longer row,
        // some n u, would hide.
        if (2..2000).contains(&columns) {
            let unbiased = 1.0 - 0.5 / columns as f64;
            let unbiased: Vec<_> = twin(&scale, &shift, EPS)
                .into_iter()
                .zip(shift.iter().cycle())
                .map(|(of, shift)| Bounded {
                    value: (of.value - f64::from(*shift)) * unbiased + f64::from(*shift),
                    ..of
                })
                .collect();
            assert_differs("an unbiased variance", &actual, &unbiased);
        }
    }
}
