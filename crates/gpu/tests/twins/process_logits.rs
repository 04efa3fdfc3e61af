use super::math;

/// What the twin is told: as transformers' processors, in their order.
pub(crate) struct How<'a> {
    pub(crate) allowed: usize,
    pub(crate) cap: Option<f32>,
    pub(crate) permitted: Option<&'a [bool]>,
    pub(crate) penalty: Option<(&'a [bool], f32)>,
    pub(crate) temperature: f32,
}

/// Cap, then `logit * p` below zero and `logit / p` elsewhere for ids that were there, then
/// division by the temperature; NaN for what may not be picked.
pub(crate) fn process_logits(logits: &[f32], how: &How<'_>) -> Vec<f64> {
    (0..)
        .zip(logits)
        .map(|(id, logit)| {
            let may = id < how.allowed && how.permitted.is_none_or(|may| may[id]);
            if !may || logit.is_nan() {
                return f64::NAN;
            }
            let logit = math::soft_cap(f64::from(*logit), how.cap);
            let logit = match how.penalty {
                Some((seen, penalty)) if seen[id] && logit < 0.0 => logit * f64::from(penalty),
                Some((seen, penalty)) if seen[id] => logit / f64::from(penalty),
                _ => logit,
            };
            logit / f64::from(how.temperature)
        })
        .collect()
}
