//! The names and shapes of the tensors a checkpoint has, whichever of the
//! published layouts it uses.

use crate::config::{Config, Family};

/// The canonical name of a stored tensor, or `None` if it belongs to no part of
/// the model.
///
/// Published files name the same tensors in four ways, depending on the version
/// of transformers that wrote them: `language_model.model.…` or
/// `model.language_model.…`, with or without a `vision_model` segment inside
/// the vision tower, and the output head inside or outside the language model.
/// The canonical name is the one Google's releases use.
pub fn canonical_name(stored: &str) -> Option<String> {
    let name = stored.strip_prefix("model.").unwrap_or(stored);
    if name.starts_with("lm_head.") {
        return Some(format!("language_model.{name}"));
    }
    if let Some(rest) = name.strip_prefix("language_model.") {
        if rest.starts_with("lm_head.") {
            return Some(name.to_owned());
        }
        let rest = rest.strip_prefix("model.").unwrap_or(rest);
        return Some(format!("language_model.model.{rest}"));
    }
    if let Some(rest) = name.strip_prefix("vision_tower.") {
        let rest = rest.strip_prefix("vision_model.").unwrap_or(rest);
        return Some(format!("vision_tower.vision_model.{rest}"));
    }
    name.starts_with("multi_modal_projector.")
        .then(|| name.to_owned())
}

/// The canonical name and shape of every tensor the model needs, in the order
/// the model uses them. The output head is among them only where it is not tied
/// to the embedding.
pub fn expected_tensors(config: &Config) -> Vec<(String, Vec<usize>)> {
    let mut tensors = Tensors(Vec::new());
    tensors.vision(config);
    tensors.projector(config);
    tensors.text(config);
    tensors.0
}

struct Tensors(Vec<(String, Vec<usize>)>);

impl Tensors {
    fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push((name, shape.to_vec()));
    }

    /// A weight with its bias, which has one element for each output.
    fn add_biased(&mut self, name: &str, shape: &[usize]) {
        self.add(format!("{name}.weight"), shape);
        self.add(format!("{name}.bias"), shape.get(..1).unwrap_or_default());
    }

    fn vision(&mut self, config: &Config) {
        let vision = &config.vision;
        let (hidden, patch) = (vision.hidden_size, vision.patch_size);
        let root = "vision_tower.vision_model";
        self.add_biased(
            &format!("{root}.embeddings.patch_embedding"),
            &[hidden, vision.num_channels, patch, patch],
        );
        self.add(
            format!("{root}.embeddings.position_embedding.weight"),
            &[vision.num_patches(), hidden],
        );
        for i in 0..vision.num_hidden_layers {
            let layer = format!("{root}.encoder.layers.{i}");
            self.add_biased(&format!("{layer}.layer_norm1"), &[hidden]);
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                self.add_biased(&format!("{layer}.self_attn.{name}"), &[hidden, hidden]);
            }
            self.add_biased(&format!("{layer}.layer_norm2"), &[hidden]);
            let inner = vision.intermediate_size;
            self.add_biased(&format!("{layer}.mlp.fc1"), &[inner, hidden]);
            self.add_biased(&format!("{layer}.mlp.fc2"), &[hidden, inner]);
        }
        self.add_biased(&format!("{root}.post_layernorm"), &[hidden]);
    }

    fn projector(&mut self, config: &Config) {
        self.add_biased(
            "multi_modal_projector.linear",
            &[config.text.hidden_size, config.vision.hidden_size],
        );
    }

    fn text(&mut self, config: &Config) {
        let text = &config.text;
        let hidden = text.hidden_size;
        let queries = text.num_attention_heads * text.head_dim;
        let keys = text.num_key_value_heads * text.head_dim;
        let inner = text.intermediate_size;
        let root = "language_model.model";
        self.add(
            format!("{root}.embed_tokens.weight"),
            &[text.vocab_size, hidden],
        );
        // In Gemma 2 `post_attention_layernorm` follows the attention; in
        // Gemma 1 a norm of the same name precedes the MLP.
        let norms: &[&str] = match text.family {
            Family::Gemma => &["input_layernorm", "post_attention_layernorm"],
            Family::Gemma2 => &[
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
        };
        for i in 0..text.num_hidden_layers {
            let layer = format!("{root}.layers.{i}");
            for norm in norms {
                self.add(format!("{layer}.{norm}.weight"), &[hidden]);
            }
            for (name, shape) in [
                ("self_attn.q_proj", [queries, hidden]),
                ("self_attn.k_proj", [keys, hidden]),
                ("self_attn.v_proj", [keys, hidden]),
                ("self_attn.o_proj", [hidden, queries]),
                ("mlp.gate_proj", [inner, hidden]),
                ("mlp.up_proj", [inner, hidden]),
                ("mlp.down_proj", [hidden, inner]),
            ] {
                self.add(format!("{layer}.{name}.weight"), &shape);
            }
        }
        self.add(format!("{root}.norm.weight"), &[hidden]);
        if !text.tie_word_embeddings {
            self.add(
                "language_model.lm_head.weight".to_owned(),
                &[text.vocab_size, hidden],
            );
        }
    }
}
