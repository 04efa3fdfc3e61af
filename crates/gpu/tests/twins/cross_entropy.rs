/// The loss of a row, with what its error depends on.
#[derive(Clone, Copy)]
pub(crate) struct Nats {
    pub(crate) value: f64,
    /// log Σ exp(x - highest).
    pub(crate) log: f64,
    /// How far the target is below the highest.
    pub(crate) below: f64,
    /// How far the terms of the sum are below the highest, weighted by their share of it.
    pub(crate) depth: f64,
}

/// log Σ exp(x) - x[target] of each row.
pub(crate) fn cross_entropy(x: &[f32], columns: usize, targets: &[u32]) -> Vec<Nats> {
    x.chunks(columns)
        .zip(targets)
        .map(|(row, &target)| {
            let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exps = row.iter().map(|x| (x - highest).exp());
            let total: f64 = exps.clone().sum();
            let depths = row.iter().zip(exps).map(|(x, exp)| (highest - x) * exp);
            let below = highest - row[target as usize];
            Nats {
                value: total.ln() + below,
                log: total.ln(),
                below,
                depth: depths.sum::<f64>() / total,
            }
        })
        .collect()
}
