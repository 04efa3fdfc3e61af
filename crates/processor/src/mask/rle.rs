//! Runs as COCO writes them down.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::BinaryMask;

/// A mask in COCO's compressed form, as `pycocotools.mask` takes and gives it.
///
/// Runs go down the columns, outside first. Each length, from the fourth on as its difference from
/// the one two before, is written in groups of five bits, the lowest first, a sixth saying that
/// more follow, each group as one character from `0` on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rle {
    /// Height and width of the picture.
    pub size: [u32; 2],
    /// The runs.
    pub counts: String,
}

/// Why an [`Rle`] is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RleError {
    /// A character that stands for nothing, or an end in the middle of a number.
    #[error(
        "the mask's counts are damaged at character {at}: use counts as pycocotools writes them"
    )]
    Counts {
        /// Which, from 0.
        at: usize,
    },
    /// Runs that are longer or shorter than the picture.
    #[error(
        "the mask's counts do not cover a picture of {width} x {height} pixels: check its size"
    )]
    Size {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

impl BinaryMask {
    /// In COCO's compressed form.
    #[must_use]
    pub fn rle(&self) -> Rle {
        let runs = self.runs();
        let mut counts = String::new();
        for (index, run) in runs.iter().enumerate() {
            let before = if index > 2 { runs[index - 2] } else { 0 };
            let mut rest = i64::from(*run) - i64::from(before);
            loop {
                let group = (rest & 0x1f) as u8;
                rest >>= 5;
                // The highest bit of the last group is the sign.
                let is_last = rest == if group & 0x10 == 0 { 0 } else { -1 };
                let more = if is_last { 0 } else { 0x20 };
                counts.push(char::from(b'0' + (group | more)));
                if is_last {
                    break;
                }
            }
        }
        Rle {
            size: [self.height(), self.width()],
            counts,
        }
    }
}

impl Rle {
    /// The mask again.
    ///
    /// # Errors
    /// Counts that are damaged or do not cover the picture.
    pub fn mask(&self) -> Result<BinaryMask, RleError> {
        let [height, width] = self.size;
        let wrong_size = RleError::Size { width, height };
        let mut runs: Vec<u32> = Vec::new();
        let (mut number, mut shift) = (0i64, 0);
        for (at, byte) in self.counts.bytes().enumerate() {
            let damaged = RleError::Counts { at };
            let group = byte.checked_sub(b'0').filter(|group| *group < 64);
            let group = group.ok_or_else(|| damaged.clone())?;
            if shift > 30 {
                return Err(damaged);
            }
            number |= i64::from(group & 0x1f) << shift;
            shift += 5;
            if group & 0x20 != 0 {
                continue;
            }
            if group & 0x10 != 0 {
                number -= 1 << shift;
            }
            if runs.len() > 2 {
                number += i64::from(runs[runs.len() - 2]);
            }
            runs.push(u32::try_from(number).map_err(|_| damaged)?);
            (number, shift) = (0, 0);
        }
        if shift != 0 {
            return Err(RleError::Counts {
                at: self.counts.len(),
            });
        }
        BinaryMask::of_runs(width, height, &runs).ok_or(wrong_size)
    }
}
