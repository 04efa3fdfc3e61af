use paligemma_checkpoint::{Family, TextConfig};
use paligemma_gpu::{
    Attention, Gpu, GpuError, Heads, Indices, KvCache, Linear, Matrix, Recorder, RotaryTable,
    Tensor,
};

use crate::error::ModelError;
use crate::taps::Taps;
use crate::weights::Weights;

/// transformers counts positions from 1. Only differences matter to the result; the rounding of
/// the angles is then the same too.
const FIRST_POSITION: usize = 1;

/// Bytes of one MLP activation: a longer prompt goes through the MLP in stretches of rows.
const MLP_BYTES: usize = 32 << 20;

/// Gemma 1 or 2 as PaliGemma's decoder.
pub(crate) struct Decoder {
    config: TextConfig,
    windows: bool,
    embed_tokens: Matrix, // [vocabulary, hidden], also the head when tied
    lm_head: Option<Matrix>,
    layers: Vec<Layer>,
    norm: Tensor, // [hidden]
}

struct Layer {
    input_norm: Tensor, // [hidden], as all norms here
    q_proj: Matrix,     // [heads * head_dim, hidden]
    k_proj: Matrix,     // [kv_heads * head_dim, hidden]
    v_proj: Matrix,     // [kv_heads * head_dim, hidden]
    o_proj: Matrix,     // [hidden, heads * head_dim]
    after_attention: Option<Tensor>,
    before_mlp: Tensor,
    gate_proj: Matrix, // [intermediate, hidden]
    up_proj: Matrix,   // [intermediate, hidden]
    down_proj: Matrix, // [hidden, intermediate]
    after_mlp: Option<Tensor>,
}

impl Layer {
    fn new(weights: &mut Weights, name: &str, family: Family) -> Result<Self, ModelError> {
        let norm = |weights: &mut Weights, part: &str| {
            weights.vector(&format!("{name}.{part}_layernorm.weight"))
        };
        // `post_attention_layernorm` is Gemma 1's norm before the MLP, and Gemma 2's norm of the
        // attention's output.
        let (after_attention, before_mlp, after_mlp) = match family {
            Family::Gemma => (None, norm(weights, "post_attention")?, None),
            Family::Gemma2 => (
                Some(norm(weights, "post_attention")?),
                norm(weights, "pre_feedforward")?,
                Some(norm(weights, "post_feedforward")?),
            ),
        };
        let input_norm = norm(weights, "input")?;
        let mut matrix = |part: &str| weights.matrix(&format!("{name}.{part}.weight"));
        Ok(Self {
            input_norm,
            q_proj: matrix("self_attn.q_proj")?,
            k_proj: matrix("self_attn.k_proj")?,
            v_proj: matrix("self_attn.v_proj")?,
            o_proj: matrix("self_attn.o_proj")?,
            after_attention,
            before_mlp,
            gate_proj: matrix("mlp.gate_proj")?,
            up_proj: matrix("mlp.up_proj")?,
            down_proj: matrix("mlp.down_proj")?,
            after_mlp,
        })
    }
}

/// What lasts from one token to the next.
pub(crate) struct Memory {
    pub(crate) caches: Vec<KvCache>, // of each layer
    rotary: RotaryTable,
    pub(crate) span: Indices, // [index of the next row, prefix length]
}

/// What a decoder pass over `rows` tokens writes: allocated once, used by every layer.
pub(crate) struct Workspace {
    pub(crate) hidden: Tensor,      // [rows, hidden], the residual stream
    normed: Tensor,                 // [rows, hidden]
    branch: Tensor,                 // [rows, hidden], a branch before its norm
    query: Tensor,                  // [rows, heads * head_dim]
    key: Tensor,                    // [rows, kv_heads * head_dim]
    value: Tensor,                  // [rows, kv_heads * head_dim]
    queries: Tensor,                // [heads * rows, head_dim]
    attended: Tensor,               // [rows, heads * head_dim]
    gate: Tensor,                   // [stretch, intermediate]
    up: Tensor,                     // [stretch, intermediate]
    last: Tensor,                   // [1, hidden]
    pub(crate) last_normed: Tensor, // [1, hidden]
    pub(crate) logits: Tensor,      // [1, vocabulary]
}

impl Decoder {
    pub(crate) fn new(
        config: &TextConfig,
        windows: bool,
        weights: &mut Weights,
    ) -> Result<Self, ModelError> {
        let layers = (0..config.num_hidden_layers)
            .map(|i| {
                let name = format!("language_model.model.layers.{i}");
                Layer::new(weights, &name, config.family)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config: config.clone(),
            windows,
            embed_tokens: weights.matrix("language_model.model.embed_tokens.weight")?,
            lm_head: weights.optional_matrix("language_model.lm_head.weight"),
            layers,
            norm: weights.vector("language_model.model.norm.weight")?,
        })
    }

    pub(crate) fn head(&self) -> &Matrix {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// Positions that a layer sees of those before, its own included; none: all.
    pub(crate) fn window(&self, layer: usize) -> Option<usize> {
        let slides = self.windows && self.config.sliding_layers.get(layer) == Some(&true);
        self.config.sliding_window.filter(|_| slides)
    }

    /// Room for `capacity` tokens.
    pub(crate) fn memory(&self, gpu: &Gpu, capacity: usize) -> Result<Memory, GpuError> {
        let config = &self.config;
        let positions = FIRST_POSITION + capacity;
        Ok(Memory {
            caches: (0..config.num_hidden_layers)
                .map(|_| gpu.kv_cache(config.num_key_value_heads, capacity, config.head_dim))
                .collect::<Result<_, _>>()?,
            rotary: gpu.rotary_table(positions, config.head_dim, config.rope_theta)?,
            span: gpu.indices("span", 2)?,
        })
    }

    pub(crate) fn workspace(&self, gpu: &Gpu, rows: usize) -> Result<Workspace, GpuError> {
        let config = &self.config;
        let hidden = config.hidden_size;
        let heads = config.num_attention_heads * config.head_dim;
        let kv_heads = config.num_key_value_heads * config.head_dim;
        let stretch = mlp_stretch(config.intermediate_size).min(rows);
        Ok(Workspace {
            hidden: gpu.tensor("hidden", rows, hidden)?,
            normed: gpu.tensor("normed", rows, hidden)?,
            branch: gpu.tensor("branch", rows, hidden)?,
            query: gpu.tensor("query", rows, heads)?,
            key: gpu.tensor("key", rows, kv_heads)?,
            value: gpu.tensor("value", rows, kv_heads)?,
            queries: gpu.queries(config.num_attention_heads, rows, config.head_dim)?,
            attended: gpu.tensor("attended", rows, heads)?,
            gate: gpu.tensor("gate", stretch, config.intermediate_size)?,
            up: gpu.tensor("up", stretch, config.intermediate_size)?,
            last: gpu.tensor("last", 1, hidden)?,
            last_normed: gpu.tensor("last normed", 1, hidden)?,
            logits: gpu.tensor("logits", 1, config.vocab_size)?,
        })
    }

    /// Records the look-up of `ids`, scaled by √hidden, into `hidden` `[ids, hidden]`.
    pub(crate) fn record_embedding(&self, r: &mut Recorder, ids: &Indices, hidden: &Tensor) {
        let scale = (self.config.hidden_size as f32).sqrt();
        r.embed(ids, &self.embed_tokens, scale, hidden);
    }

    /// Records every layer over the residual stream; keys and values go into the caches at the
    /// sequence indices that begin at `span[0]`. `seen` is the positions that there are then, for
    /// `taps` that want attention weights.
    pub(crate) fn record_layers(
        &self,
        gpu: &Gpu,
        r: &mut Recorder,
        w: &Workspace,
        memory: &Memory,
        seen: usize,
        taps: &mut Taps,
    ) -> Result<(), GpuError> {
        let config = &self.config;
        let eps = config.rms_norm_eps as f32;
        let layout = Heads {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            rotary: Some((&memory.rotary, FIRST_POSITION)),
        };
        let span = &memory.span;
        for (i, (layer, cache)) in self.layers.iter().zip(&memory.caches).enumerate() {
            let attention = Attention {
                heads: config.num_attention_heads,
                scale: config.attention_scale() as f32,
                soft_cap: config.attn_logit_softcapping.map(|cap| cap as f32),
                window: self.window(i),
            };
            r.rms_norm(&w.hidden, &layer.input_norm, eps, false, &w.normed);
            r.linear(&w.normed, &layer.q_proj, Linear::default(), &w.query);
            r.linear(&w.normed, &layer.k_proj, Linear::default(), &w.key);
            r.linear(&w.normed, &layer.v_proj, Linear::default(), &w.value);
            r.split_heads(
                [&w.query, &w.key, &w.value],
                layout,
                span,
                &w.queries,
                cache,
            );
            r.attention(&w.queries, cache, span, attention, &w.attended);
            taps.attend(gpu, r, i, &w.queries, cache, span, attention, seen)?;
            let norm = layer.after_attention.as_ref();
            self.record_branch(r, w, &w.attended, &layer.o_proj, norm, 0..w.hidden.rows())?;
            record_norm(r, w, norm, eps);

            r.rms_norm(&w.hidden, &layer.before_mlp, eps, false, &w.normed);
            let norm = layer.after_mlp.as_ref();
            self.record_mlp(r, w, layer, norm)?;
            record_norm(r, w, norm, eps);
            taps.tap(gpu, r, || format!("text.layer_out.{i}"), &w.hidden)?;
        }
        Ok(())
    }

    /// down(gelu(gate(x)) * up(x)), in stretches of rows so that no activation grows with the
    /// product of a long prompt and a wide MLP.
    fn record_mlp(
        &self,
        r: &mut Recorder,
        w: &Workspace,
        layer: &Layer,
        norm: Option<&Tensor>,
    ) -> Result<(), GpuError> {
        let rows = w.hidden.rows();
        for start in (0..rows).step_by(w.gate.rows().max(1)) {
            let range = start..(start + w.gate.rows()).min(rows);
            let x = w.normed.slice_rows(range.clone())?;
            let gate = w.gate.slice_rows(0..range.len())?;
            let up = w.up.slice_rows(0..range.len())?;
            r.linear(&x, &layer.gate_proj, Linear::default(), &gate);
            r.linear(&x, &layer.up_proj, Linear::default(), &up);
            r.geglu(&up, &gate);
            self.record_branch(r, w, &gate, &layer.down_proj, norm, range)?;
        }
        Ok(())
    }

    /// The last product of a branch: straight into the residual stream, or aside when a norm
    /// follows.
    fn record_branch(
        &self,
        r: &mut Recorder,
        w: &Workspace,
        x: &Tensor,
        weight: &Matrix,
        norm: Option<&Tensor>,
        rows: std::ops::Range<usize>,
    ) -> Result<(), GpuError> {
        let (y, accumulate) = match norm {
            Some(_) => (&w.branch, false),
            None => (&w.hidden, true),
        };
        let then = Linear {
            accumulate,
            ..Linear::default()
        };
        r.linear(x, weight, then, &y.slice_rows(rows)?);
        Ok(())
    }

    /// Records final norm and head for the last row.
    pub(crate) fn record_logits(&self, r: &mut Recorder, w: &Workspace) {
        r.copy_row(&w.hidden, w.hidden.rows() - 1, &w.last);
        let eps = self.config.rms_norm_eps as f32;
        r.rms_norm(&w.last, &self.norm, eps, false, &w.last_normed);
        r.linear(&w.last_normed, self.head(), Linear::default(), &w.logits);
    }

    /// Records the final norm of every row into `normed`.
    pub(crate) fn record_final_norm(&self, r: &mut Recorder, w: &Workspace) -> Tensor {
        let eps = self.config.rms_norm_eps as f32;
        r.rms_norm(&w.hidden, &self.norm, eps, false, &w.normed);
        w.normed.clone()
    }

    /// Records the final norm of `x` into `y`.
    pub(crate) fn record_last_norm(&self, r: &mut Recorder, x: &Tensor, y: &Tensor) {
        r.rms_norm(x, &self.norm, self.config.rms_norm_eps as f32, false, y);
    }

    /// Records head and soft cap: the logits of `normed` rows, `[rows, vocabulary]`.
    pub(crate) fn record_head(&self, r: &mut Recorder, normed: &Tensor, logits: &Tensor) {
        r.linear(normed, self.head(), Linear::default(), logits);
        if let Some(cap) = self.config.final_logit_softcapping {
            r.soft_cap(logits, cap as f32);
        }
    }
}

fn record_norm(r: &mut Recorder, w: &Workspace, norm: Option<&Tensor>, eps: f32) {
    if let Some(norm) = norm {
        r.rms_norm(&w.branch, norm, eps, true, &w.hidden);
    }
}

/// Rows of the MLP's activations, whole tiles of eight.
pub(crate) fn mlp_stretch(intermediate_size: usize) -> usize {
    (MLP_BYTES / (4 * intermediate_size.max(1)) / 8 * 8).max(8)
}
