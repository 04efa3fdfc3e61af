//! The tensors of a published checkpoint, by the names of its files, and how large their values are.
//!
//! Matrices keep the variance of what goes through them. So that answers depend on the picture,
//! the prompt and, in PaliGemma 2, on the tokens so far, the residual stream of the language model is made much
//! larger by its layers than an embedding is, and its attention looks at few tokens: the average of
//! all of them is nearly the same wherever it is taken from.

use super::numbers::Numbers;
use super::shape::{Dimensions, EMBEDDINGS, IMAGE, PATCH, VISION, VISION_INNER};

/// What layers add to the residual stream, against what comes into their matrices.
const GAIN: f64 = 3.0;
/// What queries and keys are made larger by: logits of attention have a standard deviation of 3.
const SHARPNESS: f64 = 1.732;
/// Standard deviation of a text embedding as the model sees it, scaled by √hidden.
const EMBEDDING: f64 = 0.3;
/// Factor of the last norm: logits have a standard deviation of 3, and the largest near 13 feel
/// Gemma 2's cap of 30.
const LAST_NORM: f64 = 10.0;

/// A bfloat16 tensor.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Numbers,
}

impl Tensor {
    pub(super) fn bytes(&self) -> u64 {
        2 * self.shape.iter().map(|&side| side as u64).product::<u64>()
    }
}

/// All tensors, in the model's order.
pub(super) fn tensors(dimensions: &Dimensions) -> Vec<Tensor> {
    let mut list = List(Vec::new());
    list.vision(dimensions);
    let projector = "multi_modal_projector.linear";
    list.linear(projector, dimensions.hidden, VISION);
    list.text(dimensions);
    list.0
}

struct List(Vec<Tensor>);

impl List {
    fn add(&mut self, name: String, shape: &[usize], mean: f64, std: f64) {
        let numbers = Numbers::new(&name, mean, std);
        let shape = shape.to_vec();
        self.0.push(Tensor {
            name,
            shape,
            numbers,
        });
    }

    fn bias(&mut self, name: &str, outputs: usize) {
        self.add(format!("{name}.bias"), &[outputs], 0.0, 0.02);
    }

    /// A matrix without a bias; its outputs are `gain` times as large as its inputs.
    fn matrix(&mut self, name: &str, outputs: usize, inputs: usize, gain: f64) {
        let std = gain / (inputs as f64).sqrt();
        self.add(format!("{name}.weight"), &[outputs, inputs], 0.0, std);
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.matrix(name, outputs, inputs, 1.0);
        self.bias(name, outputs);
    }

    fn layer_norm(&mut self, name: &str) {
        self.add(format!("{name}.weight"), &[VISION], 1.0, 0.1);
        self.bias(name, VISION);
    }

    fn vision(&mut self, dimensions: &Dimensions) {
        let root = "vision_tower.vision_model";
        let patch = format!("{root}.embeddings.patch_embedding");
        let std = 1.0 / ((3 * PATCH * PATCH) as f64).sqrt();
        let shape = [VISION, 3, PATCH, PATCH];
        self.add(format!("{patch}.weight"), &shape, 0.0, std);
        self.bias(&patch, VISION);
        let positions = format!("{root}.embeddings.position_embedding.weight");
        self.add(positions, &[(IMAGE / PATCH).pow(2), VISION], 0.0, 0.3);
        for i in 0..dimensions.vision_layers {
            let layer = format!("{root}.encoder.layers.{i}");
            self.layer_norm(&format!("{layer}.layer_norm1"));
            for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                self.linear(&format!("{layer}.self_attn.{name}"), VISION, VISION);
            }
            self.layer_norm(&format!("{layer}.layer_norm2"));
            self.linear(&format!("{layer}.mlp.fc1"), VISION_INNER, VISION);
            self.linear(&format!("{layer}.mlp.fc2"), VISION, VISION_INNER);
        }
        self.layer_norm(&format!("{root}.post_layernorm"));
    }

    /// Gemma's norms multiply by one more than what is stored.
    fn rms_norm(&mut self, name: &str, hidden: usize, factor: f64) {
        let name = format!("{name}.weight");
        self.add(name, &[hidden], factor - 1.0, 0.1 * factor);
    }

    fn text(&mut self, dimensions: &Dimensions) {
        let &Dimensions { hidden, inner, .. } = dimensions;
        let queries = dimensions.heads * dimensions.head;
        let keys = dimensions.key_heads * dimensions.head;
        let root = "language_model.model";
        let std = EMBEDDING / (hidden as f64).sqrt();
        let embedding = format!("{root}.embed_tokens.weight");
        self.add(embedding, &[EMBEDDINGS, hidden], 0.0, std);
        // Gemma 2 has norms behind its parts, and there what a layer adds is decided; in Gemma 1
        // the last matrix of a part decides it.
        let norms: &[(&str, f64)] = if dimensions.gemma2 {
            &[
                ("input_layernorm", 1.0),
                ("post_attention_layernorm", GAIN),
                ("pre_feedforward_layernorm", 1.0),
                ("post_feedforward_layernorm", GAIN),
            ]
        } else {
            &[("input_layernorm", 1.0), ("post_attention_layernorm", 1.0)]
        };
        for i in 0..dimensions.layers {
            let layer = format!("{root}.layers.{i}");
            for &(norm, factor) in norms {
                self.rms_norm(&format!("{layer}.{norm}"), hidden, factor);
            }
            let sharp = [("q_proj", queries), ("k_proj", keys)];
            for (name, outputs) in sharp {
                let name = format!("{layer}.self_attn.{name}");
                self.matrix(&name, outputs, hidden, SHARPNESS);
            }
            self.matrix(&format!("{layer}.self_attn.v_proj"), keys, hidden, 1.0);
            self.matrix(&format!("{layer}.self_attn.o_proj"), hidden, queries, GAIN);
            self.matrix(&format!("{layer}.mlp.gate_proj"), inner, hidden, 1.0);
            self.matrix(&format!("{layer}.mlp.up_proj"), inner, hidden, 1.0);
            self.matrix(&format!("{layer}.mlp.down_proj"), hidden, inner, GAIN);
        }
        self.rms_norm(&format!("{root}.norm"), hidden, LAST_NORM);
    }
}
