/// x / sqrt(mean(x²) + eps) · (1 + scale).
pub(crate) fn rms_norm(x: &[f32], scale: &[f32], eps: f32) -> Vec<f64> {
    rms_norm_with(x, scale, eps, |scale| 1.0 + scale)
}

/// The same with another factor.
pub(crate) fn rms_norm_with(
    x: &[f32],
    scale: &[f32],
    eps: f32,
    factor: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    let root = (squares / x.len() as f64 + f64::from(eps)).sqrt();
    x.iter()
        .zip(scale)
        .map(|(x, scale)| f64::from(*x) / root * factor(f64::from(*scale)))
        .collect()
}
