use super::math;

/// log softmax of the capped logits at `id`, and for each radius the softmax's sum over the ids of
/// `near` (first to end) that are no further from it; its own probability where it is not one of
/// them.
pub(crate) fn log_probs(
    logits: &[f32],
    cap: Option<f32>,
    id: usize,
    near: std::ops::Range<usize>,
    radii: [u32; 4],
) -> (f64, [f64; 4]) {
    let capped: Vec<f64> = logits
        .iter()
        .map(|logit| math::soft_cap(f64::from(*logit), cap))
        .collect();
    let numbers = || capped.iter().filter(|logit| !logit.is_nan());
    let highest = numbers().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = numbers()
        .map(|logit| (logit - highest).exp())
        .sum::<f64>()
        .ln()
        + highest;
    let own = capped[id] - sum;
    let masses = radii.map(|radius| {
        if !near.contains(&id) {
            return own.exp();
        }
        near.clone()
            .filter(|other| other.abs_diff(id) <= radius as usize && !capped[*other].is_nan())
            .map(|other| (capped[other] - sum).exp())
            .sum()
    });
    (own, masses)
}
