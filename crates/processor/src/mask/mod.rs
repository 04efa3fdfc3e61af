//! What the mask decoder gives, pasted onto the picture.
//!
//! There are two ways to paste, and both are published. Google's demo (the Hugging Face Space) is
//! made to be looked at: [`Mask::alpha`]. big_vision's evaluator is what mIoU figures come from:
//! [`Mask::binary`]. They differ in where the box lies, by up to a 1024th of a side, and in how the
//! 64 by 64 numbers are stretched.

mod alpha;
mod binary;
mod outline;
mod rle;

use std::sync::Arc;

pub use alpha::AlphaMap;
pub use binary::BinaryMask;
pub use rle::{Rle, RleError};

use crate::picture::Picture;

/// Numbers a side of what the mask decoder gives.
pub const MASK_SIDE: usize = 64;

/// Numbers of it.
const NUMBERS: usize = MASK_SIDE * MASK_SIDE;

/// An object's mask as the decoder gives it, and where it belongs. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// `[64, 64]`, row by row from the top: above 0 is the object, nominally 1, and below is not,
    /// nominally -1.
    numbers: Arc<[f32]>,
    /// y0, x0, y1, x1, in 1024ths as the model writes them.
    locations: [u16; 4],
    width: u32,
    height: u32,
}

/// Whole pixels of a picture: columns `x0..x1`, rows `y0..y1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelBox {
    /// First column.
    pub x0: u32,
    /// First row.
    pub y0: u32,
    /// Column after the last.
    pub x1: u32,
    /// Row after the last.
    pub y1: u32,
}

impl PixelBox {
    /// Columns.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.x1.saturating_sub(self.x0)
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.y1.saturating_sub(self.y0)
    }

    /// The pixels between locations `[y0, x0, y1, x1]`, a side at a time; none if they are on the
    /// wrong side of each other or fall onto one pixel.
    fn of([y0, x0, y1, x1]: [u16; 4], pixels: impl Fn(u16, Side) -> u32) -> Option<Self> {
        let this = Self {
            x0: pixels(x0, Side::Width),
            y0: pixels(y0, Side::Height),
            x1: pixels(x1, Side::Width),
            y1: pixels(y1, Side::Height),
        };
        (this.x0 < this.x1 && this.y0 < this.y1).then_some(this)
    }
}

#[derive(Clone, Copy)]
enum Side {
    Width,
    Height,
}

impl Mask {
    /// `numbers` are the decoder's, 64 rows of 64; `locations` are y0, x0, y1, x1 as the model
    /// wrote them, each below 1024; width and height are the upright picture's.
    ///
    /// `None` for another number of numbers, for locations without width or height or outside of
    /// the picture, and for a picture that [`Picture`] would refuse.
    #[must_use]
    pub fn new(
        numbers: impl Into<Arc<[f32]>>,
        locations: [u16; 4],
        width: u32,
        height: u32,
    ) -> Option<Self> {
        let numbers = numbers.into();
        let [y0, x0, y1, x1] = locations;
        let is_box = x0 < x1 && y0 < y1 && x1 < 1024 && y1 < 1024;
        let is_picture = (1..=Picture::MAX_SIDE).contains(&width)
            && (1..=Picture::MAX_SIDE).contains(&height)
            && u64::from(width) * u64::from(height) <= Picture::MAX_PIXELS;
        (numbers.len() == NUMBERS && is_box && is_picture).then_some(Self {
            numbers,
            locations,
            width,
            height,
        })
    }

    /// The decoder's numbers, `[64, 64]`.
    #[must_use]
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// Pixels of the picture, width and height.
    #[must_use]
    pub fn picture_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn side(&self, side: Side) -> f64 {
        f64::from(match side {
            Side::Width => self.width,
            Side::Height => self.height,
        })
    }

    /// Where the demo pastes: v / 1024 of the side, rounded as Python rounds, halves to even.
    /// `None` where nothing is left of the box.
    #[must_use]
    pub fn display_box(&self) -> Option<PixelBox> {
        PixelBox::of(self.locations, |v, side| {
            (f64::from(v) / 1024.0 * self.side(side)).round_ties_even() as u32
        })
    }

    /// Where the evaluator pastes: v / 1023 of the side, truncated. `None` where nothing is left
    /// of the box; the evaluator counts that as no overlap at all.
    #[must_use]
    pub fn metric_box(&self) -> Option<PixelBox> {
        PixelBox::of(self.locations, |v, side| {
            (f64::from(v) / 1023.0 * self.side(side)) as u32
        })
    }
}
