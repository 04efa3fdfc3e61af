use super::math;

/// Of each stretch of 2048 the highest capped logit, and Σ e^(logit - highest); NaN counts for
/// nothing.
pub(crate) fn log_sum_exp(logits: &[f32], cap: Option<f32>) -> Vec<(f64, f64)> {
    let stretches = logits.chunks(2048);
    stretches
        .map(|stretch| {
            let capped: Vec<f64> = stretch
                .iter()
                .filter(|logit| !logit.is_nan())
                .map(|logit| math::soft_cap(f64::from(*logit), cap))
                .collect();
            let highest = capped.iter().copied().fold(f64::from(f32::MIN), f64::max);
            let sum = capped.iter().map(|logit| (logit - highest).exp()).sum();
            (highest, sum)
        })
        .collect()
}
