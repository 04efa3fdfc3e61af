/// For each id the probabilities before it and up to it, in the order of ids, of a softmax over
/// the logits that are at least `floor`: a draw of u takes the id whose interval holds u.
pub(crate) fn intervals(logits: &[f32], floor: f32) -> Vec<(f64, f64)> {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let weight = |x: f32| match x >= floor {
        true => f64::from(x - highest).exp(),
        false => 0.0,
    };
    let total: f64 = logits.iter().map(|&x| weight(x)).sum();
    let mut so_far = 0.0;
    logits
        .iter()
        .map(|&x| {
            let before = so_far;
            so_far += weight(x) / total;
            (before, so_far)
        })
        .collect()
}
