/// The id of the highest logit that is not NaN, the lowest such id; none if all are NaN.
/// The twin of `argmax_parts` and `argmax`, which together are one operation.
pub(crate) fn argmax(logits: &[f32]) -> Option<usize> {
    let highest = logits
        .iter()
        .filter(|logit| !logit.is_nan())
        .fold(None, |best: Option<f32>, &logit| {
            Some(best.map_or(logit, |best| best.max(logit)))
        })?;
    logits.iter().position(|&logit| logit == highest)
}
