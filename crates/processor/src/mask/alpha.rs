//! A mask to look at.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{MASK_SIDE, Mask, PixelBox};
use crate::resize::resize;

/// How much of each pixel of a box is the object: soft at the edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlphaMap {
    /// The pixels of the picture that it covers; everywhere else alpha is 0.
    pub area: PixelBox,
    /// Columns of `levels`.
    pub width: u32,
    /// Rows of `levels`.
    pub height: u32,
    /// `[height, width]`, row by row, 255 for all of a pixel. As large as `area`, unless a smaller
    /// map was asked for, which is to be stretched over it.
    pub levels: Vec<u8>,
}

impl Mask {
    /// The mask as Google's demo draws it: m / 2 + 1/2 clipped to 0 and 1, in 8 bits, stretched
    /// over the box with Pillow's bicubic filter. The map is as large as the box, which may be the
    /// whole picture. `None` where nothing is left of the box.
    #[must_use]
    pub fn alpha(&self) -> Option<AlphaMap> {
        self.alpha_within(u32::MAX)
    }

    /// The same with at most `most` levels a side, for a box that is larger: the 64 numbers a side
    /// have no more detail than a few hundred levels show.
    #[must_use]
    pub fn alpha_within(&self, most: u32) -> Option<AlphaMap> {
        let area = self.display_box()?;
        let (width, height) = (
            area.width().min(most.max(1)),
            area.height().min(most.max(1)),
        );
        // f32 and truncation, as NumPy does it; what is not a number becomes 0.
        let levels: Vec<u8> = self
            .numbers
            .iter()
            .map(|m| ((0.5 * m + 0.5).clamp(0.0, 1.0) * 255.0) as u8)
            .collect();
        let size = (width as usize, height as usize);
        Some(AlphaMap {
            area,
            width,
            height,
            levels: resize::<1>(&levels, (MASK_SIDE, MASK_SIDE), size),
        })
    }
}

impl AlphaMap {
    /// The map as a PNG of its own size: white, with the levels as alpha.
    #[must_use]
    pub fn png(&self) -> Vec<u8> {
        let pixels: Vec<u8> = self.levels.iter().flat_map(|&level| [255, level]).collect();
        encode(&pixels, self.width, self.height, ExtendedColorType::La8)
    }

    /// A PNG of the whole picture, `width` by `height` pixels: grey, the levels where the box is
    /// and black elsewhere. A map that is smaller than its box leaves it black as well.
    #[must_use]
    pub fn picture_png(&self, width: u32, height: u32) -> Vec<u8> {
        let mut pixels = vec![0; width as usize * height as usize];
        let is_whole = self.width == self.area.width() && self.height == self.area.height();
        if is_whole && self.area.x1 <= width && self.area.y1 <= height {
            let rows = pixels
                .chunks_exact_mut(width.max(1) as usize)
                .skip(self.area.y0 as usize);
            let levels = self.levels.chunks_exact(self.width.max(1) as usize);
            for (row, levels) in rows.zip(levels) {
                row[self.area.x0 as usize..self.area.x1 as usize].copy_from_slice(levels);
            }
        }
        encode(&pixels, width, height, ExtendedColorType::L8)
    }
}

/// Bytes that are as many as the size says are all that the encoder asks for; with others, which
/// cannot come from here, the PNG is empty.
fn encode(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
    let mut png = Vec::new();
    if PngEncoder::new(&mut png)
        .write_image(pixels, width, height, colour)
        .is_err()
    {
        png.clear();
    }
    png
}
