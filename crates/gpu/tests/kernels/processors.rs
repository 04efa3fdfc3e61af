//! The kernels one after the other against transformers' processors: which ids stay, with which
//! probabilities, and what is drawn from them.

use paligemma_gpu::{Gpu, Indices, Keep, Processing, Tensor};
use serde_json::Value;

use super::device::{open, read, read_indices, run};
use crate::support::upload;

/// transformers rounds in f32 as the kernels do, and its sum over 300 is off by a few units.
const ERROR: f64 = 1e-5;

struct Sampler {
    processed: Tensor,
    parts: Tensor,
    floor: Indices,
}

#[test]
fn what_is_kept_and_drawn_is_as_in_transformers() {
    // Inside, so that it is there on machines without this repository's folder.
    let golden = include_bytes!("../../../../tests/fixtures/generation/processors.json");
    let golden: Value = serde_json::from_slice(golden).unwrap();
    let logits: Vec<f32> = serde_json::from_value(golden["logits"].clone()).unwrap();
    let seen: Vec<usize> = serde_json::from_value(golden["seen"].clone()).unwrap();
    let gpu = open();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let sampler = process(&gpu, &logits, &seen, case);
        let kept = kept(&gpu, &sampler);
        let ids: Vec<usize> = serde_json::from_value(case["kept"].clone()).unwrap();
        assert_eq!(kept.iter().map(|k| k.0).collect::<Vec<_>>(), ids, "{case}");
        let probabilities: Vec<f64> =
            serde_json::from_value(case["probabilities"].clone()).unwrap();
        for ((_, got), wanted) in kept.iter().zip(probabilities) {
            assert!((got - wanted).abs() < ERROR, "{got}, not {wanted}");
        }
        let numbers: Vec<f32> = serde_json::from_value(case["numbers"].clone()).unwrap();
        let drawn: Vec<u32> = serde_json::from_value(case["drawn"].clone()).unwrap();
        assert!(!numbers.is_empty());
        for (number, wanted) in numbers.into_iter().zip(drawn) {
            assert_eq!(draw(&gpu, &sampler, number), wanted, "{number}: {case}");
        }
    }
}

fn process(gpu: &Gpu, logits: &[f32], seen: &[usize], case: &Value) -> Sampler {
    let float = |name: &str, none: f64| case[name].as_f64().unwrap_or(none) as f32;
    let mut words = vec![0u32; logits.len().div_ceil(32)];
    for id in seen {
        words[id / 32] |= 1 << (id % 32);
    }
    let words = upload::indices(gpu, &words);
    let tensor = upload::tensor(gpu, logits.len(), logits);
    let processed = gpu.tensor("processed", 1, logits.len()).unwrap();
    let parts = gpu.stretches(logits.len()).unwrap();
    let (top, share) = (upload::indices(gpu, &[0; 3]), upload::indices(gpu, &[0; 3]));
    let mut floor = upload::indices(gpu, &[0]);
    let how = Processing {
        allowed: logits.len(),
        soft_cap: None,
        permitted: None,
        penalty: Some((&words, float("repetition_penalty", 1.0))),
        temperature: float("temperature", 1.0),
    };
    run(gpu, |r| {
        r.process_logits(&tensor, how, &processed);
        r.log_sum_exp(&processed, None, &parts);
        if let Some(count) = case["top_k"].as_u64() {
            let keep = Keep::Top(count as usize);
            r.threshold(&processed, &parts, keep, &floor, &top);
            floor = top.clone();
        }
        if let Some(p) = case["top_p"].as_f64() {
            let keep = Keep::Share(p as f32);
            r.threshold(&processed, &parts, keep, &floor, &share);
            floor = share.clone();
        }
    });
    Sampler {
        processed,
        parts,
        floor,
    }
}

/// Ids that are not below the threshold, and their share of the weight.
fn kept(gpu: &Gpu, sampler: &Sampler) -> Vec<(usize, f64)> {
    let logits = read(gpu, &sampler.processed);
    let floor = read_indices(gpu, &sampler.floor)[0];
    let key = |x: f32| match x.is_sign_negative() {
        true => !x.to_bits(),
        false => x.to_bits() | 1 << 31,
    };
    let kept: Vec<(usize, f32)> = logits
        .into_iter()
        .enumerate()
        .filter(|(_, x)| key(*x) >= floor)
        .collect();
    let highest = kept.iter().map(|(_, x)| *x).fold(f32::MIN, f32::max);
    let weight = |x: f32| f64::from(x - highest).exp();
    let total: f64 = kept.iter().map(|(_, x)| weight(*x)).sum();
    kept.into_iter()
        .map(|(id, x)| (id, weight(x) / total))
        .collect()
}

fn draw(gpu: &Gpu, sampler: &Sampler, number: f32) -> u32 {
    let token = upload::indices(gpu, &[0]);
    let span = upload::indices(gpu, &[0, 0]);
    let number = upload::indices(gpu, &[number.to_bits()]);
    run(gpu, |r| {
        let to = (&token, &span, 0);
        r.draw(
            &sampler.processed,
            &sampler.parts,
            &sampler.floor,
            &number,
            to,
        );
    });
    read_indices(gpu, &token)[0]
}
