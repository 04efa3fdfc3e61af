//! A mask to measure.

use super::{MASK_SIDE, Mask};
use crate::picture::Picture;
use crate::resize::columns;

/// Which pixels of a picture are the object, as runs: small however large the picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryMask {
    width: u32,
    height: u32,
    /// Lengths of runs down the columns, from the left one on: outside, inside, outside, …. Only
    /// the first may be 0; their sum is the picture's pixels.
    runs: Vec<u32>,
}

impl Mask {
    /// The mask as big_vision's evaluator pastes it: stretched over the box with Pillow's bilinear
    /// filter, above 0 the object. `None` where nothing is left of the box.
    #[must_use]
    pub fn binary(&self) -> Option<BinaryMask> {
        let area = self.metric_box()?;
        let mut builder = Builder::new(self.width, self.height);
        builder.push(false, u64::from(area.x0) * u64::from(self.height));
        let size = (area.width() as usize, area.height() as usize);
        let below = self.height - area.y1;
        columns(&self.numbers, (MASK_SIDE, MASK_SIDE), size, |column| {
            builder.push(false, area.y0.into());
            for number in column {
                builder.push(*number > 0.0, 1);
            }
            builder.push(false, below.into());
        });
        Some(builder.finish())
    }
}

impl BinaryMask {
    /// The pixels for which `inside` says so, called with x and y. `None` for a picture that
    /// [`Picture`] would refuse.
    pub fn new(width: u32, height: u32, inside: impl Fn(u32, u32) -> bool) -> Option<Self> {
        if !is_picture(width, height) {
            return None;
        }
        let mut builder = Builder::new(width, height);
        for x in 0..width {
            for y in 0..height {
                builder.push(inside(x, y), 1);
            }
        }
        Some(builder.finish())
    }

    /// From lengths of runs, of which some may be 0; `None` unless they cover the picture.
    pub(super) fn of_runs(width: u32, height: u32, runs: &[u32]) -> Option<Self> {
        let sum: u64 = runs.iter().map(|&run| u64::from(run)).sum();
        if !is_picture(width, height) || sum != u64::from(width) * u64::from(height) {
            return None;
        }
        let mut builder = Builder::new(width, height);
        for (index, run) in runs.iter().enumerate() {
            builder.push(index % 2 == 1, (*run).into());
        }
        Some(builder.finish())
    }

    /// Pixels a row of the picture.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows of the picture.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    pub(super) fn runs(&self) -> &[u32] {
        &self.runs
    }

    /// Where the object is, in pixels counted down the columns: begin and end of each run.
    fn spans(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut at = 0;
        self.runs
            .iter()
            .enumerate()
            .filter_map(move |(index, run)| {
                let begin = at;
                at += u64::from(*run);
                (index % 2 == 1).then_some((begin, at))
            })
    }

    /// The same column by column: x, first row, row after the last.
    pub(super) fn column_spans(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        let height = u64::from(self.height);
        self.spans().flat_map(move |(begin, end)| {
            (begin / height..end.div_ceil(height)).map(move |x| {
                let top = begin.saturating_sub(x * height);
                let bottom = (end - x * height).min(height);
                // Below the picture's sides, which are u32.
                (x as u32, top as u32, bottom as u32)
            })
        })
    }

    /// Pixels of the object.
    #[must_use]
    pub fn area(&self) -> u64 {
        self.spans().map(|(begin, end)| end - begin).sum()
    }

    /// Intersection over union; 0 when both are empty, or the pictures have other sizes.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f64 {
        if (self.width, self.height) != (other.width, other.height) {
            return 0.0;
        }
        let mut shared = 0;
        let mut others = other.spans().peekable();
        for (begin, end) in self.spans() {
            while let Some(&(from, to)) = others.peek() {
                shared += end.min(to).saturating_sub(begin.max(from));
                if to > end {
                    break;
                }
                others.next();
            }
        }
        let union = self.area() + other.area() - shared;
        if union == 0 {
            return 0.0;
        }
        shared as f64 / union as f64
    }
}

fn is_picture(width: u32, height: u32) -> bool {
    let sides = 1..=Picture::MAX_SIDE;
    sides.contains(&width)
        && sides.contains(&height)
        && u64::from(width) * u64::from(height) <= Picture::MAX_PIXELS
}

/// Makes runs of pixels. The picture is one that [`is_picture`], so a run fits 32 bits.
struct Builder {
    mask: BinaryMask,
    is_inside: bool,
    length: u64,
}

impl Builder {
    fn new(width: u32, height: u32) -> Self {
        Self {
            mask: BinaryMask {
                width,
                height,
                runs: Vec::new(),
            },
            is_inside: false,
            length: 0,
        }
    }

    fn push(&mut self, is_inside: bool, length: u64) {
        if length == 0 {
            return;
        }
        if is_inside != self.is_inside {
            self.mask.runs.push(self.length as u32);
            self.is_inside = is_inside;
            self.length = 0;
        }
        self.length += length;
    }

    fn finish(mut self) -> BinaryMask {
        let pixels = u64::from(self.mask.width) * u64::from(self.mask.height);
        let so_far: u64 = self.mask.runs.iter().map(|&run| u64::from(run)).sum();
        // What comes after the last push is outside.
        self.push(false, pixels.saturating_sub(so_far + self.length));
        self.mask.runs.push(self.length as u32);
        self.mask
    }
}
