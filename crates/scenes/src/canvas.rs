//! The picture that a scene is painted on: a square of RGB in 0..=255, as f32 until it is done.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Rgb};

/// A colour, each channel in 0..=255.
pub(crate) type Colour = [f32; 3];

/// A square picture, row by row from the top left.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    side: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// Paints every pixel by its position in `[0, 1)` from the top left corner.
    pub(crate) fn paint(side: usize, mut colour: impl FnMut(f32, f32) -> Colour) -> Self {
        let scale = 1.0 / side.max(1) as f32;
        let mut pixels = Vec::with_capacity(side * side);
        for y in 0..side {
            for x in 0..side {
                pixels.push(colour(x as f32 * scale, y as f32 * scale));
            }
        }
        Self { side, pixels }
    }

    /// A small square grid of colours, smoothly enlarged.
    pub(crate) fn enlarge(side: usize, n: usize, mut colour: impl FnMut() -> Colour) -> Self {
        // `image` resizes f32 pixels within 0..=1.
        let grid: ImageBuffer<Rgb<f32>, Vec<f32>> =
            ImageBuffer::from_fn(n as u32, n as u32, |_, _| Rgb(colour().map(|v| v / 255.0)));
        let large = imageops::resize(&grid, side as u32, side as u32, FilterType::CatmullRom);
        Self {
            side,
            pixels: large.pixels().map(|p| p.0.map(|v| v * 255.0)).collect(),
        }
    }

    /// Pixels a side.
    pub(crate) fn side(&self) -> usize {
        self.side
    }

    /// The pixel, or none outside.
    pub(crate) fn get(&self, x: usize, y: usize) -> Option<Colour> {
        if x >= self.side {
            None
        } else {
            self.pixels.get(y * self.side + x).copied()
        }
    }

    /// The pixel to change, or none outside.
    pub(crate) fn get_mut(&mut self, x: usize, y: usize) -> Option<&mut Colour> {
        if x >= self.side {
            None
        } else {
            self.pixels.get_mut(y * self.side + x)
        }
    }

    /// Every pixel with its position in pixels.
    pub(crate) fn each(&mut self, mut change: impl FnMut(usize, usize, &mut Colour)) {
        let side = self.side.max(1);
        for (index, pixel) in self.pixels.iter_mut().enumerate() {
            change(index % side, index / side, pixel);
        }
    }

    /// Opaque RGBA bytes.
    pub(crate) fn to_rgba(&self) -> Vec<u8> {
        self.pixels
            .iter()
            .flat_map(|&[r, g, b]| [r as u8, g as u8, b as u8, 255])
            .collect()
    }
}

/// A square of smooth noise in about 0..=1: an `n × n` grid of random values, enlarged.
pub(crate) fn noise(side: usize, n: usize, mut value: impl FnMut() -> f32) -> Vec<f32> {
    let grid: ImageBuffer<Luma<f32>, Vec<f32>> =
        ImageBuffer::from_fn(n as u32, n as u32, |_, _| Luma([value()]));
    imageops::resize(&grid, side as u32, side as u32, FilterType::CatmullRom).into_raw()
}

/// Between two colours: `a` at 0, `b` at 1, beyond them outside.
pub(crate) fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enlarged_grid_keeps_its_colours_between_zero_and_full() {
        let mut flip = false;
        let canvas = Canvas::enlarge(64, 3, || {
            flip = !flip;
            if flip {
                [255.0, 128.0, 0.0]
            } else {
                [0.0, 128.0, 255.0]
            }
        });
        let rgba = canvas.to_rgba();
        assert_eq!(rgba.len(), 64 * 64 * 4);
        assert!(
            rgba.chunks(4)
                .all(|p| (127..=128).contains(&p[1]) && p[3] == 255)
        );
        // The top left cell's own colour is reached, not rounded to black or white.
        assert!(rgba[0] > 240 && rgba[2] < 15, "{:?}", &rgba[..4]);
        let middle = canvas.get(16, 0).unwrap();
        assert!(middle[0] > 20.0 && middle[0] < 235.0, "{middle:?}");
    }

    #[test]
    fn outside_is_nothing() {
        let mut canvas = Canvas::paint(4, |x, y| [x, y, 0.0]);
        assert_eq!(canvas.get(3, 3), Some([0.75, 0.75, 0.0]));
        assert_eq!(canvas.get(4, 0), None);
        assert!(canvas.get_mut(0, 4).is_none());
    }
}
