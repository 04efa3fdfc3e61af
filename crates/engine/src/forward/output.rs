/// Numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

impl Array {
    pub(crate) fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self {
            shape: shape.into(),
            values,
        }
    }
}

/// A tensor of a forward pass, read back: row-major.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// As in transformers' modules, e.g. `text.layer_out.0`.
    pub name: String,
    /// Sizes of the dimensions, the batch first.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

/// What [`Engine::forward`](crate::Engine::forward) returns of one row. Tokens are those that are
/// no padding.
#[derive(Clone, Debug, Default)]
pub struct ForwardOutput {
    /// If there were labels.
    pub loss: Option<Loss>,
    /// `[kept, vocabulary]`; none if none were to be kept.
    pub logits: Option<Array>,
    /// `[tokens, hidden]`, after the final norm.
    pub last_hidden_state: Option<Array>,
    /// By transformers' numbers: 0 is what enters the first layer, i what leaves layer i - 1, and
    /// the last is after the final norm: `[tokens, hidden]` each.
    pub hidden_states: Option<Vec<Array>>,
    /// Of the decoder's layers that were asked for.
    pub attentions: Vec<LayerAttention>,
    /// The projected features: `[images, image tokens, hidden]`.
    pub image_hidden_states: Option<Array>,
    /// If anything of it was asked for and there were pictures or pixels.
    pub vision: Option<VisionOutput>,
    /// Padding that was left out, on the left.
    pub padding: usize,
}

/// Attention weights of one layer, after the softmax: what a query does not see has weight 0.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerAttention {
    /// The layer, from 0.
    pub layer: usize,
    /// Of the decoder `[heads, tokens, positions]`, where positions count those of a cache first;
    /// of the vision tower `[images, heads, patches, patches]`.
    pub weights: Array,
}

/// What the vision tower and the projector made of images.
#[derive(Clone, Debug)]
pub struct VisionOutput {
    /// After the last norm: `[images, patches, vision hidden]`.
    pub last_hidden_state: Array,
    /// The projected features, which the decoder reads: `[images, patches, hidden]`.
    pub pooler_output: Array,
    /// If asked for: 0 is what enters the first layer, i what leaves layer i - 1:
    /// `[images, patches, vision hidden]` each.
    pub hidden_states: Option<Vec<Array>>,
    /// Of the layers that were asked for.
    pub attentions: Vec<LayerAttention>,
}

/// The cross-entropy of labels, each predicted at the token before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The mean over all targets; none if there is no target, where transformers has NaN.
    pub mean: Option<f32>,
    /// Place of each target, padding included, and its cross-entropy in nats.
    pub targets: Vec<(usize, f32)>,
}

impl Loss {
    pub(crate) fn new(targets: Vec<(usize, f32)>) -> Self {
        Self {
            mean: mean(targets.iter().map(|(_, nats)| *nats)),
            targets,
        }
    }
}

/// The mean of numbers, if there are any.
pub(crate) fn mean(numbers: impl Iterator<Item = f32>) -> Option<f32> {
    let (sum, count) = numbers.fold((0.0f64, 0usize), |(sum, count), number| {
        (sum + f64::from(number), count + 1)
    });
    (count > 0).then(|| (sum / count as f64) as f32)
}
