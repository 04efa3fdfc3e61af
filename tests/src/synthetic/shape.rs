//! The published checkpoints' dimensions, and the small files that state them.

use serde_json::{Value, json};

/// A published checkpoint whose shapes are imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `paligemma-3b-pt-224`, in bfloat16 as on its branch of that name.
    PaliGemma3b,
    /// `paligemma2-3b-pt-224`.
    PaliGemma2_3b,
    /// `paligemma2-10b-pt-224`.
    PaliGemma2_10b,
    /// `paligemma2-28b-pt-224`.
    PaliGemma2_28b,
}

/// Rows of the embedding: 257 152 trained ones and 64 more.
pub(super) const EMBEDDINGS: usize = 257_216;
/// Picture side in pixels, and side of a patch.
pub(super) const IMAGE: usize = 224;
pub(super) const PATCH: usize = 14;
/// SigLIP So400m: width, width inside the MLP, heads, layers.
pub(super) const VISION: usize = 1152;
pub(super) const VISION_INNER: usize = 4304;
const VISION_HEADS: usize = 16;
const VISION_LAYERS: usize = 27;

/// What differs between the language models.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dimensions {
    pub(super) gemma2: bool,
    pub(super) vision_layers: usize,
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) inner: usize,
    pub(super) heads: usize,
    pub(super) key_heads: usize,
    pub(super) head: usize,
}

impl Shape {
    /// All, smallest first.
    pub const ALL: [Self; 4] = [
        Self::PaliGemma3b,
        Self::PaliGemma2_3b,
        Self::PaliGemma2_10b,
        Self::PaliGemma2_28b,
    ];

    /// The name by which a command knows it, as `paligemma2-3b-224`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PaliGemma3b => "paligemma-3b-224",
            Self::PaliGemma2_3b => "paligemma2-3b-224",
            Self::PaliGemma2_10b => "paligemma2-10b-224",
            Self::PaliGemma2_28b => "paligemma2-28b-224",
        }
    }

    /// The shape of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }

    pub(super) fn dimensions(self, most_layers: Option<usize>) -> Dimensions {
        let (layers, hidden, inner, heads, key_heads, head) = match self {
            Self::PaliGemma3b => (18, 2048, 16_384, 8, 1, 256),
            Self::PaliGemma2_3b => (26, 2304, 9216, 8, 4, 256),
            Self::PaliGemma2_10b => (42, 3584, 14_336, 16, 8, 256),
            Self::PaliGemma2_28b => (46, 4608, 36_864, 32, 16, 128),
        };
        let most_layers = most_layers.unwrap_or(usize::MAX);
        Dimensions {
            gemma2: self != Self::PaliGemma3b,
            vision_layers: VISION_LAYERS.min(most_layers),
            layers: layers.min(most_layers),
            hidden,
            inner,
            heads,
            key_heads,
            head,
        }
    }
}

impl Dimensions {
    /// `config.json`, with the fields that the published file has and without those it leaves to
    /// the defaults of transformers' classes.
    pub(super) fn config(&self) -> Value {
        let tokens = (IMAGE / PATCH).pow(2);
        let mut text = json!({
            "model_type": if self.gemma2 { "gemma2" } else { "gemma" },
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_image_tokens": tokens,
            "num_key_value_heads": self.key_heads,
            "torch_dtype": "bfloat16",
            "vocab_size": EMBEDDINGS
        });
        // The default is 256 for both; 28B alone has others.
        if self.head != 256 {
            text["head_dim"] = json!(self.head);
            text["query_pre_attn_scalar"] = json!(self.hidden / self.heads);
        }
        let mut config = json!({
            "architectures": ["PaliGemmaForConditionalGeneration"],
            "bos_token_id": 2,
            "eos_token_id": 1,
            "ignore_index": -100,
            "image_token_index": super::tokenizer::VOCABULARY,
            "model_type": "paligemma",
            "pad_token_id": 0,
            "projection_dim": self.hidden,
            "text_config": text,
            "torch_dtype": "bfloat16",
            "transformers_version": if self.gemma2 { "4.47.0.dev0" } else { "4.41.0.dev0" },
            "vision_config": {
                "hidden_size": VISION,
                "intermediate_size": VISION_INNER,
                "model_type": "siglip_vision_model",
                "num_attention_heads": VISION_HEADS,
                "num_hidden_layers": self.vision_layers,
                "num_image_tokens": tokens,
                "patch_size": PATCH,
                "projection_dim": self.hidden,
                "projector_hidden_act": "gelu_fast",
                "vision_use_head": false
            },
            "vocab_size": EMBEDDINGS
        });
        if self.gemma2 {
            config["num_hidden_layers"] = json!(self.layers);
            // One number for all resolutions, not to be believed.
            config["vision_config"]["num_positions"] = json!(256);
        } else {
            config["hidden_size"] = json!(self.hidden);
        }
        config
    }

    /// The other small files, by name.
    pub(super) fn small_files() -> [(&'static str, Value); 5] {
        let special = |content: &str| {
            json!({
                "content": content, "lstrip": false, "normalized": false, "rstrip": false,
                "single_word": false
            })
        };
        [
            (
                "generation_config.json",
                json!({
                    "_from_model_config": true, "bos_token_id": 2, "eos_token_id": 1,
                    "pad_token_id": 0, "transformers_version": "4.47.0.dev0"
                }),
            ),
            (
                "preprocessor_config.json",
                json!({
                    "do_convert_rgb": null, "do_normalize": true, "do_rescale": true,
                    "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
                    "image_processor_type": "SiglipImageProcessor",
                    "image_seq_length": (IMAGE / PATCH).pow(2), "image_std": [0.5, 0.5, 0.5],
                    "processor_class": "PaliGemmaProcessor", "resample": 3,
                    "rescale_factor": 0.00392156862745098, "size": {"height": IMAGE, "width": IMAGE}
                }),
            ),
            (
                "special_tokens_map.json",
                json!({
                    "additional_special_tokens": [special("<image>")], "bos_token": special("<bos>"),
                    "eos_token": special("<eos>"), "pad_token": special("<pad>"),
                    "unk_token": special("<unk>")
                }),
            ),
            (
                "tokenizer_config.json",
                json!({
                    "add_bos_token": true, "add_eos_token": false,
                    "additional_special_tokens": ["<image>"], "bos_token": "<bos>",
                    "clean_up_tokenization_spaces": false, "eos_token": "<eos>",
                    "model_max_length": 1e30, "pad_token": "<pad>",
                    "processor_class": "PaliGemmaProcessor", "sp_model_kwargs": {},
                    "spaces_between_special_tokens": false, "tokenizer_class": "GemmaTokenizer",
                    "unk_token": "<unk>", "use_default_system_prompt": false
                }),
            ),
            (
                "added_tokens.json",
                json!({"<image>": super::tokenizer::VOCABULARY}),
            ),
        ]
    }
}
