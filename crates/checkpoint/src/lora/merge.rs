//! `W + scale · B·A` for some rows of W.

use crate::quantize::{narrow, widen};
use crate::tensor::Dtype;

/// A weight that came out too large for the type it is stored in, or no number at all.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct NotANumber {
    /// Which row of those given.
    pub(super) row: usize,
    /// What it came out as.
    pub(super) value: f32,
}

/// The two matrices of one module, in f32.
#[derive(Debug)]
pub(crate) struct Pair {
    /// A `[rank, in]`.
    pub(super) a: Vec<f32>,
    /// B `[out, rank]`.
    pub(super) b: Vec<f32>,
    pub(super) rank: usize,
    pub(super) scale: f32,
}

impl Pair {
    /// Adds to whole rows of `columns` weights, the first of which is row `first` of the layer.
    /// They are stored little-endian as `dtype` and are so again afterwards, rounded to nearest,
    /// ties to even.
    pub(super) fn add_to(
        &self,
        first: usize,
        dtype: Dtype,
        columns: usize,
        bytes: &mut [u8],
    ) -> Result<(), NotANumber> {
        let factors = self.b.get(first * self.rank..).unwrap_or_default();
        let mut weights = vec![0.0; columns];
        let mut change = vec![0.0; columns];
        let rows = bytes.chunks_exact_mut((columns * dtype.size()).max(1));
        for (row, (bytes, factors)) in rows.zip(factors.chunks_exact(self.rank)).enumerate() {
            change.fill(0.0);
            for (factor, inputs) in factors.iter().zip(self.a.chunks_exact(columns)) {
                for (sum, input) in change.iter_mut().zip(inputs) {
                    *sum += factor * input;
                }
            }
            widen(dtype, bytes, &mut weights);
            for (weight, change) in weights.iter_mut().zip(&change) {
                *weight += self.scale * change;
            }
            narrow(dtype, &weights, bytes).map_err(|value| NotANumber { row, value })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        Pair {
            a: vec![1.0, 2.0, 3.0, -1.0, 0.5, 0.0],
            b: vec![1.0, 0.0, 2.0, 4.0],
            rank: 2,
            scale: 0.5,
        }
    }

    #[test]
    fn rows_are_added_to_wherever_they_begin() {
        let bytes =
            |weights: &[f32]| -> Vec<u8> { weights.iter().flat_map(|w| w.to_le_bytes()).collect() };
        let mut both = bytes(&[10.0; 6]);
        pair().add_to(0, Dtype::F32, 3, &mut both).expect("numbers");
        // Row 0: 0.5 · (1, 2, 3). Row 1: 0.5 · (2·(1, 2, 3) + 4·(-1, 0.5, 0)).
        assert_eq!(both, bytes(&[10.5, 11.0, 11.5, 9.0, 13.0, 13.0]));
        let mut second = bytes(&[10.0; 3]);
        let done = pair().add_to(1, Dtype::F32, 3, &mut second);
        done.expect("numbers");
        assert_eq!(second, both[12..]);
    }

    #[test]
    fn the_sum_is_rounded_once_to_the_stored_type() {
        // 1 + 0.5 · 2⁻⁷ lies half-way between two bf16: to the even one. With a little more it
        // goes up, although the little more alone is less than half a step.
        for (change, expected) in [(1.0 / 256.0, 0x3f80), (1.0 / 256.0 + 1e-6, 0x3f81)] {
            let pair = Pair {
                a: vec![1.0],
                b: vec![change],
                rank: 1,
                scale: 1.0,
            };
            let mut bytes = 0x3f80_u16.to_le_bytes();
            let done = pair.add_to(0, Dtype::BF16, 1, &mut bytes);
            done.expect("numbers");
            assert_eq!(u16::from_le_bytes(bytes), expected);
        }
    }

    #[test]
    fn what_the_stored_type_cannot_hold_is_an_error() {
        let pair = |b| Pair {
            a: vec![1.0],
            b: vec![b],
            rank: 1,
            scale: 1.0,
        };
        for (dtype, b) in [
            (Dtype::F16, 1e5),
            (Dtype::BF16, f32::NAN),
            (Dtype::F32, f32::INFINITY),
        ] {
            let bytes = &mut [0; 4][..dtype.size()];
            let error = pair(b).add_to(0, dtype, 1, bytes).expect_err("too large");
            assert_eq!(error.row, 0, "{dtype:?}");
        }
    }
}
