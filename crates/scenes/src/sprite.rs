//! A sprite as it stands in a scene: flipped, turned, cut to its tight box, scaled.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgba, RgbaImage};

/// RGBA in 0..=1, colour multiplied by alpha, so that neither turning nor scaling pulls the
/// colour of transparent pixels into an edge.
pub(crate) type Sprite = ImageBuffer<Rgba<f32>, Vec<f32>>;

/// How a sprite is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pose {
    /// Degrees, counter-clockwise.
    pub(crate) angle: f32,
    /// Mirrored, left to right.
    pub(crate) flip: bool,
    /// Length of the longer side of its tight box, in pixels of the scene.
    pub(crate) longest: f32,
}

/// The sprite in its pose; its bounds are its box (alpha above one half), which is the scene's
/// ground truth.
pub(crate) fn pose(glyph: &RgbaImage, pose: Pose) -> Sprite {
    let mut sprite = premultiply(glyph);
    if pose.flip {
        imageops::flip_horizontal_in_place(&mut sprite);
    }
    if pose.angle.abs() > 0.3 {
        sprite = turn(&sprite, pose.angle);
    }
    let sprite = tight(&sprite);
    let (width, height) = sprite.dimensions();
    let scale = pose.longest / width.max(height).max(1) as f32;
    let scaled = |length: u32| ((length as f32 * scale).round() as u32).max(4);
    imageops::resize(&sprite, scaled(width), scaled(height), FilterType::Lanczos3)
}

fn premultiply(glyph: &RgbaImage) -> Sprite {
    ImageBuffer::from_fn(glyph.width(), glyph.height(), |x, y| {
        let [r, g, b, a] = glyph.get_pixel(x, y).0.map(|v| f32::from(v) / 255.0);
        Rgba([r * a, g * a, b * a, a])
    })
}

/// The part whose alpha is above one half; the whole where there is none.
fn tight(sprite: &Sprite) -> Sprite {
    let (mut x0, mut y0, mut x1, mut y1) = (u32::MAX, u32::MAX, 0, 0);
    for (x, y, pixel) in sprite.enumerate_pixels() {
        if pixel.0[3] > 127.5 / 255.0 {
            (x0, y0) = (x0.min(x), y0.min(y));
            (x1, y1) = (x1.max(x + 1), y1.max(y + 1));
        }
    }
    if x0 >= x1 {
        return sprite.clone();
    }
    imageops::crop_imm(sprite, x0, y0, x1 - x0, y1 - y0).to_image()
}

/// Turned about its centre on a canvas large enough for all of it, with bicubic sampling.
fn turn(sprite: &Sprite, degrees: f32) -> Sprite {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = (sprite.width() as f32, sprite.height() as f32);
    let new_width = (width * cos.abs() + height * sin.abs()).ceil();
    let new_height = (width * sin.abs() + height * cos.abs()).ceil();
    ImageBuffer::from_fn(new_width as u32, new_height as u32, |x, y| {
        let dx = x as f32 + 0.5 - new_width / 2.0;
        let dy = y as f32 + 0.5 - new_height / 2.0;
        sample(
            sprite,
            cos * dx - sin * dy + width / 2.0,
            sin * dx + cos * dy + height / 2.0,
        )
    })
}

/// Bicubic sample at a point, pixel centres at halves; transparent outside.
fn sample(sprite: &Sprite, x: f32, y: f32) -> Rgba<f32> {
    let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
    let (fx, fy) = (x - 0.5 - left, y - 0.5 - top);
    let mut sum = [0.0f32; 4];
    for row in -1..=2 {
        let wy = catmull_rom(row as f32 - fy);
        for column in -1..=2 {
            let (px, py) = (left as i64 + column, top as i64 + row);
            let (Ok(px), Ok(py)) = (u32::try_from(px), u32::try_from(py)) else {
                continue;
            };
            if let Some(pixel) = sprite.get_pixel_checked(px, py) {
                let weight = wy * catmull_rom(column as f32 - fx);
                for (sum, value) in sum.iter_mut().zip(pixel.0) {
                    *sum += weight * value;
                }
            }
        }
    }
    Rgba(sum.map(|v| v.clamp(0.0, 1.0)))
}

/// Keys' cubic with a = -1/2.
fn catmull_rom(t: f32) -> f32 {
    let t = t.abs();
    if t < 1.0 {
        (1.5 * t - 2.5) * t * t + 1.0
    } else if t < 2.0 {
        ((2.5 - 0.5 * t) * t - 4.0) * t + 2.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An opaque rectangle in the middle of a transparent square.
    fn bar(width: u32, height: u32) -> RgbaImage {
        RgbaImage::from_fn(100, 100, |x, y| {
            let inside = x.abs_diff(50) * 2 < width && y.abs_diff(50) * 2 < height;
            image::Rgba(if inside {
                [200, 100, 50, 255]
            } else {
                [0, 0, 0, 0]
            })
        })
    }

    #[test]
    fn the_longer_side_is_as_long_as_asked() {
        let sprite = pose(
            &bar(61, 31),
            Pose {
                angle: 0.0,
                flip: false,
                longest: 150.0,
            },
        );
        assert_eq!(sprite.dimensions(), (150, 76));
    }

    #[test]
    fn turning_turns_the_box() {
        let upright = pose(
            &bar(61, 31),
            Pose {
                angle: 90.0,
                flip: false,
                longest: 122.0,
            },
        );
        assert_eq!(upright.height(), 122);
        assert!(upright.width().abs_diff(62) <= 2, "{}", upright.width());
        let turned = pose(
            &bar(61, 31),
            Pose {
                angle: 25.0,
                flip: false,
                longest: 100.0,
            },
        );
        // A 61 × 31 rectangle by 25 degrees: 68.4 × 53.9.
        let ratio = turned.height() as f32 / turned.width() as f32;
        assert!((ratio - 53.9 / 68.4).abs() < 0.04, "{ratio}");
    }

    #[test]
    fn an_edge_keeps_the_colour_of_the_shape() {
        let sprite = pose(
            &bar(61, 31),
            Pose {
                angle: 20.0,
                flip: true,
                longest: 40.0,
            },
        );
        let mut edges = 0;
        for Rgba([r, g, _, a]) in sprite.pixels() {
            if (0.2..0.8).contains(a) {
                edges += 1;
                assert!((r / a - 200.0 / 255.0).abs() < 0.06, "{r} of {a}");
                assert!((g / a - 100.0 / 255.0).abs() < 0.06, "{g} of {a}");
            }
        }
        assert!(edges > 10, "{edges}");
    }

    #[test]
    fn an_empty_sprite_does_no_harm() {
        let empty = RgbaImage::new(10, 10);
        assert_eq!(
            pose(
                &empty,
                Pose {
                    angle: 0.0,
                    flip: false,
                    longest: 20.0
                }
            )
            .dimensions(),
            (20, 20)
        );
    }
}
