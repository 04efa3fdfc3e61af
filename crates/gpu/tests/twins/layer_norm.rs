/// A normalised row, with what its error depends on.
pub(crate) struct Normalised {
    pub(crate) values: Vec<f64>,
    /// 1 / sqrt(variance + eps).
    pub(crate) factor: f64,
    /// Mean of |x|, and of |x - mean|.
    pub(crate) mean_abs: f64,
    pub(crate) mean_distance: f64,
    pub(crate) variance: f64,
}

/// (x - mean) / sqrt(variance + eps) · scale + shift, with the biased variance.
pub(crate) fn layer_norm(x: &[f32], scale: &[f32], shift: &[f32], eps: f32) -> Normalised {
    let count = x.len() as f64;
    let mean_of = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(f64::from(*x))).sum::<f64>() / count;
    let mean = mean_of(&|x| x);
    let variance = mean_of(&|x| (x - mean).powi(2));
    let factor = (variance + f64::from(eps)).sqrt().recip();
    let values = x
        .iter()
        .zip(scale)
        .zip(shift)
        .map(|((x, scale), shift)| {
            (f64::from(*x) - mean) * factor * f64::from(*scale) + f64::from(*shift)
        })
        .collect();
    Normalised {
        values,
        factor,
        mean_abs: mean_of(&f64::abs),
        mean_distance: mean_of(&|x| (x - mean).abs()),
        variance,
    }
}
