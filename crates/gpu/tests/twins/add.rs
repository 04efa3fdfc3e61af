/// x + y.
pub(crate) fn add(x: &[f32], y: &[f32]) -> Vec<f64> {
    let sum = |(x, y): (&f32, &f32)| f64::from(*x) + f64::from(*y);
    x.iter().zip(y).map(sum).collect()
}
