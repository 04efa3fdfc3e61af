//! How far a kernel may be from its twin, derived from what WGSL promises of each operation
//! ("Accuracy of f32", in its section on floating point evaluation).
//!
//! With u = 2^-23: an addition, subtraction or multiplication is off by at most u of its result
//! (WGSL lets it round to either neighbour), a division by 2.5 u, an inverse square root by 2 u,
//! a square root by 4.5 u (it may be the division 1 / inverseSqrt), exp(x) by (3 + 2 |x|) u.
//! Products of u are left out; each bound has room for them.

use super::compare::Bounded;
use crate::twins::attention::Attended;
use crate::twins::attention_weights::Weight;
use crate::twins::cross_entropy::Nats;
use crate::twins::layer_norm::Normalised;
use crate::twins::matmul::{Dot, Then};
use crate::twins::split_heads::Rotated;

/// 2^-23.
pub(crate) const U: f64 = 1.0 / 8_388_608.0;

/// One rounding of a number that is right in itself.
pub(crate) fn rounded(value: f64) -> Bounded {
    Bounded {
        value,
        bound: U * value.abs(),
    }
}

/// tanh(t) of a `t` without error. Below 0.25 a polynomial of four steps that adds one rounding
/// and a relative truncation of 1e-8; above, 1 - 2 / (e + 1) with e = exp(2 t): the error of exp,
/// (3 + 4 t) u e, reaches the result times 2 / (e + 1)², which is at most 2 u together; the
/// division's is below 2.5 u · 0.76, the sum's below 0.4 u, the difference's below u: 6 u.
fn tanh(t: f64) -> f64 {
    if t.abs() < 0.249 {
        8.0 * U * t.abs()
    } else {
        6.0 * U
    }
}

/// gelu(x) of an `x` without error: the argument of tanh takes 6 roundings, and t tanh'(t) is
/// below 0.45, so 1 + tanh is off by 2.7 u + 6 u + u, and x / 2 times that by 5 u |x|; two more
/// products round.
pub(crate) fn gelu(x: f64) -> f64 {
    7.0 * U * x.abs()
}

/// cap · tanh(x / cap) of an `x` without error: the quotient's error of 2.5 u reaches tanh as at
/// most min(2.5 |t|, 1.2) u.
pub(crate) fn capped(x: f64, cap: f32) -> f64 {
    let cap = f64::from(cap);
    let t = x / cap;
    cap.abs() * (tanh(t) + U * (2.5 * t.abs()).min(1.2) + U * t.tanh().abs())
}

pub(crate) fn soft_cap(x: &[f32], cap: f32, values: &[f64]) -> Vec<Bounded> {
    x.iter()
        .zip(values)
        .map(|(x, &value)| Bounded {
            value,
            bound: capped(f64::from(*x), cap),
        })
        .collect()
}

/// A product of length k rounds each term once and sums it in at most k - 1 additions, in
/// whatever order: k u Σ |x w|.
fn dot(of: Dot, length: usize) -> f64 {
    (length + 1) as f64 * U * of.magnitude
}

/// `outputs` products a row, of length `length`, and what follows them. gelu' is below 1.13.
pub(crate) fn linear(dots: &[Dot], length: usize, outputs: usize, then: Then<'_>) -> Vec<Bounded> {
    dots.iter()
        .enumerate()
        .map(|(i, of)| {
            let mut value = of.sum;
            let mut bound = dot(*of, length);
            if let Some(bias) = then.bias {
                value += f64::from(bias[i % outputs]);
                bound += U * value.abs();
            }
            if let Some(activation) = then.gelu {
                bound = 1.13 * bound + gelu(value);
                value = activation(value);
            }
            if let Some(before) = then.accumulate {
                value += f64::from(before[i]);
                bound += U * value.abs();
            }
            Bounded { value, bound }
        })
        .collect()
}

/// As many sums as there are outputs a pixel, of length `length`, and what follows them: a bias, a
/// rectifier (which brings numbers no further apart), and what the result is added to.
pub(crate) fn conv(
    sums: &[Dot],
    length: usize,
    bias: &[f32],
    relu: bool,
    before: Option<&[f32]>,
) -> Vec<Bounded> {
    sums.iter()
        .enumerate()
        .map(|(i, of)| {
            let mut value = of.sum + f64::from(bias[i % bias.len()]);
            let mut bound = dot(*of, length) + U * value.abs();
            if relu {
                value = value.max(0.0);
            }
            if let Some(before) = before {
                value += f64::from(before[i]);
                bound += U * value.abs();
            }
            Bounded { value, bound }
        })
        .collect()
}

/// Both factors are off by their bounds, and the product rounds.
pub(crate) fn product(some: &[Bounded], others: &[Bounded]) -> Vec<Bounded> {
    some.iter()
        .zip(others)
        .map(|(a, b)| Bounded {
            value: a.value * b.value,
            bound: a.bound * b.value.abs()
                + b.bound * a.value.abs()
                + a.bound * b.bound
                + rounded(a.value * b.value).bound,
        })
        .collect()
}

/// The activation's error times `up`, and the product's rounding.
pub(crate) fn geglu(up: &[f32], gate: &[f32], values: &[f64]) -> Vec<Bounded> {
    up.iter()
        .zip(gate)
        .zip(values)
        .map(|((up, gate), &value)| Bounded {
            value,
            bound: gelu(f64::from(*gate)) * f64::from(up.abs()) + U * value.abs(),
        })
        .collect()
}

/// The mean of n squares is off by at most (n + 1) u of itself (all terms are positive), the
/// factor by half of that and 7 u + u for the root, the division and the sum with eps; three more
/// products and sums round.
pub(crate) fn rms_norm(values: &[f64], accumulate: Option<&[f32]>) -> Vec<Bounded> {
    let relative = (values.len() as f64 / 2.0 + 13.0) * U;
    values
        .iter()
        .enumerate()
        .map(|(i, &value)| {
            let bound = relative * value.abs();
            match accumulate {
                None => Bounded { value, bound },
                Some(before) => {
                    let sum = value + f64::from(before[i]);
                    Bounded {
                        value: sum,
                        bound: bound + U * sum.abs(),
                    }
                }
            }
        })
        .collect()
}

/// The mean of n numbers is off by (n + 2.5) u mean|x|, and so is each distance d from it, plus
/// its rounding. That moves the variance by 2 mean|d| δ + δ², beside its own (n + 4) u; half of
/// the relative error of variance + eps reaches the factor, which adds 8 u.
pub(crate) fn layer_norm(of: &Normalised, scale: &[f32], shift: &[f32], eps: f32) -> Vec<Bounded> {
    let n = of.values.len() as f64;
    let mean_error = (n + 2.5) * U * of.mean_abs;
    let variance_error =
        2.0 * of.mean_distance * mean_error + mean_error * mean_error + (n + 4.0) * U * of.variance;
    let factor_error = 0.5 * variance_error / (of.variance + f64::from(eps)) + 8.0 * U;
    of.values
        .iter()
        .zip(scale)
        .zip(shift)
        .map(|((&value, scale), shift)| {
            let product = (value - f64::from(*shift)).abs();
            let bound = mean_error * of.factor * f64::from(scale.abs())
                + (factor_error + 3.0 * U) * product
                + U * value.abs();
            Bounded { value, bound }
        })
        .collect()
}

/// A score is off by (dim + 2) u Σ |q k| scale, and by the soft cap's error. A weight exp(s - m)
/// is off by that, by the rounding of the difference and by exp's own (3 + 2 range) u, the latter
/// two once more for every tile of 32 keys (or of 64) that moved the maximum; sums over n keys add
/// n u. When every weight is within a factor 1 ± e of what it should be, Σ p v / Σ p is off by
/// 2 e Σ p |v| / Σ p.
pub(crate) fn attention(of: &[Attended], head_dim: usize, cap: Option<f32>) -> Vec<Bounded> {
    of.iter()
        .map(|of| {
            let score = (head_dim + 2) as f64 * U * of.products
                + cap.map_or(0.0, |cap| capped(of.products, cap));
            let exps = (of.keys / 32 + 2) as f64 * (3.0 + 3.0 * of.range) * U;
            let weight = score + exps + (of.keys + 4) as f64 * U;
            Bounded {
                value: of.value,
                bound: 2.1 * weight * of.magnitude,
            }
        })
        .collect()
}

/// A weight exp(s - m) / Σ is off by the errors of two scores (its own and, in the sum, all
/// others'), by the rounding of the differences and exp's own (3 + 2 d) u for a score d below the
/// highest, by the sum of n weights and by a division. A weight that is not normal in f32 may be
/// flushed to zero.
pub(crate) fn attention_weights(of: &[Weight], head_dim: usize, cap: Option<f32>) -> Vec<Bounded> {
    of.iter()
        .map(|of| {
            let score = (head_dim + 2) as f64 * U * of.products
                + cap.map_or(0.0, |cap| capped(of.products, cap));
            let exps = (6.0 + 3.0 * of.below + 3.0 * of.range) * U;
            let relative = 2.0 * score + exps + (of.keys + 4) as f64 * U;
            let flushed = 1.2e-38;
            Bounded {
                value: of.value,
                bound: 1.05 * relative * of.value + if of.keys > 0 { flushed } else { 0.0 },
            }
        })
        .collect()
}

/// The terms of the sum are off by the rounding of x - m, which is at most u |x - m|, and by exp's
/// own (3 + 2 |x - m|) u; a term passes through at most 32 + n / 2048 + 64 additions. log turns a
/// relative error into an absolute one and is itself off by 3 u of itself or, for an argument of
/// 0.5 to 2, by 2^-21. The distance of the target rounds once, and so does the last sum.
pub(crate) fn cross_entropy(of: &[Nats], columns: usize) -> Vec<Bounded> {
    let additions = (32 + columns / 2048 + 64 + 2) as f64;
    of.iter()
        .map(|of| {
            let sum = (additions + 3.0 + 3.0 * of.depth) * U;
            let log = (3.0 * U * of.log).max(4.0 * U);
            Bounded {
                value: of.value,
                bound: 1.05 * (sum + log) + U * of.below + U * of.value.abs(),
            }
        })
        .collect()
}

/// The table is computed on the CPU in f32 (units of u / 2): the exponent 2 i / dim is off by one
/// unit of itself, which θ^x turns into ln θ · 2 i / dim units; the power, the reciprocal and the
/// product with the position add 3; so much of the angle reaches sine and cosine, which round once
/// more. Two products and a sum follow on the GPU.
pub(crate) fn rotary(of: &[Rotated], theta: f64) -> Vec<Bounded> {
    of.iter()
        .map(|of| {
            let angle_error = (theta.ln() + 3.0) * U / 2.0 * of.angle;
            Bounded {
                value: of.value,
                bound: of.magnitude * (angle_error + 3.0 * U),
            }
        })
        .collect()
}
