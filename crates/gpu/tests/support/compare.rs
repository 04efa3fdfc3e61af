/// A number of a twin and how far from it a kernel's may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounded {
    pub(crate) value: f64,
    pub(crate) bound: f64,
}

/// The first number that is further away than its bound; NaN is far from everything.
fn disagreement(actual: &[f32], expected: &[Bounded]) -> Option<String> {
    assert_eq!(actual.len(), expected.len(), "as many numbers");
    actual
        .iter()
        .zip(expected)
        .enumerate()
        .find_map(|(i, (actual, expected))| {
            let distance = (f64::from(*actual) - expected.value).abs();
            let near = distance <= expected.bound;
            (!near).then(|| format!("number {i} is {actual}, expected {expected:?}"))
        })
}

/// A kernel's numbers are its twin's.
pub(crate) fn assert_agrees(what: &str, actual: &[f32], expected: &[Bounded]) {
    if let Some(difference) = disagreement(actual, expected) {
        panic!("{what}: {difference}");
    }
}

/// A twin with a deliberate mistake is told apart: the bounds are tight enough.
pub(crate) fn assert_differs(mistake: &str, actual: &[f32], expected: &[Bounded]) {
    assert!(
        disagreement(actual, expected).is_some(),
        "{mistake} would pass unnoticed"
    );
}

/// Bit for bit, so that NaN equals itself.
pub(crate) fn assert_same_bits(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}: as many numbers");
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let same = actual.to_bits() == expected.to_bits();
        assert!(same, "{what}: number {i} is {actual}, not {expected}");
    }
}
