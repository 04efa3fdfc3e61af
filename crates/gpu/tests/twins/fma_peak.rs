/// The sum of 32 chains c = factor · c + addend that begin as i, i + 1 and so on, after `steps`.
pub(crate) fn fma_peak(i: usize, steps: usize, factor: f32, addend: f32) -> f64 {
    let (factor, addend) = (f64::from(factor), f64::from(addend));
    let chain = |k| (0..steps).fold((i + k) as f64, |c, _| factor * c + addend);
    (0..32).map(chain).sum()
}
