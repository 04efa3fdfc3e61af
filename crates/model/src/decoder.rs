use paligemma_checkpoint::{Family, TextConfig};
use paligemma_gpu::{
    Attention, CachePrecision, Gpu, GpuError, Heads, Indices, KvCache, Linear, Matrix, Normed,
    Recorder, RotaryTable, Tensor,
};

use crate::error::ModelError;
use crate::stack::{self, Stack};
use crate::taps::Taps;
use crate::weights::Weights;

/// transformers counts positions from 1. Only differences matter to the result; the rounding of
/// the angles is then the same too.
const FIRST_POSITION: usize = 1;

/// Bytes of the widest activations, those of stacked projections: a longer prompt goes through
/// them in stretches of rows.
const WIDE_BYTES: usize = 64 << 20;

/// Gemma 1 or 2 as PaliGemma's decoder.
pub(crate) struct Decoder {
    config: TextConfig,
    windows: bool,
    pub(crate) cache: CachePrecision,
    embed_tokens: Matrix, // [vocabulary, hidden], also the head when tied
    lm_head: Option<Matrix>,
    layers: Vec<Layer>,
    norm: Tensor, // [hidden]
}

struct Layer {
    input_norm: Tensor, // [hidden], as all norms here
    qkv_proj: Stack,    // [(heads + 2 * kv_heads) * head_dim, hidden]
    o_proj: Matrix,     // [hidden, heads * head_dim]
    after_attention: Option<Tensor>,
    before_mlp: Tensor,
    gate_up_proj: Stack, // [2 * intermediate, hidden]
    down_proj: Matrix,   // [hidden, intermediate]
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
        let qkv_proj = weights.stack(&format!("{name}.{}.weight", stack::QKV))?;
        let gate_up_proj = weights.stack(&format!("{name}.{}.weight", stack::GATE_UP))?;
        let mut matrix = |part: &str| weights.matrix(&format!("{name}.{part}.weight"));
        Ok(Self {
            input_norm,
            qkv_proj,
            o_proj: matrix("self_attn.o_proj")?,
            after_attention,
            before_mlp,
            gate_up_proj,
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
    turned: Tensor,                 // [1, hidden], the residual stream every other time
    qkv: Tensor,                    // [stretch, (heads + 2 * kv_heads) * head_dim]
    queries: Tensor,                // [heads * rows, head_dim]
    attended: Tensor,               // [rows, heads * head_dim]
    gate_up: Tensor,                // [stretch, 2 * intermediate]
    gated: Tensor,                  // [stretch, intermediate]
    last: Tensor,                   // [1, hidden]
    pub(crate) last_normed: Tensor, // [1, hidden]
    pub(crate) logits: Tensor,      // [1, vocabulary]
}

/// The residual stream on its way through the layers.
struct Stream<'a> {
    at: &'a Tensor,
    /// Where a product puts it that adds the branch; none: no product is to.
    other: Option<&'a Tensor>,
    /// The norm that the branch in the workspace waits for before it is added.
    pending: Option<&'a Tensor>,
}

impl Decoder {
    pub(crate) fn new(
        config: &TextConfig,
        windows: bool,
        cache: CachePrecision,
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
            cache,
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
                .map(|_| {
                    let heads = config.num_key_value_heads;
                    gpu.kv_cache(heads, capacity, config.head_dim, self.cache)
                })
                .collect::<Result<_, _>>()?,
            rotary: gpu.rotary_table(positions, config.head_dim, config.rope_theta)?,
            span: gpu.indices("span", 2)?,
        })
    }

    pub(crate) fn workspace(&self, gpu: &Gpu, rows: usize) -> Result<Workspace, GpuError> {
        let config = &self.config;
        let hidden = config.hidden_size;
        let heads = config.num_attention_heads * config.head_dim;
        let qkv = qkv_width(config);
        let gate_up = 2 * config.intermediate_size;
        let mlp_rows = stretch(gate_up).min(rows);
        Ok(Workspace {
            hidden: gpu.tensor("hidden", rows, hidden)?,
            normed: gpu.tensor("normed", rows, hidden)?,
            branch: gpu.tensor("branch", rows, hidden)?,
            turned: gpu.tensor("hidden, other", 1, hidden)?,
            qkv: gpu.tensor("queries, keys, values", stretch(qkv).min(rows), qkv)?,
            queries: gpu.queries(config.num_attention_heads, rows, config.head_dim)?,
            attended: gpu.tensor("attended", rows, heads)?,
            gate_up: gpu.tensor("gates, ups", mlp_rows, gate_up)?,
            gated: gpu.tensor("gated", mlp_rows, config.intermediate_size)?,
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
    /// `taps` that want attention weights. The final norm of every row goes to `normed`, if it is
    /// wanted: the last branch is added and normed at once.
    #[allow(clippy::too_many_arguments)] // what a pass is made of
    pub(crate) fn record_layers(
        &self,
        gpu: &Gpu,
        r: &mut Recorder,
        w: &Workspace,
        memory: &Memory,
        seen: usize,
        normed: Option<&Tensor>,
        taps: &mut Taps,
    ) -> Result<(), GpuError> {
        let config = &self.config;
        let layout = Heads {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            rotary: Some((&memory.rotary, FIRST_POSITION)),
        };
        let (rows, span) = (w.hidden.rows(), &memory.span);
        let mut stream = Stream {
            at: &w.hidden,
            // Whoever wants it afterwards looks for it in `hidden`.
            other: (normed.is_some() && rows == 1).then_some(&w.turned),
            pending: None,
        };
        for (i, (layer, cache)) in self.layers.iter().zip(&memory.caches).enumerate() {
            let attention = Attention {
                heads: config.num_attention_heads,
                scale: config.attention_scale() as f32,
                soft_cap: config.attn_logit_softcapping.map(|cap| cap as f32),
                window: self.window(i),
            };
            if rows == 1 && !taps.attends() {
                let qkv = layer.qkv_proj.whole();
                let product =
                    |r: &mut Recorder, x: Normed<'_>, w_: &Matrix| r.linear_normed(x, w_, &w.qkv);
                if !self.record_normed(r, w, &mut stream, &layer.input_norm, qkv, product) {
                    layer.qkv_proj.record(r, &w.normed, None, &w.qkv);
                }
                r.decode_attention(&w.qkv, layout, cache, span, attention, &w.attended);
            } else {
                self.record_norms(r, w, &mut stream, &layer.input_norm, &w.normed);
                for start in (0..rows).step_by(w.qkv.rows().max(1)) {
                    let range = start..(start + w.qkv.rows()).min(rows);
                    let x = w.normed.slice_rows(range.clone())?;
                    let qkv = w.qkv.slice_rows(0..range.len())?;
                    layer.qkv_proj.record(r, &x, None, &qkv);
                    r.split_heads(&qkv, start, layout, span, &w.queries, cache);
                }
                r.attention(&w.queries, cache, span, attention, &w.attended);
                taps.attend(gpu, r, i, &w.queries, cache, span, attention, seen)?;
            }
            if i > 0 {
                taps.tap(gpu, r, || format!("text.layer_out.{}", i - 1), stream.at)?;
            }
            let norm = layer.after_attention.as_ref();
            self.record_branch(r, w, &mut stream, &w.attended, &layer.o_proj, norm, 0..rows)?;
            self.record_mlp(r, w, &mut stream, layer)?;
        }
        match normed {
            Some(normed) => self.record_norms(r, w, &mut stream, &self.norm, normed),
            None => self.record_norm(r, w, &mut stream),
        }
        let last = self.layers.len().saturating_sub(1);
        taps.tap(gpu, r, || format!("text.layer_out.{last}"), stream.at)
    }

    /// Adds the branch after its norm, if it waits for one.
    fn record_norm(&self, r: &mut Recorder, w: &Workspace, stream: &mut Stream<'_>) {
        if let Some(norm) = stream.pending.take() {
            let eps = self.config.rms_norm_eps as f32;
            r.rms_norm(&w.branch, norm, eps, true, stream.at);
        }
    }

    /// The same, and then the next norm of the residual stream into `y`.
    fn record_norms(
        &self,
        r: &mut Recorder,
        w: &Workspace,
        stream: &mut Stream<'_>,
        next: &Tensor,
        y: &Tensor,
    ) {
        let eps = self.config.rms_norm_eps as f32;
        match stream.pending.take() {
            Some(norm) => r.rms_norm_twice(&w.branch, norm, stream.at, next, eps, y),
            None => r.rms_norm(stream.at, next, eps, false, y),
        }
    }

    /// The same and the product that follows in one dispatch, where that is in force. Else only the norms, into
    /// the workspace, and false.
    fn record_normed(
        &self,
        r: &mut Recorder,
        w: &Workspace,
        stream: &mut Stream<'_>,
        next: &Tensor,
        matrix: Option<&Matrix>,
        product: impl FnOnce(&mut Recorder, Normed<'_>, &Matrix),
    ) -> bool {
        let matrix = matrix.filter(|matrix| r.norms_within(matrix));
        let (Some(matrix), Some(sum)) = (matrix, stream.other) else {
            self.record_norms(r, w, stream, next, &w.normed);
            return false;
        };
        let branch = stream.pending.take().map(|norm| (&w.branch, norm));
        let x = Normed {
            hidden: stream.at,
            branch,
            sum,
            scale: next,
            eps: self.config.rms_norm_eps as f32,
        };
        product(r, x, matrix);
        if branch.is_some() {
            stream.other = Some(std::mem::replace(&mut stream.at, sum));
        }
        true
    }

    /// down(gelu(gate(x)) * up(x)) of the next norm, in stretches of rows so that no activation grows with the
    /// product of a long prompt and a wide MLP.
    fn record_mlp<'a>(
        &'a self,
        r: &mut Recorder,
        w: &'a Workspace,
        stream: &mut Stream<'a>,
        layer: &'a Layer,
    ) -> Result<(), GpuError> {
        let rows = w.hidden.rows();
        let whole = layer.gate_up_proj.whole();
        let product = |r: &mut Recorder, x: Normed<'_>, gate_up: &Matrix| {
            r.linear_geglu_normed(x, gate_up, &w.gated)
        };
        let is_gated = self.record_normed(r, w, stream, &layer.before_mlp, whole, product);
        for start in (0..rows).step_by(w.gated.rows().max(1)) {
            let range = start..(start + w.gated.rows()).min(rows);
            let x = w.normed.slice_rows(range.clone())?;
            let gated = w.gated.slice_rows(0..range.len())?;
            match whole.filter(|_| range.len() == 1) {
                _ if is_gated => {}
                Some(gate_up) => r.linear_geglu(&x, gate_up, &gated),
                None => {
                    let gate_up = w.gate_up.slice_rows(0..range.len())?;
                    layer.gate_up_proj.record(r, &x, None, &gate_up);
                    r.geglu(&gate_up, &gated);
                }
            }
            let norm = layer.after_mlp.as_ref();
            self.record_branch(r, w, stream, &gated, &layer.down_proj, norm, range)?;
        }
        Ok(())
    }

    /// The last product of a branch: straight into the residual stream, or aside when a norm
    /// follows.
    #[allow(clippy::too_many_arguments)] // what a branch ends with
    fn record_branch<'a>(
        &self,
        r: &mut Recorder,
        w: &'a Workspace,
        stream: &mut Stream<'a>,
        x: &Tensor,
        weight: &Matrix,
        norm: Option<&'a Tensor>,
        rows: std::ops::Range<usize>,
    ) -> Result<(), GpuError> {
        let (y, accumulate) = match norm {
            Some(_) => (&w.branch, false),
            None => (stream.at, true),
        };
        stream.pending = norm;
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
        self.record_last_head(r, w);
    }

    /// Records the head for the one row that the workspace holds after its final norm.
    pub(crate) fn record_last_head(&self, r: &mut Recorder, w: &Workspace) {
        self.record_products_with_head(r, &w.last_normed, &w.logits);
    }

    // Nothing is rounded here, whatever variant is in force: near the end there is no slack.
    fn record_products_with_head(&self, r: &mut Recorder, normed: &Tensor, logits: &Tensor) {
        let then = Linear {
            exact: true,
            ..Linear::default()
        };
        r.linear(normed, self.head(), then, logits);
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
        self.record_products_with_head(r, normed, logits);
        if let Some(cap) = self.config.final_logit_softcapping {
            r.soft_cap(logits, cap as f32);
        }
    }
}

/// Numbers in a row of queries, keys and values.
pub(crate) fn qkv_width(config: &TextConfig) -> usize {
    (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim
}

/// Rows of an activation that is so wide, whole tiles of eight.
pub(crate) fn stretch(width: usize) -> usize {
    (WIDE_BYTES / (4 * width.max(1)) / 8 * 8).max(8)
}
