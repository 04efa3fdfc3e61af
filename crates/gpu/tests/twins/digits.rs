/// The least of the `count` highest logits; the lowest of all when there are fewer. The twin of
/// `digits_parts` and `digits`, which together are one operation, as is [`share`].
pub(crate) fn count(logits: &[f32], count: usize) -> f32 {
    let sorted = falling(logits);
    sorted[count.clamp(1, sorted.len()) - 1]
}

/// The least of the fewest highest logits whose probabilities sum to more than `share`, of those
/// that are at least `floor`; of equal logits all are taken.
pub(crate) fn share(logits: &[f32], floor: f32, share: f64) -> f32 {
    let sorted = falling(logits);
    let kept: Vec<f32> = sorted.into_iter().filter(|&x| x >= floor).collect();
    let weights = || kept.iter().map(|&x| f64::from(x - kept[0]).exp());
    let total: f64 = weights().sum();
    // From the lowest on: what sums to no more than 1 - share goes.
    let mut below = 0.0;
    let mut rising: Vec<(f32, f64)> = kept.iter().copied().zip(weights()).collect();
    rising.reverse();
    let mut at = 0;
    while at < rising.len() {
        let value = rising[at].0;
        let group = rising[at..].iter().take_while(|(x, _)| *x == value);
        let (size, weight) = group.fold((0, 0.0), |(n, sum), (_, w)| (n + 1, sum + w));
        below += weight;
        if below > (1.0 - share) * total {
            return value;
        }
        at += size;
    }
    kept[0]
}

fn falling(logits: &[f32]) -> Vec<f32> {
    let mut sorted: Vec<f32> = logits.iter().copied().filter(|x| !x.is_nan()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted
}
