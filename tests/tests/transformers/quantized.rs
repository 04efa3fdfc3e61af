//! Quantized weights: against transformers with the same dequantized weights, and each recipe
//! against what its packed weights stand for.
//!
//! With unquantized weights a quantized random model cannot be compared: honest int4 error moves
//! its logits by half their spread, and a real mistake hides below that.

use paligemma_checkpoint::{
    Checkpoint, Dtype, Packed, Recipe, Storage, int4_row, pack, unpack_row,
};
use paligemma_engine::{
    CachePrecision, CancelToken, Engine, Event, Folder, GpuOptions, LoadOptions, MemorySource,
    ModelOptions, Source,
};
use safetensors::tensor::TensorView;

use crate::expected::{Expected, fixture, request};

const MODEL: &str = "pg2_q128";

/// As for the unquantized logits (`stages.rs`): two f32 implementations of the same weights.
const SAME_WEIGHTS: f32 = 2e-4;

/// Root mean square difference over the spread of the logits, when the scales and zeros of int4
/// are rounded to f16. An f16 is off by up to 2^-11 = 4.9e-4 of itself, and what reaches the
/// logits of this model is some tens of times the error of its weights: one scale shifted to its
/// neighbour's row gives over 0.4.
const ROUNDED_SCALES: f32 = 0.015;

fn engine<S: Source>(source: S, recipe: Recipe) -> Engine {
    engine_with(source, recipe, Some(CachePrecision::F32))
}

fn engine_with<S: Source>(source: S, recipe: Recipe, cache: Option<CachePrecision>) -> Engine {
    let options = LoadOptions {
        gpu: GpuOptions {
            baseline_limits: true,
            ..GpuOptions::default()
        },
        model: ModelOptions {
            recipe: Some(recipe),
            cache,
            ..ModelOptions::default()
        },
        ..LoadOptions::default()
    };
    pollster::block_on(Engine::load(source, &options, &mut |_| ())).unwrap()
}

fn folder() -> Folder {
    Folder::new(fixture(MODEL).join("model"))
}

/// The fixture's checkpoint with every weight in f32 and changed by `change`, which is given a
/// tensor's canonical name, shape, stored type and bytes.
fn changed(change: impl Fn(&str, &[usize], Dtype, &[u8]) -> Vec<f32>) -> MemorySource {
    stored(change, |_| false)
}

/// The same with some tensors stored in bf16, which their numbers have to fit.
fn stored(
    change: impl Fn(&str, &[usize], Dtype, &[u8]) -> Vec<f32>,
    in_bf16: impl Fn(&str) -> bool,
) -> MemorySource {
    let checkpoint = pollster::block_on(Checkpoint::open(folder())).unwrap();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut slices = checkpoint.slices(usize::MAX);
    while let Some(slice) = pollster::block_on(slices.next()).unwrap() {
        let info = &checkpoint.tensors()[slice.tensor];
        let numbers = change(&info.name, &info.shape, info.dtype, &slice.bytes);
        let bytes: Vec<u8> = match in_bf16(&info.name) {
            true => {
                let halves = numbers.iter().map(|x| half::bf16::from_f32(*x));
                halves.flat_map(half::bf16::to_le_bytes).collect()
            }
            false => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        match tensors.iter_mut().find(|(name, ..)| *name == info.name) {
            Some((_, _, all)) => all.extend(bytes),
            None => tensors.push((info.name.clone(), info.shape.clone(), bytes)),
        }
    }
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            let dtype = match in_bf16(name) {
                true => safetensors::Dtype::BF16,
                false => safetensors::Dtype::F32,
            };
            let view = TensorView::new(dtype, shape.clone(), bytes);
            (name.as_str(), view.unwrap())
        })
        .collect();
    let mut source = MemorySource::default();
    source.insert(
        "model.safetensors",
        safetensors::serialize(views, None).unwrap(),
    );
    for file in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "preprocessor_config.json",
    ] {
        let path = fixture(MODEL).join("model").join(file);
        source.insert(file, std::fs::read(path).unwrap());
    }
    source
}

fn widened(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let mut packed = Packed::default();
    let count = bytes.len() / dtype.size();
    pack(Dtype::F32.into(), dtype, count, bytes, &mut packed).unwrap();
    unpack_row(Dtype::F32.into(), count, &packed.weights, &packed.scales)
}

fn is_decoder_linear(name: &str) -> bool {
    name.starts_with("language_model.model.layers.") && name.ends_with("proj.weight")
}

/// Logits of the last token of the prompt.
fn last_logits(engine: &mut Engine) -> Vec<f32> {
    let expected = Expected::read(MODEL, "single");
    let (ids, pixels) = (expected.ids("input_ids"), expected.pixels());
    let (_, tensors) = request(&ids, pixels.len(), 1, |request| {
        pollster::block_on(engine.forward_pixels(request, &pixels))
    })
    .unwrap();
    let logits = tensors.into_iter().find(|t| t.name == "logits").unwrap();
    let vocabulary = *logits.shape.last().unwrap();
    logits.values[logits.values.len() - vocabulary..].to_vec()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

fn relative_rms(a: &[f32], b: &[f32]) -> f32 {
    let count = b.len() as f32;
    let mean = b.iter().sum::<f32>() / count;
    let spread = b.iter().map(|b| (b - mean).powi(2)).sum::<f32>();
    let error = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    (error / spread).sqrt()
}

/// transformers, with its decoder's linears replaced by dequantized int4 of group 128.
#[test]
fn int4_is_that_of_torchao() {
    let wanted = Expected::file(&fixture("quant").join("pg2_q128.safetensors"));
    let (_, logits) = wanted.floats("int4_g128.logits_last_prompt");

    // With scales and zeros in f32, as the reference has them.
    let source = changed(|name, shape, dtype, bytes| {
        let numbers = widened(dtype, bytes);
        if !is_decoder_linear(name) {
            return numbers;
        }
        let rows = numbers.chunks(shape[1]);
        rows.flat_map(|row| int4_row(row, 128).unwrap().dequantize())
            .collect()
    });
    let mut exact = engine(source, Recipe::AS_STORED);
    let off = worst(&last_logits(&mut exact), &logits);
    println!("int4-g128, f32 scales: worst {off:.1e}");
    assert!(off <= SAME_WEIGHTS, "{off}");
    let ids = wanted.ids("int4_g128.generated_ids");
    let prompt = Expected::read(MODEL, "single");
    let (prompt_ids, pixels) = (prompt.ids("input_ids"), prompt.pixels());
    let generated = request(&prompt_ids, pixels.len(), ids.len(), |request| {
        pollster::block_on(exact.generate_pixels(request, &pixels))
    });
    assert_eq!(generated.unwrap(), ids);

    // As they are kept: scales and zeros in f16, codes read by the kernels.
    let mut kept = engine(folder(), Recipe::INT4_G128);
    let off = relative_rms(&last_logits(&mut kept), &logits);
    println!("int4-g128, f16 scales: relative rms {off:.4}");
    assert!(off <= ROUNDED_SCALES, "{off}");

    // The bound is far below what quantization itself does.
    let unquantized = last_logits(&mut engine(folder(), Recipe::AS_STORED));
    assert!(relative_rms(&unquantized, &logits) > 10.0 * ROUNDED_SCALES);
}

/// Every recipe computes what its packed weights stand for.
#[test]
fn every_recipe_is_its_dequantized_weights() {
    for recipe in Recipe::ALL {
        let source = changed(|name, shape, dtype, bytes| {
            let Storage::Matrix(precision) = recipe.storage(name, shape, dtype) else {
                return widened(dtype, bytes);
            };
            let columns: usize = shape[1..].iter().product();
            let rows = bytes.chunks(columns * dtype.size());
            rows.flat_map(|row| {
                let mut packed = Packed::default();
                pack(precision, dtype, columns, row, &mut packed).unwrap();
                unpack_row(precision, columns, &packed.weights, &packed.scales)
            })
            .collect()
        });
        let wanted = last_logits(&mut engine(source, Recipe::AS_STORED));
        let got = last_logits(&mut engine(folder(), recipe.clone()));
        let off = worst(&got, &wanted);
        println!("{recipe}: worst {off:.1e}");
        assert!(off <= SAME_WEIGHTS, "{recipe}: {off}");
    }
}

/// Projections of different precision are not kept as one matrix, and compute the same.
#[test]
fn projections_may_be_stored_differently() {
    // The first, the middle and the last of a stack.
    for part in ["self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj"] {
        let is_part = |name: &str| name.contains(part);
        let rounded = |name: &str, _: &[usize], dtype: Dtype, bytes: &[u8]| {
            let numbers = widened(dtype, bytes).into_iter();
            match is_part(name) {
                true => numbers.map(|x| half::bf16::from_f32(x).to_f32()).collect(),
                false => numbers.collect(),
            }
        };
        let wanted = last_logits(&mut engine(changed(rounded), Recipe::AS_STORED));
        let got = last_logits(&mut engine(stored(rounded, is_part), Recipe::AS_STORED));
        let off = worst(&got, &wanted);
        println!("{part} in bf16: worst {off:.1e}");
        assert!(off <= SAME_WEIGHTS, "{part}: {off}");
    }
}

/// Keys and values in f16 are each off by up to 2^-11 of themselves, as scales in f16 are, and move
/// the logits no further than those do; ids come out as in f32 where the model is sure.
#[test]
fn keys_and_values_may_be_kept_in_sixteen_bits() {
    let mut exact = engine(folder(), Recipe::AS_STORED);
    let mut halves = engine_with(folder(), Recipe::AS_STORED, Some(CachePrecision::F16));
    let (wanted, got) = (last_logits(&mut exact), last_logits(&mut halves));
    let off = relative_rms(&got, &wanted);
    println!("keys and values in f16: relative rms {off:.5}");
    assert!(off > 0.0, "they are in f32");
    assert!(off <= ROUNDED_SCALES, "{off}");
    // Beside quantized weights it is what happens by itself, and not beside others.
    let usual = |recipe: Recipe| last_logits(&mut engine_with(folder(), recipe, None));
    assert_eq!(usual(Recipe::AS_STORED), wanted);
    let q4 = |cache| last_logits(&mut engine_with(folder(), Recipe::Q4, Some(cache)));
    assert_eq!(usual(Recipe::Q4), q4(CachePrecision::F16));
    assert_ne!(usual(Recipe::Q4), q4(CachePrecision::F32));
}

/// Keys and values in bytes are off by up to 1/254 of the largest of a head, in f16 by up to 2^-11 of
/// themselves: that is to be seen, and to be no more than what all weights in q8 do, which the demo
/// model's answers do not feel.
#[test]
fn keys_and_values_may_be_kept_in_bytes() {
    let wanted = last_logits(&mut engine(folder(), Recipe::AS_STORED));
    let off = |recipe, cache| {
        let got = last_logits(&mut engine_with(folder(), recipe, Some(cache)));
        relative_rms(&got, &wanted)
    };
    let bytes = off(Recipe::AS_STORED, CachePrecision::Int8);
    let halves = off(Recipe::AS_STORED, CachePrecision::F16);
    let weights = off(Recipe::Q8, CachePrecision::F32);
    println!(
        "relative rms: cache in int8 {bytes:.5}, in f16 {halves:.5}; weights in q8 {weights:.5}"
    );
    assert!(bytes > 5.0 * halves, "{bytes}, {halves}");
    assert!(bytes <= weights, "{bytes}, {weights}");
}

/// A cache that is so large that its keys are shared out: the same tokens all the same.
#[test]
fn a_large_cache_gives_the_same_tokens() {
    const TOKENS: usize = 8;
    let expected = Expected::read(MODEL, "single");
    let (ids, images) = (expected.ids("input_ids"), expected.pixels().len());
    let mut engine = engine(folder(), Recipe::AS_STORED);
    let mut answers = Vec::new();
    // What an answer may take decides how large the cache is.
    for most in [TOKENS, 1024] {
        let cancel = CancelToken::default();
        let answer = request(&ids, images, most, |request| {
            let mut stop = |event| {
                if matches!(event, Event::Token { count, .. } if count == TOKENS) {
                    cancel.cancel();
                }
            };
            pollster::block_on(engine.run(request, &cancel, &mut stop))
        });
        answers.push(answer.unwrap().token_ids);
    }
    assert_eq!(answers[0].len(), TOKENS);
    assert_eq!(answers[0], answers[1]);
}
