//! What a checkpoint says about itself: `config.json` and
//! `generation_config.json`.
//!
//! Released files leave out what equals the default of transformers' classes
//! (`GemmaConfig`, `Gemma2Config`, `SiglipVisionConfig`, `PaliGemmaConfig`), so
//! those defaults are part of the format and are repeated here.

use crate::error::{CheckpointError, OTHER_CHECKPOINT, shown};
use crate::fields::{Section, parse};

/// The configuration's file name.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The generation settings' file name.
pub(crate) const GENERATION_CONFIG_FILE: &str = "generation_config.json";

// Several times what any released model has; what lies beyond is a damaged or
// hostile file. Products of two of these fit 64 bits.
const MOST_HIDDEN: usize = 1 << 16;
const MOST_INTERMEDIATE: usize = 1 << 18;
const MOST_LAYERS: usize = 1 << 9;
const MOST_HEADS: usize = 1 << 9;
const MOST_HEAD_DIM: usize = 1 << 11;
const MOST_TOKENS: usize = 1 << 22;
const MOST_POSITIONS: usize = 1 << 24;
const MOST_IMAGE: usize = 1 << 13;

/// The language model's family, which decides the shape of a decoder block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Gemma 1, in PaliGemma: two norms a layer, no soft-caps.
    Gemma,
    /// Gemma 2, in PaliGemma 2: four norms a layer, soft-caps, a sliding window
    /// in every other layer.
    Gemma2,
}

/// A PaliGemma or PaliGemma 2 model.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The Gemma decoder.
    pub text: TextConfig,
    /// The SigLIP encoder.
    pub vision: VisionConfig,
    /// The token that stands for one image feature. It may lie beyond the
    /// embedding's rows: its own embedding is never used.
    pub image_token_id: u32,
    /// The token that begins a prompt.
    pub bos_token_id: u32,
    /// The token that fills a batch's shorter prompts.
    pub pad_token_id: u32,
    /// The tokens that end an answer; at least one.
    pub eos_token_ids: Vec<u32>,
}

/// The Gemma decoder. Every size is at least 1.
#[derive(Clone, PartialEq, Debug)]
pub struct TextConfig {
    /// The family.
    pub family: Family,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of each of the MLP's two branches.
    pub intermediate_size: usize,
    /// Decoder blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of a head; even, and not always `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// The longest sequence, image tokens included.
    pub max_position_embeddings: usize,
    /// What RMSNorm adds to the mean square.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding's wavelengths.
    pub rope_theta: f64,
    /// Attention scores are divided by its square root; `head_dim` for Gemma 1.
    pub query_pre_attn_scalar: f64,
    /// How many positions a sliding layer sees, its own included.
    pub sliding_window: Option<usize>,
    /// Which layers slide, one entry a layer; none of them without a window.
    pub sliding_layers: Vec<bool>,
    /// Attention scores become `cap · tanh(score / cap)`.
    pub attn_logit_softcapping: Option<f64>,
    /// Logits become `cap · tanh(logit / cap)`.
    pub final_logit_softcapping: Option<f64>,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
}

/// The SigLIP encoder. Every size is at least 1.
#[derive(Clone, PartialEq, Debug)]
pub struct VisionConfig {
    /// Width of the residual stream; a multiple of `num_attention_heads`.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Encoder blocks.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Side of a patch in pixels; divides `image_size`.
    pub patch_size: usize,
    /// Side of the square image in pixels.
    pub image_size: usize,
    /// Channels of the image; always 3.
    pub num_channels: usize,
    /// What LayerNorm adds to the variance.
    pub layer_norm_eps: f64,
}

impl TextConfig {
    /// What attention scores are multiplied by: `query_pre_attn_scalar^-0.5`.
    pub fn attention_scale(&self) -> f64 {
        self.query_pre_attn_scalar.sqrt().recip()
    }
}

impl VisionConfig {
    /// Patches of an image, and so the image tokens of a prompt:
    /// `(image_size / patch_size)²`.
    pub fn num_patches(&self) -> usize {
        let side = self.image_size / self.patch_size;
        side * side
    }

    /// Width of an attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

impl Config {
    /// Reads `config.json` and, where there is one, `generation_config.json`.
    ///
    /// # Errors
    /// If a file is not JSON, a field has no default and is absent, or a value
    /// is malformed, out of bounds, or asks for something other than PaliGemma.
    pub fn from_json(
        config: &[u8],
        generation_config: Option<&[u8]>,
    ) -> Result<Self, CheckpointError> {
        let config = parse(CONFIG_FILE, config)?;
        let root = Section::root(CONFIG_FILE, &config)?;
        check_model(&root)?;
        let text_section = required(&root, "text_config")?;
        let vision_section = required(&root, "vision_config")?;
        let text = read_text(&root, &text_section)?;
        let vision = read_vision(&vision_section)?;

        let generation = generation_config
            .map(|bytes| parse(GENERATION_CONFIG_FILE, bytes))
            .transpose()?;
        let generation = generation
            .as_ref()
            .map(|value| Section::root(GENERATION_CONFIG_FILE, value))
            .transpose()?;
        // The order in which transformers' `generate` looks for them.
        let sections = || generation.iter().chain([&root, &text_section]);
        let token = |name: &str, default: u32| {
            let mut ids = sections().filter_map(|s| s.token(name).transpose());
            ids.next().unwrap_or(Ok(default))
        };
        let mut ends = sections().filter_map(|s| s.tokens("eos_token_id").transpose());
        let image_token_id = match root.token("image_token_index")? {
            Some(id) => id,
            None => root.token("image_token_id")?.unwrap_or(256_000),
        };
        Ok(Self {
            image_token_id,
            bos_token_id: token("bos_token_id", 2)?,
            pad_token_id: token("pad_token_id", 0)?,
            eos_token_ids: ends.next().unwrap_or_else(|| Ok(vec![1]))?,
            text,
            vision,
        })
    }
}

fn required<'a>(root: &Section<'a>, name: &str) -> Result<Section<'a>, CheckpointError> {
    root.section(name)?.ok_or_else(|| {
        root.error(
            name,
            "is absent and has no default",
            "take config.json from the same repository as the weights",
        )
    })
}

/// The field `name`, which must be one of `allowed`, the first of which is the default.
fn one_of<'a>(
    section: &Section<'a>,
    name: &str,
    allowed: &[&'a str],
) -> Result<&'a str, CheckpointError> {
    let value = match section.text(name)? {
        Some(value) => value,
        None => allowed.first().copied().unwrap_or_default(),
    };
    if allowed.contains(&value) {
        return Ok(value);
    }
    let reason = format!(
        "is \"{}\", which is not supported (only {})",
        shown(value),
        allowed.join(", ")
    );
    Err(section.error(name, reason, OTHER_CHECKPOINT))
}

fn check_model(root: &Section<'_>) -> Result<(), CheckpointError> {
    if root.get("model_type").is_none() {
        return Err(root.error(
            "model_type",
            "is absent and has no default",
            OTHER_CHECKPOINT,
        ));
    }
    one_of(root, "model_type", &["paligemma"])?;
    refuse_quantized(root)
}

fn refuse_quantized(section: &Section<'_>) -> Result<(), CheckpointError> {
    match section.get("quantization_config") {
        None => Ok(()),
        Some(_) => Err(section.error(
            "quantization_config",
            "says that the weights are already quantized, which is not supported",
            OTHER_CHECKPOINT,
        )),
    }
}

/// Names under which transformers has the tanh approximation of GELU, the only
/// activation PaliGemma uses.
const TANH_GELU: [&str; 4] = [
    "gelu_pytorch_tanh",
    "gelu_fast",
    "gelu_new",
    "gelu_python_tanh",
];

fn read_text(root: &Section<'_>, text: &Section<'_>) -> Result<TextConfig, CheckpointError> {
    refuse_quantized(text)?;
    let family = match one_of(text, "model_type", &["gemma", "gemma2"])? {
        "gemma2" => Family::Gemma2,
        _ => Family::Gemma,
    };
    let gemma2 = family == Family::Gemma2;
    // hidden, intermediate, layers, heads, key and value heads: the defaults of
    // `Gemma2Config` and `GemmaConfig`.
    let (hidden, intermediate, layers, heads, kv_heads) = if gemma2 {
        one_of(text, "hidden_activation", &TANH_GELU)?;
        (2304, 9216, 26, 8, 4)
    } else {
        // Gemma 1 was first published with "gelu" where it meant the tanh form;
        // transformers reads it as that, too.
        if text.text("hidden_act")? != Some("gelu") {
            one_of(text, "hidden_act", &TANH_GELU)?;
        }
        (3072, 24_576, 28, 16, 16)
    };
    if text.flag("attention_bias")? == Some(true) {
        return Err(text.error(
            "attention_bias",
            "is true, and attention with biases is not supported",
            OTHER_CHECKPOINT,
        ));
    }

    let num_hidden_layers = text.size("num_hidden_layers", layers, MOST_LAYERS)?;
    let num_attention_heads = text.size("num_attention_heads", heads, MOST_HEADS)?;
    let num_key_value_heads = text.size("num_key_value_heads", kv_heads, MOST_HEADS)?;
    if !num_attention_heads.is_multiple_of(num_key_value_heads) {
        let reason = format!(
            "is {num_key_value_heads}, which does not divide the {num_attention_heads} attention heads"
        );
        return Err(text.error("num_key_value_heads", reason, OTHER_CHECKPOINT));
    }
    let head_dim = text.size("head_dim", 256, MOST_HEAD_DIM)?;
    if !head_dim.is_multiple_of(2) {
        let reason = format!("is {head_dim}, and rotary embeddings need an even width");
        return Err(text.error("head_dim", reason, OTHER_CHECKPOINT));
    }

    let sliding_window = if gemma2 && !text.is_null("sliding_window") {
        Some(text.size("sliding_window", 4096, MOST_POSITIONS)?)
    } else {
        None
    };
    let cap = |name: &str, default: f64| {
        if !gemma2 || text.is_null(name) {
            return Ok(None);
        }
        Ok::<_, CheckpointError>(Some(text.positive(name)?.unwrap_or(default)))
    };
    let scalar = match gemma2 {
        true => text.positive("query_pre_attn_scalar")?.unwrap_or(256.0),
        false => head_dim as f64,
    };
    let tied = match root.flag("tie_word_embeddings")? {
        Some(tied) => tied,
        None => text.flag("tie_word_embeddings")?.unwrap_or(true),
    };
    Ok(TextConfig {
        family,
        vocab_size: text.size("vocab_size", 256_000, MOST_TOKENS)?,
        hidden_size: text.size("hidden_size", hidden, MOST_HIDDEN)?,
        intermediate_size: text.size("intermediate_size", intermediate, MOST_INTERMEDIATE)?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        max_position_embeddings: text.size("max_position_embeddings", 8192, MOST_POSITIONS)?,
        rms_norm_eps: text.positive("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta: rope_theta(text)?,
        query_pre_attn_scalar: scalar,
        sliding_window,
        sliding_layers: match sliding_window {
            Some(_) => sliding_layers(text, num_hidden_layers)?,
            None => vec![false; num_hidden_layers],
        },
        attn_logit_softcapping: cap("attn_logit_softcapping", 50.0)?,
        final_logit_softcapping: cap("final_logit_softcapping", 30.0)?,
        tie_word_embeddings: tied,
    })
}

/// The rotary base: nested since transformers 5, beside the other fields before.
fn rope_theta(text: &Section<'_>) -> Result<f64, CheckpointError> {
    for name in ["rope_parameters", "rope_scaling"] {
        let Some(rope) = text.section(name)? else {
            continue;
        };
        // Older files call the field `type`.
        one_of(&rope, "rope_type", &["default"])?;
        one_of(&rope, "type", &["default"])?;
        if rope.positive("partial_rotary_factor")?.unwrap_or(1.0) != 1.0 {
            return Err(rope.error(
                "partial_rotary_factor",
                "is not 1, and rotating a part of a head is not supported",
                OTHER_CHECKPOINT,
            ));
        }
        for layers in ["full_attention", "sliding_attention"] {
            if rope.get(layers).is_some() {
                return Err(rope.error(
                    layers,
                    "asks for a rotary embedding of its own, which is not supported",
                    OTHER_CHECKPOINT,
                ));
            }
        }
        if let Some(theta) = rope.positive("rope_theta")? {
            return Ok(theta);
        }
    }
    Ok(text.positive("rope_theta")?.unwrap_or(10_000.0))
}

/// Which layers of Gemma 2 slide: as listed, or every other one from the first.
fn sliding_layers(text: &Section<'_>, layers: usize) -> Result<Vec<bool>, CheckpointError> {
    let Some(value) = text.get("layer_types") else {
        return Ok((0..layers).map(|i| i.is_multiple_of(2)).collect());
    };
    let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let sliding: Option<Vec<bool>> = listed
        .iter()
        .map(|layer| match layer.as_str() {
            Some("sliding_attention") => Some(true),
            Some("full_attention") => Some(false),
            _ => None,
        })
        .collect();
    sliding.filter(|s| s.len() == layers).ok_or_else(|| {
        text.error(
            "layer_types",
            format!("is not a list of {layers} times sliding_attention or full_attention"),
            OTHER_CHECKPOINT,
        )
    })
}

fn read_vision(vision: &Section<'_>) -> Result<VisionConfig, CheckpointError> {
    refuse_quantized(vision)?;
    one_of(vision, "model_type", &["siglip_vision_model"])?;
    one_of(vision, "hidden_act", &TANH_GELU)?;
    let config = VisionConfig {
        hidden_size: vision.size("hidden_size", 768, MOST_HIDDEN)?,
        intermediate_size: vision.size("intermediate_size", 3072, MOST_INTERMEDIATE)?,
        num_hidden_layers: vision.size("num_hidden_layers", 12, MOST_LAYERS)?,
        num_attention_heads: vision.size("num_attention_heads", 12, MOST_HEADS)?,
        patch_size: vision.side("patch_size", 16, MOST_IMAGE)?,
        image_size: vision.side("image_size", 224, MOST_IMAGE)?,
        num_channels: vision.size("num_channels", 3, 64)?,
        layer_norm_eps: vision.positive("layer_norm_eps")?.unwrap_or(1e-6),
    };
    let (size, patch) = (config.image_size, config.patch_size);
    if !size.is_multiple_of(patch) {
        let reason = format!("is {size}, which is not a multiple of the patch size {patch}");
        return Err(vision.error("image_size", reason, OTHER_CHECKPOINT));
    }
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    if !hidden.is_multiple_of(heads) {
        let reason = format!("is {heads}, which does not divide the hidden size {hidden}");
        return Err(vision.error("num_attention_heads", reason, OTHER_CHECKPOINT));
    }
    if config.num_channels != 3 {
        return Err(vision.error(
            "num_channels",
            format!(
                "is {}, and pictures have three channels",
                config.num_channels
            ),
            OTHER_CHECKPOINT,
        ));
    }
    Ok(config)
}
