//! Every intermediate tensor of the `single` case.

use paligemma_engine::{Engine, GpuOptions, NamedTensor};

use crate::expected::{Expected, MODELS, engine, engine_of_a_gpu, load, request};

/// Largest difference that rounding explains, in units of the tensor's scale.
///
/// transformers in f32 against f64 moves these logits by at most 4.2e-5 (`cases.json`, `drift`),
/// and two f32 implementations that add in different orders can each be that far off: 8.4e-5 on
/// logits whose largest magnitude is about 20. Mistakes as small as an epsilon of 1e-5 in place of
/// 1e-6 move them by more than 1e-4 (`sensitivity.json`: `rms_eps_1e-5` 1.1e-3 and
/// `vision_eps_1e-5` 3.1e-4 on `pg2_odd`). 2e-4 absolute on the logits lies between the two.
pub(crate) const LOGITS: f32 = 2e-4;

/// Stages before the head are compared relative to the largest magnitude of the tensor: an f32
/// has a relative spacing of 1.2e-7, the longest chain here is about 60 dependent sums of at most
/// 588 products whose errors add up like a random walk, sqrt(60 * 588) * 6e-8 = 1.1e-5. A wrong
/// layer epsilon, the smallest mistake there is, moves a stage by some 1e-4 of it.
pub(crate) const STAGE: f32 = 2e-5;

fn forward(engine: &mut Engine, expected: &Expected) -> Vec<NamedTensor> {
    let ids = expected.ids("input_ids");
    let pixels = expected.pixels();
    let (got, tensors) = request(&ids, pixels.len(), 1, |request| {
        pollster::block_on(engine.forward_pixels(request, &pixels))
    })
    .unwrap();
    assert_eq!(got, ids);
    tensors
}

pub(crate) fn difference(got: &[f32], wanted: &[f32]) -> (f32, f32) {
    assert_eq!(got.len(), wanted.len());
    let pairs = got.iter().zip(wanted);
    let worst = pairs.map(|(a, b)| {
        assert!(a.is_finite());
        (a - b).abs()
    });
    let scale = wanted
        .iter()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    (worst.fold(0.0, f32::max), scale)
}

/// Compares everything that both have, and insists that nothing is left out.
fn compare(model: &str, tensors: &[NamedTensor], expected: &Expected) {
    let mut compared = Vec::new();
    for name in expected.names() {
        let Some(tensor) = tensors.iter().find(|tensor| tensor.name == name) else {
            continue;
        };
        let (shape, wanted) = expected.floats(&name);
        assert_eq!(tensor.shape, shape, "{model} {name}");
        let (worst, scale) = difference(&tensor.values, &wanted);
        let allowed = if name == "logits" {
            LOGITS
        } else {
            STAGE * scale
        };
        println!("{model:14} {name:28} worst {worst:.2e} of {scale:.2e}, allowed {allowed:.2e}");
        assert!(worst <= allowed, "{model} {name}: {worst:e} > {allowed:e}");
        compared.push(name);
    }
    for tensor in tensors {
        assert!(
            compared.contains(&tensor.name),
            "{model} has no {}",
            tensor.name
        );
    }
}

#[test]
fn every_stage_of_every_model_is_that_of_transformers() {
    for model in MODELS {
        let expected = Expected::read(model, "single");
        // By the kernels that this adapter gets, and by those that GPUs get.
        let tensors = forward(&mut engine(model), &expected);
        let of_a_gpu = forward(&mut engine_of_a_gpu(model, None), &expected);
        let layers = expected
            .names()
            .iter()
            .filter(|name| name.starts_with("text.layer_out."))
            .count();
        // pixel values, embeddings, last hidden state, features, inputs, final norm, logits; and
        // of each layer an output, of the decoder's also keys and values.
        let vision = expected
            .names()
            .iter()
            .filter(|name| name.starts_with("vision.layer_out."))
            .count();
        assert_eq!(tensors.len(), 7 + vision + 3 * layers, "{model}");
        compare(model, &tensors, &expected);
        compare(model, &of_a_gpu, &expected);
    }
}

#[test]
fn weights_in_shards_compute_the_same() {
    let expected = Expected::read("pg2_odd", "single");
    // A thousandth of the baseline's binding: the vocabulary matrix [3776, 56] of f32 takes seven
    // shards.
    let gpu = GpuOptions {
        baseline_limits: true,
        max_binding_bytes: Some(128 << 10),
        ..GpuOptions::default()
    };
    let sharded = forward(&mut load("pg2_odd", gpu, true), &expected);
    let whole = forward(&mut engine("pg2_odd"), &expected);
    for (a, b) in sharded.iter().zip(&whole) {
        assert_eq!(a.name, b.name);
        // Each row of a matrix product is computed alike, whichever shard it lies in.
        assert_eq!(a.values, b.values, "{}", a.name);
    }
}

#[test]
fn a_wrong_tensor_would_be_noticed() {
    let expected = Expected::read("pg2_odd", "single");
    let (_, logits) = expected.floats("logits");
    let mut wrong = logits.clone();
    wrong[1234] += 3.0 * LOGITS;
    assert!(difference(&wrong, &logits).0 > LOGITS);
}
