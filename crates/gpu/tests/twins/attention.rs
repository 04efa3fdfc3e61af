use super::math;

/// Attention of some queries over a cache.
pub(crate) struct Shape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Number of queries.
    pub(crate) rows: usize,
    /// Sequence index of the first query.
    pub(crate) first: usize,
    /// Length of the bidirectional prefix.
    pub(crate) prefix: usize,
    /// Positions of a cache.
    pub(crate) capacity: usize,
    pub(crate) scale: f32,
    pub(crate) cap: Option<f32>,
    pub(crate) window: Option<usize>,
}

/// One number of the result, with what its error depends on.
#[derive(Clone, Copy)]
pub(crate) struct Attended {
    pub(crate) value: f64,
    /// Σ pⱼ |vⱼ|.
    pub(crate) magnitude: f64,
    /// Number of visible keys.
    pub(crate) keys: usize,
    /// Largest distance of two visible scores.
    pub(crate) range: f64,
    /// Largest Σ |q k| · scale of a visible key.
    pub(crate) products: f64,
}

impl Shape {
    /// Prefix-LM, with a sliding window for what follows the prefix.
    pub(crate) fn visible(&self, i: usize, j: usize) -> bool {
        let both_in_prefix = i < self.prefix && j < self.prefix;
        let in_window = self.window.is_none_or(|window| j + window > i);
        both_in_prefix || (j <= i && in_window)
    }

    /// Queries share key and value heads in contiguous groups.
    pub(crate) fn kv_head(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads)
    }
}

/// q is `[heads, rows, head_dim]`, k and v `[kv_heads, capacity, head_dim]`, the result
/// `[rows, heads, head_dim]`.
pub(crate) fn attention(shape: &Shape, q: &[f32], k: &[f32], v: &[f32]) -> Vec<Attended> {
    attention_with(shape, q, k, v, Shape::visible, Shape::kv_head)
}

/// The same with another mask and another grouping of heads.
pub(crate) fn attention_with(
    shape: &Shape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    visible: impl Fn(&Shape, usize, usize) -> bool,
    kv_head: impl Fn(&Shape, usize) -> usize,
) -> Vec<Attended> {
    let dim = shape.head_dim;
    let mut out = Vec::new();
    for row in 0..shape.rows {
        for head in 0..shape.heads {
            let query = &q[(head * shape.rows + row) * dim..][..dim];
            let cache = kv_head(shape, head) * shape.capacity;
            let seen: Vec<usize> = (0..shape.capacity)
                .filter(|&j| visible(shape, shape.first + row, j))
                .collect();
            let mut products = 0f64;
            let scores: Vec<f64> = seen
                .iter()
                .map(|j| {
                    let terms = query
                        .iter()
                        .zip(&k[(cache + j) * dim..][..dim])
                        .map(|(q, k)| f64::from(*q) * f64::from(*k) * f64::from(shape.scale));
                    products = products.max(terms.clone().map(f64::abs).sum());
                    math::soft_cap(terms.sum(), shape.cap)
                })
                .collect();
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
            let total: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
            for d in 0..dim {
                let mut value = 0.0;
                let mut magnitude = 0.0;
                for (j, score) in seen.iter().zip(&scores) {
                    let part = (score - highest).exp() / total;
                    let element = f64::from(v[(cache + j) * dim + d]);
                    value += part * element;
                    magnitude += part * element.abs();
                }
                out.push(Attended {
                    value,
                    magnitude,
                    keys: seen.len(),
                    range: highest - lowest,
                    products,
                });
            }
        }
    }
    out
}
