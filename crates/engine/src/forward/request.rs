use paligemma_gpu::Gpu;
use paligemma_model::{Layers, Session};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::forward::ForwardError;
use crate::picture::Picture;

/// One row for [`Engine::forward`], by transformers' names.
#[derive(Default)]
pub struct ForwardRequest<'a> {
    /// Token ids, image tokens included: `[tokens]`. Either these or `inputs_embeds`.
    pub input_ids: Option<&'a [u32]>,
    /// Vectors in place of ids, as [`Engine::embed`] makes them: `[tokens, hidden]`. With images,
    /// rows that equal the embedding of `<image>` are image tokens.
    pub inputs_embeds: Option<&'a [f32]>,
    /// What takes the places of the image tokens.
    pub images: Images<'a>,
    /// 1 for tokens, 0 for padding, which is on the left: `[tokens]`. None: no padding.
    pub attention_mask: Option<&'a [u32]>,
    /// 0 for the prefix, which attends to all of itself, 1 for what follows: `[tokens]`. None: all
    /// are prefix, as the model was trained (transformers would take all for suffix).
    /// Tokens that follow a cache are suffix in any case.
    pub token_type_ids: Option<&'a [u32]>,
    /// The ids that a loss is taken of, each of which is to be predicted at the token before;
    /// -100 for none: `[tokens]`.
    pub labels: Option<&'a [i64]>,
    /// Tokens that were read before, to which these are added.
    pub past_key_values: Option<&'a mut PastKeyValues>,
    /// What to compute.
    pub outputs: Outputs,
}

/// Pictures in whatever state they are.
#[derive(Clone, Copy, Default)]
pub enum Images<'a> {
    /// None.
    #[default]
    None,
    /// Pictures; their features are kept for later requests.
    Pictures(&'a [Picture]),
    /// Pixel values, one `[3, side, side]` each, as `PaliGemmaProcessor` returns them.
    Pixels(&'a [Vec<f32>]),
    /// Features, one `[image tokens, hidden]` each, as [`Engine::get_image_features`] returns them.
    Features(&'a [Vec<f32>]),
}

impl Images<'_> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Pictures(all) => all.len(),
            Self::Pixels(all) | Self::Features(all) => all.len(),
        }
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a forward pass returns; what is not asked for is not computed or not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Tokens whose logits are returned.
    pub logits_to_keep: LogitsToKeep,
    /// The last hidden state, after the final norm.
    pub last_hidden_state: bool,
    /// The hidden states before the first layer and after each.
    pub hidden_states: bool,
    /// Attention weights of these layers of the decoder.
    pub attentions: Layers,
    /// The projected features of the images.
    pub image_hidden_states: bool,
    /// What of the vision tower.
    pub vision: VisionOutputs,
}

/// What of the vision tower is returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisionOutputs {
    /// The hidden states before the first layer and after each.
    pub hidden_states: bool,
    /// Attention weights of these layers.
    pub attentions: Layers,
}

impl VisionOutputs {
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Tokens whose logits are computed: each costs a product with the whole vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogitsToKeep {
    /// Of every token, as transformers' `logits_to_keep=0`.
    All,
    /// Of the last ones.
    Last(usize),
    /// Of these, counted from the row's first token, padding included, in this order.
    Positions(Vec<usize>),
    /// Of none.
    None,
}

impl Default for LogitsToKeep {
    /// The last token's, which decide what comes next.
    fn default() -> Self {
        Self::Last(1)
    }
}

impl From<usize> for LogitsToKeep {
    /// transformers' number: 0 is all.
    fn from(last: usize) -> Self {
        match last {
            0 => Self::All,
            count => Self::Last(count),
        }
    }
}

/// Keys and values of tokens that were read, on the GPU: transformers' `Cache`. An empty one is
/// filled by the first [`Engine::forward`] it is given to. Layers with a sliding window keep every
/// position, too. It belongs to the engine that filled it.
#[derive(Default)]
pub struct PastKeyValues(pub(crate) Option<(Session, Gpu)>);

impl PastKeyValues {
    /// Tokens that were read.
    #[must_use]
    pub fn seq_length(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |(session, _)| session.positions())
    }

    /// What is on this GPU.
    pub(crate) fn take(&mut self, gpu: &Gpu) -> Result<Option<Session>, ForwardError> {
        match &self.0 {
            Some((_, other)) if !other.is(gpu) => Err(ForwardError::OtherEngine),
            _ => Ok(self.0.take().map(|(session, _)| session)),
        }
    }
}

/// The content of a [`PastKeyValues`] as plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheValues {
    /// Tokens that were read.
    pub positions: usize,
    /// How many of them attend to one another in both directions.
    pub prefix: usize,
    /// Keys (after rotary embedding) and values of each layer: two times
    /// `[kv_heads, positions, head_dim]`.
    pub layers: Vec<[Vec<f32>; 2]>,
}

impl Engine {
    /// Reads a cache.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn export_cache(&self, from: &PastKeyValues) -> Result<CacheValues, EngineError> {
        let Some((session, gpu)) = &from.0 else {
            return Ok(CacheValues {
                positions: 0,
                prefix: 0,
                layers: Vec::new(),
            });
        };
        if !gpu.is(&self.gpu) {
            return Err(ForwardError::OtherEngine.into());
        }
        Ok(CacheValues {
            positions: session.positions(),
            prefix: session.prefix(),
            layers: session.read_caches(&self.model).await?,
        })
    }

    /// Puts what was read from a cache of the same model back on the GPU.
    ///
    /// # Errors
    /// Values of another model, or more positions than this one has.
    pub fn import_cache(&self, values: &CacheValues) -> Result<PastKeyValues, EngineError> {
        if values.positions == 0 {
            return Ok(PastKeyValues::default());
        }
        let mut session = self.new_session(values.positions)?;
        let (positions, prefix) = (values.positions, values.prefix);
        session.write_caches(&self.model, &values.layers, positions, prefix)?;
        Ok(PastKeyValues(Some((session, self.gpu.clone()))))
    }
}
