//! The shapes of the published checkpoints, by name.

use serde_json::{Value, json};

use crate::config::Config;
use crate::error::CheckpointError;

/// Rows of the embedding: 257 152 trained ones and 64 more.
const EMBEDDINGS: usize = 257_216;
/// The image token, the first row beyond the tokenizer's.
const IMAGE_TOKEN: u32 = 257_152;
/// Side of a patch in pixels.
const PATCH: usize = 14;
/// Sides of the picture in pixels at which every size is published.
const SIDES: [usize; 3] = [224, 448, 896];

/// What differs between the language models.
struct Decoder {
    size: &'static str,
    gemma2: bool,
    layers: usize,
    hidden: usize,
    inner: usize,
    heads: usize,
    key_heads: usize,
    head: usize,
}

static DECODERS: [Decoder; 4] = [
    Decoder {
        size: "paligemma-3b",
        gemma2: false,
        layers: 18,
        hidden: 2048,
        inner: 16_384,
        heads: 8,
        key_heads: 1,
        head: 256,
    },
    Decoder {
        size: "paligemma2-3b",
        gemma2: true,
        layers: 26,
        hidden: 2304,
        inner: 9216,
        heads: 8,
        key_heads: 4,
        head: 256,
    },
    Decoder {
        size: "paligemma2-10b",
        gemma2: true,
        layers: 42,
        hidden: 3584,
        inner: 14_336,
        heads: 16,
        key_heads: 8,
        head: 256,
    },
    Decoder {
        size: "paligemma2-28b",
        gemma2: true,
        layers: 46,
        hidden: 4608,
        inner: 36_864,
        heads: 32,
        key_heads: 16,
        head: 128,
    },
];

/// The shape of a published checkpoint: a size at a resolution. Pretrained, mix and fine-tuned
/// checkpoints of both share it.
#[derive(Clone, Copy)]
pub struct Published {
    decoder: &'static Decoder,
    side: usize,
}

impl Published {
    /// All, smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |decoder| SIDES.map(|side| Self { decoder, side });
        DECODERS.iter().flat_map(of)
    }

    /// The shape of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|shape| shape.name() == name)
    }

    /// Family, size and side of the picture, as `paligemma2-3b-224`.
    pub fn name(&self) -> String {
        format!("{}-{}", self.decoder.size, self.side)
    }

    /// `config.json` with the fields that the published file has and without those it leaves to
    /// the defaults of transformers' classes; of each tower at most `layers`, if that is given.
    pub fn config_json(&self, layers: Option<usize>) -> Value {
        let decoder = self.decoder;
        let most = layers.unwrap_or(usize::MAX);
        let tokens = (self.side / PATCH).pow(2);
        let mut text = json!({
            "model_type": if decoder.gemma2 { "gemma2" } else { "gemma" },
            "hidden_size": decoder.hidden,
            "intermediate_size": decoder.inner,
            "num_attention_heads": decoder.heads,
            "num_hidden_layers": decoder.layers.min(most),
            "num_image_tokens": tokens,
            "num_key_value_heads": decoder.key_heads,
            "torch_dtype": "bfloat16",
            "vocab_size": EMBEDDINGS
        });
        // The default is 256 for both; 28B alone has others.
        if decoder.head != 256 {
            text["head_dim"] = json!(decoder.head);
            text["query_pre_attn_scalar"] = json!(decoder.hidden / decoder.heads);
        }
        let mut config = json!({
            "architectures": ["PaliGemmaForConditionalGeneration"],
            "bos_token_id": 2,
            "eos_token_id": 1,
            "ignore_index": -100,
            "image_token_index": IMAGE_TOKEN,
            "model_type": "paligemma",
            "pad_token_id": 0,
            "projection_dim": decoder.hidden,
            "text_config": text,
            "torch_dtype": "bfloat16",
            "transformers_version": if decoder.gemma2 { "4.47.0.dev0" } else { "4.41.0.dev0" },
            "vision_config": {
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "model_type": "siglip_vision_model",
                "num_attention_heads": 16,
                "num_hidden_layers": 27.min(most),
                "num_image_tokens": tokens,
                "patch_size": PATCH,
                "projection_dim": decoder.hidden,
                "projector_hidden_act": "gelu_fast",
                "vision_use_head": false
            },
            "vocab_size": EMBEDDINGS
        });
        if decoder.gemma2 {
            config["num_hidden_layers"] = json!(decoder.layers.min(most));
            // One number for all resolutions, not to be believed.
            config["vision_config"]["num_positions"] = json!(256);
        } else {
            config["hidden_size"] = json!(decoder.hidden);
        }
        if self.side != 224 {
            config["vision_config"]["image_size"] = json!(self.side);
        }
        config
    }

    /// What is read from [`Published::config_json`].
    ///
    /// # Errors
    /// No layers at all.
    pub fn config(&self, layers: Option<usize>) -> Result<Config, CheckpointError> {
        let json = self.config_json(layers).to_string();
        Config::from_json(json.as_bytes(), None)
    }
}

impl std::fmt::Debug for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}
