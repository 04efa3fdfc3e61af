//! Quantized weights: against transformers with the same dequantized weights, and each recipe
//! against what its packed weights stand for.
//!
//! With unquantized weights a quantized random model cannot be compared: honest int4 error moves
//! its logits by half their spread, and a real mistake hides below that.

use paligemma_checkpoint::{
    Checkpoint, Dtype, Packed, Recipe, Storage, int4_row, pack, unpack_row,
};
use paligemma_engine::{
    CachePrecision, Engine, Folder, GpuOptions, LoadOptions, MemorySource, ModelOptions, Source,
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
    let options = LoadOptions {
        gpu: GpuOptions {
            baseline_limits: true,
            ..GpuOptions::default()
        },
        model: ModelOptions {
            recipe: Some(recipe),
            cache: Some(CachePrecision::F32),
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
    let checkpoint = pollster::block_on(Checkpoint::open(folder())).unwrap();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut slices = checkpoint.slices(usize::MAX);
    while let Some(slice) = pollster::block_on(slices.next()).unwrap() {
        let info = &checkpoint.tensors()[slice.tensor];
        let numbers = change(&info.name, &info.shape, info.dtype, &slice.bytes);
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        match tensors.iter_mut().find(|(name, ..)| *name == info.name) {
            Some((_, _, all)) => all.extend(bytes),
            None => tensors.push((info.name.clone(), info.shape.clone(), bytes)),
        }
    }
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
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
