/// The ids of the `count` highest logits that are not NaN, in falling order, of equal ones the
/// lower first. The twin of `top_parts` and `top`, which together are one operation.
pub(crate) fn top(logits: &[f32], count: usize) -> Vec<Option<usize>> {
    let mut ids: Vec<usize> = (0..logits.len())
        .filter(|&id| !logits[id].is_nan())
        .collect();
    ids.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    (0..count).map(|rank| ids.get(rank).copied()).collect()
}
