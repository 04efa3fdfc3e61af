/// `[rows, heads, head_dim]` to `[heads, rows, head_dim]`.
pub(crate) fn by_head(x: &[f64], heads: usize, head_dim: usize) -> Vec<f64> {
    let width = heads * head_dim;
    (0..heads)
        .flat_map(|head| {
            x.chunks(width)
                .flat_map(move |row| &row[head * head_dim..][..head_dim])
        })
        .copied()
        .collect()
}

/// A rotated number, with what its error depends on.
#[derive(Clone, Copy)]
pub(crate) struct Rotated {
    pub(crate) value: f64,
    /// |x| + |partner|.
    pub(crate) magnitude: f64,
    /// position · θ^(-2 i / head_dim).
    pub(crate) angle: f64,
}

/// Rotary embedding of one head of one row: dimension i turns with i + head_dim / 2.
pub(crate) fn rotate(head: &[f32], position: usize, theta: f64) -> Vec<Rotated> {
    let half = head.len() / 2;
    rotate_pairs(head, position, theta, |i| (i, i + half))
}

/// The same for another choice of pairs.
pub(crate) fn rotate_pairs(
    head: &[f32],
    position: usize,
    theta: f64,
    pair: impl Fn(usize) -> (usize, usize),
) -> Vec<Rotated> {
    let mut out = vec![None; head.len()];
    for i in 0..head.len() / 2 {
        let angle = position as f64 * theta.powf(-2.0 * i as f64 / head.len() as f64);
        let (first, second) = pair(i);
        let (a, b) = (f64::from(head[first]), f64::from(head[second]));
        let rotated = |value| Rotated {
            value,
            magnitude: a.abs() + b.abs(),
            angle,
        };
        out[first] = Some(rotated(a * angle.cos() - b * angle.sin()));
        out[second] = Some(rotated(b * angle.cos() + a * angle.sin()));
    }
    out.into_iter().flatten().collect()
}
