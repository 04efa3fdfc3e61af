use paligemma_checkpoint::VisionConfig;
use paligemma_gpu::{
    Attention, CachePrecision, Gpu, GpuError, Heads, Indices, Linear, Matrix, Recorder, Tensor,
};

use crate::error::ModelError;
use crate::stack::{self, Stack};
use crate::taps::Taps;
use crate::weights::Weights;

/// SigLIP's vision transformer and the projector into the decoder's space.
pub(crate) struct VisionTower {
    config: VisionConfig,
    patch_embedding: Affine,
    position_embedding: Tensor, // [patches, hidden]
    layers: Vec<Layer>,
    post_layernorm: LayerNorm,
    projector: Affine,
}

struct Layer {
    layer_norm1: LayerNorm,
    qkv_proj: Stack,  // [3 * hidden, hidden]
    qkv_bias: Tensor, // [3 * hidden]
    out_proj: Affine,
    layer_norm2: LayerNorm,
    fc1: Affine,
    fc2: Affine,
}

struct Affine {
    weight: Matrix, // [outputs, inputs]
    bias: Tensor,   // [outputs]
}

struct LayerNorm {
    weight: Tensor, // [hidden]
    bias: Tensor,   // [hidden]
}

impl Affine {
    fn new(weights: &mut Weights, name: &str) -> Result<Self, ModelError> {
        Ok(Self {
            weight: weights.matrix(&format!("{name}.weight"))?,
            bias: weights.vector(&format!("{name}.bias"))?,
        })
    }

    fn forward(&self, r: &mut Recorder, x: &Tensor, y: &Tensor) {
        self.record(r, x, Linear::default(), y);
    }

    fn record<'a>(&'a self, r: &mut Recorder, x: &Tensor, then: Linear<'a>, y: &Tensor) {
        let bias = Some(&self.bias);
        r.linear(x, &self.weight, Linear { bias, ..then }, y);
    }
}

impl LayerNorm {
    fn new(weights: &mut Weights, name: &str) -> Result<Self, ModelError> {
        Ok(Self {
            weight: weights.vector(&format!("{name}.weight"))?,
            bias: weights.vector(&format!("{name}.bias"))?,
        })
    }
}

impl Layer {
    fn new(weights: &mut Weights, name: &str) -> Result<Self, ModelError> {
        let qkv_proj = weights.stack(&format!("{name}.{}.weight", stack::QKV))?;
        let qkv_bias = weights.vector(&format!("{name}.{}.bias", stack::QKV))?;
        let mut affine = |part: &str| Affine::new(weights, &format!("{name}.{part}"));
        let out_proj = affine("self_attn.out_proj")?;
        let fc1 = affine("mlp.fc1")?;
        let fc2 = affine("mlp.fc2")?;
        Ok(Self {
            layer_norm1: LayerNorm::new(weights, &format!("{name}.layer_norm1"))?,
            qkv_proj,
            qkv_bias,
            out_proj,
            layer_norm2: LayerNorm::new(weights, &format!("{name}.layer_norm2"))?,
            fc1,
            fc2,
        })
    }
}

impl VisionTower {
    pub(crate) fn new(config: &VisionConfig, weights: &mut Weights) -> Result<Self, ModelError> {
        let tower = "vision_tower.vision_model";
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::new(weights, &format!("{tower}.encoder.layers.{i}")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config: config.clone(),
            patch_embedding: Affine::new(weights, &format!("{tower}.embeddings.patch_embedding"))?,
            position_embedding: weights.position_embedding()?,
            layers,
            post_layernorm: LayerNorm::new(weights, &format!("{tower}.post_layernorm"))?,
            projector: Affine::new(weights, "multi_modal_projector.linear")?,
        })
    }

    /// Records the way from `pixels` `[channels, image_size²]` to `features` `[patches, text
    /// hidden]`. `span` holds `[0, patches]`: every patch sees every patch.
    pub(crate) fn record(
        &self,
        gpu: &Gpu,
        r: &mut Recorder,
        pixels: &Tensor,
        span: &Indices,
        features: &Tensor,
        taps: &mut Taps,
    ) -> Result<(), GpuError> {
        let config = &self.config;
        let (patches, hidden_size) = (config.num_patches(), config.hidden_size);
        let (heads, head_dim) = (config.num_attention_heads, config.head_dim());
        let eps = config.layer_norm_eps as f32;
        let tensor = |name, columns| gpu.tensor(name, patches, columns);

        let columns = self.patch_embedding.weight.columns();
        let cut = tensor("patches", columns)?;
        let hidden = tensor("vision hidden", hidden_size)?;
        r.patchify(pixels, config.image_size, config.patch_size, &cut);
        self.patch_embedding.forward(r, &cut, &hidden);
        r.add(&self.position_embedding, &hidden);
        taps.tap(gpu, r, || "vision.embeddings".to_owned(), &hidden)?;

        let normed = tensor("vision normed", hidden_size)?;
        let qkv = tensor("vision queries, keys, values", 3 * hidden_size)?;
        let attended = tensor("vision attended", hidden_size)?;
        let intermediate = tensor("vision intermediate", config.intermediate_size)?;
        let queries = gpu.queries(heads, patches, head_dim)?;
        let cache = gpu.kv_cache(heads, patches, head_dim, CachePrecision::F32)?;
        let layout = Heads {
            heads,
            kv_heads: heads,
            head_dim,
            rotary: None,
        };
        let attention = Attention {
            heads,
            scale: (head_dim as f32).powf(-0.5),
            soft_cap: None,
            window: None,
        };
        let residual = Linear {
            accumulate: true,
            ..Linear::default()
        };
        let gelu = Linear {
            gelu: true,
            ..Linear::default()
        };
        for (i, layer) in self.layers.iter().enumerate() {
            let norm = &layer.layer_norm1;
            r.layer_norm(&hidden, &norm.weight, &norm.bias, eps, &normed);
            layer
                .qkv_proj
                .record(r, &normed, Some(&layer.qkv_bias), &qkv);
            r.split_heads(&qkv, 0, layout, span, &queries, &cache);
            r.attention(&queries, &cache, span, attention, &attended);
            taps.attend(gpu, r, i, &queries, &cache, span, attention, patches)?;
            layer.out_proj.record(r, &attended, residual, &hidden);

            let norm = &layer.layer_norm2;
            r.layer_norm(&hidden, &norm.weight, &norm.bias, eps, &normed);
            layer.fc1.record(r, &normed, gelu, &intermediate);
            layer.fc2.record(r, &intermediate, residual, &hidden);
            taps.tap(gpu, r, || format!("vision.layer_out.{i}"), &hidden)?;
        }

        let norm = &self.post_layernorm;
        r.layer_norm(&hidden, &norm.weight, &norm.bias, eps, &normed);
        taps.tap(gpu, r, || "vision.last_hidden_state".to_owned(), &normed)?;
        // Image features enter the decoder as they are; only text embeddings are scaled.
        self.projector.forward(r, &normed, features);
        taps.tap(gpu, r, || "image_features".to_owned(), features)
    }
}
