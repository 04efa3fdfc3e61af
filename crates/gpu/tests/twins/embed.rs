/// scale · w\[id\] for each id, none for an id outside w `[_, columns]`.
pub(crate) fn embed(ids: &[u32], w: &[f32], columns: usize, scale: f32) -> Vec<Option<Vec<f64>>> {
    let scaled = |row: &[f32]| {
        row.iter()
            .map(|w| f64::from(scale) * f64::from(*w))
            .collect()
    };
    ids.iter()
        .map(|&id| w.chunks(columns).nth(id as usize).map(scaled))
        .collect()
}
