//! What `shaders/shared/math.wesl` is to the shaders.

/// PyTorch's `gelu_pytorch_tanh`: x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³))).
pub(crate) fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
    x / 2.0 * (1.0 + inner.tanh())
}

/// The other gelu, x/2 (1 + erf(x / √2)): what ours must not be.
pub(crate) fn gelu_erf(x: f64) -> f64 {
    x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

/// 2/√π Σ (-1)ⁿ z²ⁿ⁺¹ / (n! (2n + 1)); beyond 4, 1 to within 2e-8.
fn erf(z: f64) -> f64 {
    if z.abs() > 4.0 {
        return z.signum();
    }
    let mut power = z; // (-1)ⁿ z²ⁿ⁺¹ / n!
    let mut sum = z;
    for n in 1..100 {
        power *= -z * z / f64::from(n);
        sum += power / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// Gemma 2's cap · tanh(x / cap).
pub(crate) fn soft_cap(x: f64, cap: Option<f32>) -> f64 {
    match cap {
        Some(cap) => f64::from(cap) * (x / f64::from(cap)).tanh(),
        None => x,
    }
}
