use super::math;

/// gelu(gate) · up.
pub(crate) fn geglu(up: &[f32], gate: &[f32]) -> Vec<f64> {
    geglu_with(up, gate, math::gelu_tanh)
}

/// The same with another activation.
pub(crate) fn geglu_with(up: &[f32], gate: &[f32], gelu: impl Fn(f64) -> f64) -> Vec<f64> {
    up.iter()
        .zip(gate)
        .map(|(up, gate)| gelu(f64::from(*gate)) * f64::from(*up))
        .collect()
}
