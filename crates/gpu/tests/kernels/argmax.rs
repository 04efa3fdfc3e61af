use paligemma_gpu::Gpu;

use super::device::{open, read, read_indices, run_all};
use crate::support::compare::assert_same_bits;
use crate::support::random::Rng;
use crate::support::upload;
use crate::twins;

/// Within a stretch of 2048 logits, and over its edge.
pub(crate) fn stretches(serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(110);
    for length in [1, 2, 63, 64, 65, 127, 1009, 2047, 2048, 2049, 4096, 4097] {
        for _ in 0..4 {
            check(&gpu, &rng.numbers(length, 10.0), length);
        }
        // Few distinct values: the lowest id of many.
        let coarse: Vec<f32> = rng.numbers(length, 3.0).iter().map(|x| x.round()).collect();
        check(&gpu, &coarse, length);
        check(&gpu, &vec![-7.5; length], length);
        // The last, beyond the edge of lanes and stretches.
        let mut last = vec![-1.0; length];
        last[length - 1] = -0.5;
        check(&gpu, &last, length);
    }
    ties_and_nans(&gpu);
    zeros_and_infinities(&gpu);
    allowed(&gpu, &mut rng);
}

/// Stretches by the hundred: more than there are invocations that compare them.
pub(crate) fn stages(serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(120);
    let length = 2048 * 259 + 5;
    let logits = rng.numbers(length, 10.0);
    check(&gpu, &logits, length);
    for at in [0, 2048 * 63 + 9, 2048 * 256, 2048 * 258 + 2047, length - 1] {
        let mut logits = logits.clone();
        logits[at] = 11.0;
        check(&gpu, &logits, length);
        // A tie with stretches that other invocations compare.
        for other in [2048 * 3, 2048 * 67 + 1, 2048 * 257] {
            logits[other] = 11.0;
        }
        check(&gpu, &logits, length);
    }
    // Nothing to choose from in all stretches but one.
    let mut logits = vec![f32::NAN; length];
    check(&gpu, &logits, length);
    logits[2048 * 100 + 77] = -3.0;
    check(&gpu, &logits, length);
    advance(&gpu);
}

/// One reading for the best and for the sums finds what two would, to the bit.
pub(crate) fn beside_sums(serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(130);
    for (length, allowed) in [(1, 1), (70, 65), (2049, 2048), (5000, 4097), (6151, 6151)] {
        for cap in [None, Some(8.0)] {
            let mut logits = rng.numbers(length, 12.0);
            // Beyond what is allowed, where it is not the best but counts for the sum.
            logits[length - 1] = 13.0;
            if length > 100 {
                logits[70] = f32::NAN;
            }
            let tensor = upload::tensor(&gpu, length, &logits);
            let [parts, beside] = [(); 2].map(|()| gpu.stretches(length).unwrap());
            let token = upload::indices(&gpu, &[123_456]);
            let span = upload::indices(&gpu, &[10, 4]);
            let names = match serial {
                true => [
                    "log_sum_exp_best_serial",
                    "argmax_serial",
                    "log_sum_exp_serial",
                ],
                false => ["log_sum_exp_best", "argmax", "log_sum_exp"],
            };
            run_all(&gpu, &names, |r| {
                r.argmax_and_log_sum_exp(&tensor, cap, &beside, allowed, (&token, &span, 3));
                r.log_sum_exp(&tensor, cap, &parts);
            });
            let expected = twins::argmax::argmax(&logits[..allowed]).unwrap() as u32;
            assert_eq!(read_indices(&gpu, &token), [expected]);
            assert_eq!(read_indices(&gpu, &span), [13, 4]);
            assert_same_bits("parts", &read(&gpu, &beside), &read(&gpu, &parts));
        }
    }
}

fn ties_and_nans(gpu: &Gpu) {
    let mut logits = vec![-1.0; 5000];
    for at in [4999, 4100, 2048, 130, 66, 65] {
        logits[at] = 3.0;
        check(gpu, &logits, 5000);
    }
    for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
        logits[0] = nan;
        logits[65] = nan;
        logits[4999] = nan;
        check(gpu, &logits, 5000);
        check(gpu, &[nan], 1);
        check(gpu, &[nan; 3000], 3000);
        check(gpu, &[nan, -5.0], 2);
        check(gpu, &[-5.0, nan], 2);
    }
}

fn zeros_and_infinities(gpu: &Gpu) {
    check(gpu, &[f32::NEG_INFINITY; 70], 70);
    check(gpu, &[f32::NEG_INFINITY, f32::MIN, f32::NAN], 3);
    check(gpu, &[1.0, f32::MAX, f32::INFINITY, f32::INFINITY], 4);
    check(gpu, &[-1.0, -0.0, 0.0], 3);
    check(gpu, &[-1.0, 0.0, -0.0], 3);
}

/// Logits beyond the first `allowed` are never chosen.
fn allowed(gpu: &Gpu, rng: &mut Rng) {
    for (length, allowed) in [(2, 1), (70, 65), (2049, 2048), (5000, 2049), (5000, 4097)] {
        let mut logits = rng.numbers(length, 1.0);
        logits[allowed..].fill(9.0);
        check(gpu, &logits, allowed);
    }
}

fn check(gpu: &Gpu, logits: &[f32], allowed: usize) {
    let tensor = upload::tensor(gpu, logits.len(), logits);
    let token = upload::indices(gpu, &[123_456]);
    let span = upload::indices(gpu, &[10, 4]);
    let names = match gpu.is_serial() {
        true => ["argmax_parts_serial", "argmax_serial"],
        false => ["argmax_parts", "argmax"],
    };
    run_all(gpu, &names, |r| {
        r.argmax(&tensor, allowed, &token, &span, 3)
    });
    let expected = twins::argmax::argmax(&logits[..allowed]).map_or(u32::MAX, |id| id as u32);
    let length = logits.len();
    assert_eq!(
        read_indices(gpu, &token),
        [expected],
        "{allowed} of {length}"
    );
    assert_eq!(read_indices(gpu, &span), [13, 4]);
}

/// Each submission of a decoding step moves the span on.
fn advance(gpu: &Gpu) {
    let logits = upload::tensor(gpu, 3, &[0.0, 5.0, 1.0]);
    let token = upload::indices(gpu, &[9, 8]);
    let span = upload::indices(gpu, &[7, 6]);
    let mut recorder = gpu.recorder();
    recorder.argmax(&logits, 3, &token, &span, 1);
    let program = recorder.finish().unwrap();
    for step in 1..=3 {
        gpu.submit(&program);
        assert_eq!(read_indices(gpu, &token), [1, 8]);
        assert_eq!(read_indices(gpu, &span), [7 + step, 6]);
    }
}
