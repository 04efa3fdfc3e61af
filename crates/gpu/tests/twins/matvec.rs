use super::matmul::{Dot, matmul};

/// w · x for a single row x.
pub(crate) fn matvec(x: &[f32], w: &[f32]) -> Vec<Dot> {
    matmul(x, w, x.len())
}
