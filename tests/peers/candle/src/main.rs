//! candle's PaliGemma answers one question several times and says how long each part took, as JSON.
//!
//!     peers-candle MODEL INPUTS TOKENS ANSWERS
//!
//! MODEL is a checkpoint in the Hub's layout, INPUTS a safetensors file with `pixel_values` and
//! `input_ids`, so that no program's own pictures and tokens count. Weights are computed with in f32.
//!
//! candle divides the image features by their norm, which the model does not do, and counts positions
//! from 0: its answer is another one. The work is the same.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{gemma, paligemma, siglip};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: peers-candle MODEL INPUTS TOKENS ANSWERS";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, inputs, tokens, answers] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let (tokens, answers): (usize, usize) = (tokens.parse()?, answers.parse()?);
    let device = Device::cuda_if_available(0)?;
    let inputs = candle_core::safetensors::load(inputs, &device)?;
    let model = Path::new(model);
    let config: Value = serde_json::from_slice(&std::fs::read(model.join("config.json"))?)?;

    let started = Instant::now();
    let weights = [model.join("model.safetensors")];
    // SAFETY: nobody writes to the file while this runs.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&weights, DType::F32, &device)? };
    let mut model = paligemma::Model::new(&read(&config)?, weights)?;
    device.synchronize()?;
    let load_ms = milliseconds(started);

    let image = config["image_token_index"].as_u64().ok_or("no image token")?;
    let given = inputs.get("input_ids").ok_or("no input_ids")?;
    let given = given.flatten_all()?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let prompt: Vec<u32> = given
        .iter()
        .map(|&id| id as u32)
        .filter(|&id| u64::from(id) != image)
        .collect();
    let prompt = Tensor::new(prompt, &device)?.unsqueeze(0)?;
    let answers = (0..answers)
        .map(|_| answer(&mut model, &inputs, &prompt, tokens))
        .collect::<Outcome<Vec<Value>>>()?;
    let device = if device.is_cuda() { "CUDA" } else { "CPU" };
    println!(
        "{}",
        json!({"load_ms": load_ms, "answers": answers, "device": device})
    );
    Ok(())
}

fn answer(
    model: &mut paligemma::Model,
    inputs: &HashMap<String, Tensor>,
    prompt: &Tensor,
    tokens: usize,
) -> Outcome<Value> {
    let pixels = inputs.get("pixel_values").ok_or("no pixel_values")?;
    let (mut ids, mut times) = (Vec::new(), Vec::new());
    let started = Instant::now();
    let mut logits = model.setup(pixels, prompt)?;
    loop {
        let best = logits.flatten_all()?.argmax(D::Minus1)?;
        ids.push(best.to_scalar::<u32>()?);
        times.push(milliseconds(started));
        if ids.len() == tokens {
            return Ok(json!({"ids": ids, "token_ms": times}));
        }
        logits = model.forward(&best.reshape((1, 1))?)?;
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// candle's configuration from the file that transformers reads.
fn read(config: &Value) -> Outcome<paligemma::Config> {
    let number = |part: &str, name: &str| -> Outcome<usize> {
        let value = config[part][name].as_u64();
        Ok(value.ok_or_else(|| format!("{part} has no {name}"))? as usize)
    };
    let (text, vision) = ("text_config", "vision_config");
    Ok(paligemma::Config {
        projection_dim: number(vision, "projection_dim")?,
        vision_config: siglip::VisionConfig {
            hidden_size: number(vision, "hidden_size")?,
            intermediate_size: number(vision, "intermediate_size")?,
            num_hidden_layers: number(vision, "num_hidden_layers")?,
            num_attention_heads: number(vision, "num_attention_heads")?,
            num_channels: 3,
            image_size: number(vision, "image_size")?,
            patch_size: number(vision, "patch_size")?,
            hidden_act: Activation::GeluPytorchTanh,
            layer_norm_eps: 1e-6,
        },
        text_config: gemma::Config {
            attention_bias: false,
            head_dim: number(text, "head_dim")?,
            hidden_act: Some(Activation::GeluPytorchTanh),
            hidden_activation: None,
            hidden_size: number(text, "hidden_size")?,
            intermediate_size: number(text, "intermediate_size")?,
            num_attention_heads: number(text, "num_attention_heads")?,
            num_hidden_layers: number(text, "num_hidden_layers")?,
            num_key_value_heads: number(text, "num_key_value_heads")?,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            vocab_size: number(text, "vocab_size")?,
            max_position_embeddings: 8192,
        },
    })
}
