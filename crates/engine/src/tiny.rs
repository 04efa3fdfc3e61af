//! A model for tests.

use paligemma_checkpoint::{Config, Recipe};
use paligemma_gpu::{Gpu, GpuOptions};
use paligemma_model::{ModelOptions, PaliGemma};
use pollster::block_on;
use serde_json::json;

/// A GPU, and the model of `tiny` made up on it in q4.
pub(crate) fn made_up(gpu: &GpuOptions) -> (Gpu, PaliGemma) {
    let gpu = block_on(Gpu::open(gpu)).expect("a GPU");
    let options = ModelOptions {
        recipe: Some(Recipe::Q4),
        ..ModelOptions::default()
    };
    let model = block_on(PaliGemma::made_up(&gpu, tiny(), &options, &mut |_| ()));
    (gpu, model.expect("a model"))
}

/// Two layers of Gemma 2, small enough for any machine.
fn tiny() -> Config {
    let config = json!({
        "model_type": "paligemma", "image_token_index": 1000,
        "text_config": {
            "model_type": "gemma2", "vocab_size": 1000, "hidden_size": 64,
            "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512
        },
        "vision_config": {
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14,
            "image_size": 28
        }
    });
    Config::from_json(config.to_string().as_bytes(), None).expect("a configuration")
}
