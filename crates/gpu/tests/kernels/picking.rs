use paligemma_gpu::{FOUND_WORDS, Gpu, Indices, Keep, Neighbours, Processing, Tensor};

use super::device::{Target, open, read, read_indices, run, run_first};
use crate::support::bounds::{U, capped};
use crate::support::compare::{Bounded, assert_agrees, assert_differs};
use crate::support::random::Rng;
use crate::support::upload;
use crate::twins;
use crate::twins::process_logits::How;

/// Within a stretch of 2048 logits, over its edge, and primes.
const LENGTHS: [usize; 9] = [1, 2, 63, 65, 1009, 2047, 2048, 2049, 6151];

/// A logit's own error, from the cap, and what it makes of e^(logit - highest) of a range.
fn weight_error(cap: Option<f32>, range: f64, count: usize) -> f64 {
    // Both logits are off by the cap's error; the difference rounds; exp; as many sums.
    let logit = cap.map_or(0.0, |cap| capped(f64::from(cap), cap));
    2.0 * logit + (3.0 + 3.0 * range + count as f64) * U
}

fn range(logits: &[f32]) -> f64 {
    let numbers = || logits.iter().filter(|x| !x.is_nan());
    let highest = numbers().copied().fold(f32::MIN, f32::max);
    let lowest = numbers().copied().fold(f32::MAX, f32::min);
    f64::from(highest - lowest).max(0.0)
}

fn parts_of(gpu: &Gpu, logits: &Tensor, cap: Option<f32>) -> Tensor {
    let parts = gpu.stretches(logits.columns()).unwrap();
    let name = if gpu.is_serial() {
        "log_sum_exp_serial"
    } else {
        "log_sum_exp"
    };
    run_first(gpu, name, |r| r.log_sum_exp(logits, cap, &parts));
    parts
}

pub(crate) fn log_sum_exp(serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(210);
    for length in LENGTHS {
        for (cap, scale) in [(None, 9.0), (Some(30.0), 60.0), (Some(5.0), 4.0)] {
            let mut logits = rng.numbers(length, scale);
            if length > 100 {
                logits[70] = f32::NAN;
                logits[length - 1] = -f32::NAN;
            }
            let tensor = upload::tensor(&gpu, length, &logits);
            let parts = read(&gpu, &parts_of(&gpu, &tensor, cap));
            let expected: Vec<Bounded> = twins::log_sum_exp::log_sum_exp(&logits, cap)
                .into_iter()
                .flat_map(|(highest, sum)| {
                    let range = cap.map_or(range(&logits), |cap| 2.0 * f64::from(cap));
                    let logit = cap.map_or(0.0, |cap| capped(f64::from(cap), cap));
                    let weight = weight_error(cap, range, 2048);
                    [(highest, logit), (sum, weight * sum)]
                })
                .map(|(value, bound)| Bounded { value, bound })
                .collect();
            assert_agrees("log_sum_exp", &parts, &expected);
        }
    }
    // A stretch without a number adds nothing.
    let tensor = upload::tensor(&gpu, 3000, &[vec![f32::NAN; 2048], vec![2.0; 952]].concat());
    let parts = read(&gpu, &parts_of(&gpu, &tensor, None));
    assert_eq!(parts, [f32::MIN, 0.0, 2.0, 952.0]);
}

pub(crate) fn log_probs(serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(220);
    // At last more stretches than there are invocations that sum them.
    for length in LENGTHS.into_iter().chain([2048 * 257 + 9]) {
        for cap in [None, Some(8.0)] {
            let mut logits = rng.numbers(length, 12.0);
            if length > 100 {
                logits[70] = f32::NAN;
            }
            let tensor = upload::tensor(&gpu, length, &logits);
            let parts = parts_of(&gpu, &tensor, cap);
            let first = rng.below(length);
            let end = first + rng.below(length - first + 1);
            let radii = [0, 1, 5, 4000];
            let near = Neighbours {
                first: first as u32,
                end: end as u32,
                radii,
            };
            // More than the fewest invocations that there are, several of them among the neighbours.
            let (last, half) = (end.saturating_sub(1), (first + end) / 2);
            let ids = [
                0,
                length - 1,
                first,
                last,
                length / 2,
                half,
                first,
                last,
                half,
            ];
            let ids: Vec<u32> = ids
                .into_iter()
                .map(|id| id.min(length - 1) as u32)
                .collect();
            let found = found(&gpu, &tensor, cap, &parts, &ids, near);
            for (id, words) in ids.iter().zip(found.chunks(FOUND_WORDS)) {
                assert_eq!(words[0], *id);
                let id = *id as usize;
                if logits[id].is_nan() {
                    continue;
                }
                let (own, masses) =
                    twins::log_probs::log_probs(&logits, cap, id, first..end, radii);
                let error = log_prob_error(&logits, cap);
                let actual: Vec<f32> = words[1..].iter().map(|w| f32::from_bits(*w)).collect();
                let mut expected = vec![Bounded {
                    value: own,
                    bound: error,
                }];
                expected.extend(masses.map(|mass| Bounded {
                    value: mass,
                    bound: (error + (3.0 + 2.0 * 60.0 + 2048.0) * U) * mass,
                }));
                assert_agrees("log_probs", &actual, &expected);
                if cap.is_some() && length > 60 {
                    let (own, _) =
                        twins::log_probs::log_probs(&logits, None, id, first..end, radii);
                    let uncapped = Bounded {
                        value: own,
                        bound: error,
                    };
                    assert_differs("no soft cap", &actual[..1], &[uncapped]);
                }
            }
        }
    }
    outside(&gpu);
}

/// The sum's relative error is an absolute one of its logarithm, which itself is off by 2^-21 or
/// three units; the differences round.
fn log_prob_error(logits: &[f32], cap: Option<f32>) -> f64 {
    let most = cap.map_or(range(logits) + 12.0, f64::from);
    let logit = cap.map_or(0.0, |cap| capped(f64::from(cap), cap));
    let sum = weight_error(cap, 2.0 * most, logits.len());
    logit + sum + 2f64.powi(-21) + 6.0 * U * (2.0 * most + 10.0)
}

/// An id beyond the vocabulary (there was nothing to pick) has no probability.
fn outside(gpu: &Gpu) {
    let tensor = upload::tensor(gpu, 3, &[0.0, 1.0, 2.0]);
    let parts = parts_of(gpu, &tensor, None);
    let ids = [u32::MAX, 1];
    let words = found(gpu, &tensor, None, &parts, &ids, Neighbours::default());
    assert_eq!(words[0], u32::MAX);
    assert_eq!(f32::from_bits(words[1]), f32::MIN);
    assert_eq!(words[2..6], [0; 4]);
    assert_eq!(words[6], 1);
}

fn found(
    gpu: &Gpu,
    logits: &Tensor,
    cap: Option<f32>,
    parts: &Tensor,
    ids: &[u32],
    near: Neighbours,
) -> Vec<u32> {
    let found = upload::indices(gpu, &vec![9; ids.len() * FOUND_WORDS]);
    let given = upload::indices(gpu, ids);
    let name = if gpu.is_serial() {
        "log_probs_serial"
    } else {
        "log_probs"
    };
    run_first(gpu, name, |r| {
        r.log_probs(logits, cap, parts, (&given, ids.len()), near, &found);
    });
    read_indices(gpu, &found)
}

fn bits(gpu: &Gpu, flags: &[bool]) -> Indices {
    let mut words = vec![0u32; flags.len().div_ceil(32)];
    for (id, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
        words[id / 32] |= 1 << (id % 32);
    }
    upload::indices(gpu, &words)
}

pub(crate) fn process_logits() {
    let gpu = open();
    let mut rng = Rng::new(230);
    for length in LENGTHS {
        let mut logits = rng.numbers(length, 20.0);
        if length > 4 {
            (logits[1], logits[3]) = (f32::NAN, 0.0);
        }
        let flags = |rng: &mut Rng| (0..length).map(|_| rng.flag()).collect::<Vec<bool>>();
        let (seen, permitted) = (flags(&mut rng), flags(&mut rng));
        let (seen_gpu, permitted_gpu) = (bits(&gpu, &seen), bits(&gpu, &permitted));
        let tensor = upload::tensor(&gpu, length, &logits);
        for (cap, penalty, constrained, temperature) in [
            (None, 1.0, false, 1.0),
            (Some(30.0), 1.3, false, 0.7),
            (None, 0.8, true, 2.5),
            (Some(10.0), 1.0, true, 1.0),
        ] {
            let allowed = 1 + rng.below(length);
            let penalised = penalty != 1.0;
            let target = Target::poisoned(&gpu, 1, length);
            let how = Processing {
                allowed,
                soft_cap: cap,
                permitted: constrained.then_some(&permitted_gpu),
                penalty: penalised.then_some((&seen_gpu, penalty)),
                temperature,
            };
            run(&gpu, |r| r.process_logits(&tensor, how, &target.view));
            let actual = target.read(&gpu);
            let mut how = How {
                allowed,
                cap,
                permitted: constrained.then_some(&permitted),
                penalty: penalised.then_some((&seen, penalty)),
                temperature,
            };
            let expected = twins::process_logits::process_logits(&logits, &how);
            let places: Vec<bool> = actual.iter().map(|x| x.is_nan()).collect();
            let wanted: Vec<bool> = expected.iter().map(|x| x.is_nan()).collect();
            assert_eq!(places, wanted, "what may be picked");
            let bound = |values: &[f64]| -> Vec<Bounded> {
                let kept = values.iter().filter(|x| !x.is_nan());
                // The cap's error, times the penalty and over the temperature; two divisions.
                let logit = cap.map_or(0.0, |cap| capped(f64::from(cap), cap));
                let grown = f64::from(1.3 / temperature);
                kept.map(|&value| Bounded {
                    value,
                    bound: logit * grown + 5.0 * U * value.abs(),
                })
                .collect()
            };
            let kept: Vec<f32> = actual.into_iter().filter(|x| !x.is_nan()).collect();
            assert_agrees("process_logits", &kept, &bound(&expected));
            if penalised && allowed > 60 {
                let nobody = vec![false; length];
                how.penalty = Some((&nobody, penalty));
                let without = twins::process_logits::process_logits(&logits, &how);
                assert_differs("no penalty", &kept, &bound(&without));
            }
        }
    }
}

/// The bits that order as the float does.
fn key(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_sign_negative() {
        !bits
    } else {
        bits | 1 << 31
    }
}

fn threshold(gpu: &Gpu, logits: &Tensor, parts: &Tensor, keep: Keep, floor: u32) -> u32 {
    let floor = upload::indices(gpu, &[floor]);
    let state = upload::indices(gpu, &[7, 7, 7]);
    run(gpu, |r| r.threshold(logits, parts, keep, &floor, &state));
    read_indices(gpu, &state)[0]
}

/// The k-th highest, exactly, whatever the floats are.
pub(crate) fn levels() {
    let gpu = open();
    let mut rng = Rng::new(240);
    for length in LENGTHS {
        let mut logits = rng.numbers(length, 30.0);
        if length > 100 {
            logits[3..20].fill(f32::NAN);
            logits[20] = f32::MAX;
            logits[21] = f32::MIN;
            logits[22..40].fill(1.25); // ties
            logits[40] = 1e-40; // a denormal
        }
        let tensor = upload::tensor(&gpu, length, &logits);
        let parts = parts_of(&gpu, &tensor, None);
        for count in [1, 2, 20, 50, 1000, length, length + 7] {
            let got = threshold(&gpu, &tensor, &parts, Keep::Top(count), 0);
            let wanted = key(twins::digits::count(&logits, count));
            assert_eq!(got, wanted, "{count} of {length}");
        }
    }
}

/// The share p, where rounding may move the threshold only between that of p - e and p + e.
pub(crate) fn thresholds() {
    let gpu = open();
    let mut rng = Rng::new(250);
    for length in LENGTHS {
        for scale in [0.5, 6.0] {
            let mut logits = rng.numbers(length, scale);
            if length > 100 {
                logits[5] = f32::NAN;
                logits[length / 2] = scale + 1.0;
                logits[30..60].fill(scale);
            }
            let tensor = upload::tensor(&gpu, length, &logits);
            let parts = parts_of(&gpu, &tensor, None);
            for share in [0.0, 0.1, 0.5, 0.9, 0.999] {
                for count in [None, Some(40)] {
                    let floor = count.map_or(f32::MIN, |k| twins::digits::count(&logits, k));
                    let floor_key = count.map_or(0, |_| key(floor));
                    let got = threshold(&gpu, &tensor, &parts, Keep::Share(share), floor_key);
                    let error = weight_error(None, range(&logits), length);
                    let wanted = |p: f64| key(twins::digits::share(&logits, floor, p));
                    let share = f64::from(share);
                    let least = wanted((share + error).min(1.0));
                    let most = wanted((share - error).max(0.0));
                    let inside = (least..=most).contains(&got);
                    assert!(inside, "{share} of {length}: {least} <= {got} <= {most}");
                }
            }
        }
    }
    // A clear case: 0.6, 0.3, 0.1, in this order of ids.
    let logits = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
    let tensor = upload::tensor(&gpu, 3, &logits);
    let parts = parts_of(&gpu, &tensor, None);
    for (share, at) in [(0.5, 1), (0.7, 2), (0.85, 2), (0.95, 0)] {
        let got = threshold(&gpu, &tensor, &parts, Keep::Share(share), 0);
        assert_eq!(got, key(logits[at]), "{share}");
    }
}

fn draw(gpu: &Gpu, logits: &Tensor, parts: &Tensor, floor: u32, number: f32) -> u32 {
    let token = upload::indices(gpu, &[12_345]);
    let span = upload::indices(gpu, &[10, 4]);
    let floor = upload::indices(gpu, &[floor]);
    let number = upload::indices(gpu, &[number.to_bits()]);
    run(gpu, |r| {
        r.draw(logits, parts, &floor, &number, (&token, &span, 3));
    });
    assert_eq!(read_indices(gpu, &span), [13, 4]);
    read_indices(gpu, &token)[0]
}

pub(crate) fn draws() {
    let gpu = open();
    let mut rng = Rng::new(260);
    for length in LENGTHS {
        let mut logits = rng.numbers(length, 5.0);
        if length > 100 {
            logits[70] = f32::NAN;
        }
        let tensor = upload::tensor(&gpu, length, &logits);
        let parts = parts_of(&gpu, &tensor, None);
        for floor in [f32::MIN, 2.0] {
            // Where nothing is kept there is nothing to draw.
            let anything = logits.iter().any(|&x| x >= floor);
            let intervals = twins::draw::intervals(&logits, floor);
            for _ in 0..6 {
                let number = (rng.unit() + 1.0) / 2.0;
                let got = draw(&gpu, &tensor, &parts, key(floor), number);
                if !anything {
                    assert_eq!(got, u32::MAX);
                    continue;
                }
                let got = got as usize;
                assert!(logits[got] >= floor, "{got} is not kept");
                let (before, up_to) = intervals[got];
                let error = 2.0 * weight_error(None, range(&logits), length);
                let number = f64::from(number);
                let inside = before - error <= number && number <= up_to + error;
                assert!(inside, "{before} <= {number} <= {up_to}");
            }
        }
    }
    nothing_to_draw(&gpu);
}

fn nothing_to_draw(gpu: &Gpu) {
    let tensor = upload::tensor(gpu, 70, &[f32::NAN; 70]);
    let parts = parts_of(gpu, &tensor, None);
    assert_eq!(draw(gpu, &tensor, &parts, 0, 0.5), u32::MAX);
}

/// Equal weights far apart: the draw crosses stretches and lanes, and its ends are the first and
/// the last id.
pub(crate) fn drawn_from_all_stretches() {
    let gpu = open();
    let length = 2048 * 66 + 10;
    let mut logits = vec![f32::NAN; length];
    let ids = [0, 31, 32, 2047, 2048, 70_000, length - 1];
    for id in ids {
        logits[id] = -3.5;
    }
    let tensor = upload::tensor(&gpu, length, &logits);
    let parts = parts_of(&gpu, &tensor, None);
    for (index, id) in ids.into_iter().enumerate() {
        let number = (index as f32 + 0.5) / ids.len() as f32;
        assert_eq!(draw(&gpu, &tensor, &parts, 0, number), id as u32);
    }
    assert_eq!(draw(&gpu, &tensor, &parts, 0, 0.0), 0);
    let almost_one = 1.0 - 1.0 / (1 << 24) as f32;
    let last = (length - 1) as u32;
    assert_eq!(draw(&gpu, &tensor, &parts, 0, almost_one), last);
}

fn top_ids(gpu: &Gpu, logits: &[f32], allowed: usize, count: usize) {
    let tensor = upload::tensor(gpu, logits.len(), logits);
    let ids = upload::indices(gpu, &vec![5; count + 1]);
    let span = upload::indices(gpu, &[10, 4]);
    run(gpu, |r| r.top(&tensor, allowed, count, &ids, (&span, 1)));
    let mut expected: Vec<u32> = twins::top::top(&logits[..allowed], count)
        .into_iter()
        .map(|id| id.map_or(u32::MAX, |id| id as u32))
        .collect();
    expected.push(5); // left alone
    let length = logits.len();
    assert_eq!(read_indices(gpu, &ids), expected, "{count} of {length}");
    assert_eq!(read_indices(gpu, &span), [11, 4]);
}

pub(crate) fn top() {
    let gpu = open();
    let mut rng = Rng::new(270);
    let length = 2048 * 70 + 3;
    let mut logits = rng.numbers(length, 4.0);
    top_ids(&gpu, &logits, length, 9);
    // All from one stretch, and ties over stretches.
    logits[4100..4120].fill(5.0);
    top_ids(&gpu, &logits, length, 17);
    for at in [7, 90_000, 143_000] {
        logits[at] = 6.0;
    }
    top_ids(&gpu, &logits, length, 5);
    top_ids(&gpu, &logits, 100_000, 5);
}

pub(crate) fn top_of_a_stretch() {
    let gpu = open();
    let mut rng = Rng::new(280);
    for length in LENGTHS {
        let mut logits = rng.numbers(length, 4.0);
        top_ids(&gpu, &logits, length, 4);
        let coarse: Vec<f32> = logits.iter().map(|x| x.round() + 0.5).collect();
        top_ids(&gpu, &coarse, length, 33);
        if length > 2 {
            logits[1..].fill(f32::NAN);
            top_ids(&gpu, &logits, length - 1, 3);
        }
    }
}
