use std::ops::Range;

use paligemma_gpu::{Attention, Gpu, GpuError, Indices, KvCache, Recorder, Tensor};

/// Which layers of a tower.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Layers {
    /// None of them.
    #[default]
    None,
    /// All of them.
    All,
    /// These, from 0.
    These(Vec<usize>),
}

impl Layers {
    /// This one is among them.
    #[must_use]
    pub fn contains(&self, layer: usize) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(layers) => layers.contains(&layer),
        }
    }
}

/// Copies of intermediate tensors by their name in transformers' modules, taken only when
/// asked for: they are many and large.
#[derive(Default)]
pub struct Taps {
    wanted: Wanted,
    tensors: Vec<(String, Tensor)>,
    attentions: Layers,
    rows: Option<Range<usize>>,
    weights: Vec<AttentionWeights>,
}

/// What is copied.
#[derive(Default)]
enum Wanted {
    #[default]
    Nothing,
    Everything,
    Only(&'static str),
}

/// A layer's attention weights on the GPU, after the softmax.
pub struct AttentionWeights {
    /// The layer, from 0.
    pub layer: usize,
    /// Query heads.
    pub heads: usize,
    /// Queries.
    pub rows: usize,
    /// Positions that there are for them to see.
    pub keys: usize,
    /// Some rows each, one after the other: `[heads * rows, keys]`.
    parts: Vec<Tensor>,
}

impl Taps {
    /// Copies nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Copies everything that has a name.
    #[must_use]
    pub fn all() -> Self {
        Self {
            wanted: Wanted::Everything,
            ..Self::default()
        }
    }

    /// Copies what has this name.
    #[must_use]
    pub fn only(name: &'static str) -> Self {
        Self {
            wanted: Wanted::Only(name),
            ..Self::default()
        }
    }

    /// Keeps attention weights of these layers too.
    #[must_use]
    pub fn with_attentions(mut self, layers: Layers) -> Self {
        self.attentions = layers;
        self
    }

    /// Keeps attention weights of these rows only.
    #[must_use]
    pub fn of_rows(mut self, rows: Range<usize>) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Everything with a name is wanted.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(self.wanted, Wanted::Everything)
    }

    /// Attention weights are wanted of some layer.
    pub(crate) fn attends(&self) -> bool {
        self.attentions != Layers::None
    }

    /// What was copied, in the order of computation: name and `[tokens, features]`.
    #[must_use]
    pub fn take(&mut self) -> Vec<(String, Tensor)> {
        std::mem::take(&mut self.tensors)
    }

    /// The attention weights that were kept, by layer.
    #[must_use]
    pub fn take_attentions(&mut self) -> Vec<AttentionWeights> {
        std::mem::take(&mut self.weights)
    }

    pub(crate) fn tap(
        &mut self,
        gpu: &Gpu,
        recorder: &mut Recorder,
        name: impl FnOnce() -> String,
        tensor: &Tensor,
    ) -> Result<(), GpuError> {
        if matches!(self.wanted, Wanted::Nothing) {
            return Ok(());
        }
        let name = name();
        if matches!(self.wanted, Wanted::Only(wanted) if wanted != name) {
            return Ok(());
        }
        let copy =
            gpu.tensor_with_stride(&name, tensor.rows(), tensor.columns(), tensor.stride())?;
        recorder.copy(tensor, &copy);
        self.tensors.push((name, copy));
        Ok(())
    }

    /// Computes the weights of an attention that was just recorded, over the first `keys`
    /// positions, if this layer's are wanted.
    #[expect(clippy::too_many_arguments, reason = "the operands of `attention`")]
    pub(crate) fn attend(
        &mut self,
        gpu: &Gpu,
        recorder: &mut Recorder,
        layer: usize,
        queries: &Tensor,
        cache: &KvCache,
        span: &Indices,
        how: Attention,
        keys: usize,
    ) -> Result<(), GpuError> {
        if !self.attentions.contains(layer) {
            return Ok(());
        }
        let heads = how.heads.max(1);
        let all = 0..queries.rows() / heads;
        let rows = self.rows.clone().unwrap_or(all);
        // As many rows at a time as a binding holds.
        let row_bytes = (heads * keys.next_multiple_of(8) * 4) as u64;
        let most = gpu.info().max_binding_bytes / row_bytes.max(1);
        let at_once = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        let mut parts = Vec::new();
        for start in rows.clone().step_by(at_once) {
            let count = at_once.min(rows.end - start);
            let part = gpu.tensor("attention weights", heads * count, keys)?;
            recorder.attention_weights(queries, cache, span, how, start, &part);
            parts.push(part);
        }
        self.weights.push(AttentionWeights {
            layer,
            heads,
            rows: rows.len(),
            keys,
            parts,
        });
        Ok(())
    }
}

impl AttentionWeights {
    /// Reads them: `[heads, rows, keys]`.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn read(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            parts.push(gpu.read_tensor(part).await?);
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let mut whole = Vec::with_capacity(self.heads * self.rows * self.keys);
        for head in 0..self.heads {
            for part in &parts {
                let size = part.len() / self.heads;
                whole.extend_from_slice(&part[head * size..(head + 1) * size]);
            }
        }
        Ok(whole)
    }
}
