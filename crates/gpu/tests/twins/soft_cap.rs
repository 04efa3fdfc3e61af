use super::math;

/// cap · tanh(x / cap).
pub(crate) fn soft_cap(x: &[f32], cap: f32) -> Vec<f64> {
    x.iter()
        .map(|x| math::soft_cap(f64::from(*x), Some(cap)))
        .collect()
}
