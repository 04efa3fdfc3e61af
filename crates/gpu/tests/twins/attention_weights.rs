use super::attention::Shape;
use super::math;

/// One weight, with what its error depends on.
#[derive(Clone, Copy)]
pub(crate) struct Weight {
    pub(crate) value: f64,
    /// Number of visible keys; 0 of a weight that is none of them.
    pub(crate) keys: usize,
    /// How far its score is below the highest.
    pub(crate) below: f64,
    /// Largest distance of two visible scores.
    pub(crate) range: f64,
    /// Largest Σ |q k| · scale of a visible key.
    pub(crate) products: f64,
}

/// softmax(q · k) of each query and head over the first `keys` positions: `[heads, rows, keys]`.
pub(crate) fn attention_weights(shape: &Shape, q: &[f32], k: &[f32], keys: usize) -> Vec<Weight> {
    let dim = shape.head_dim;
    let mut out = Vec::new();
    for head in 0..shape.heads {
        for row in 0..shape.rows {
            let query = &q[(head * shape.rows + row) * dim..][..dim];
            let cache = shape.kv_head(head) * shape.capacity;
            let mut products = 0f64;
            let scores: Vec<Option<f64>> = (0..keys)
                .map(|j| {
                    if !shape.visible(shape.first + row, j) {
                        return None;
                    }
                    let terms = query
                        .iter()
                        .zip(&k[(cache + j) * dim..][..dim])
                        .map(|(q, k)| f64::from(*q) * f64::from(*k) * f64::from(shape.scale));
                    products = products.max(terms.clone().map(f64::abs).sum());
                    Some(math::soft_cap(terms.sum(), shape.cap))
                })
                .collect();
            let seen = scores.iter().flatten();
            let highest = seen.clone().copied().fold(f64::NEG_INFINITY, f64::max);
            let lowest = seen.clone().copied().fold(f64::INFINITY, f64::min);
            let total: f64 = seen.clone().map(|score| (score - highest).exp()).sum();
            let visible = seen.count();
            out.extend(scores.iter().map(|score| Weight {
                value: score.map_or(0.0, |score| (score - highest).exp() / total),
                keys: score.map_or(0, |_| visible),
                below: score.map_or(0.0, |score| highest - score),
                range: highest - lowest,
                products,
            }));
        }
    }
    out
}
