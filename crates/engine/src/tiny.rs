//! A model for tests.

use paligemma_checkpoint::Config;
use serde_json::json;

/// Two layers of Gemma 2, small enough for any machine.
pub(crate) fn tiny() -> Config {
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
