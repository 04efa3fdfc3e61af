//! Backgrounds of the kinds that the demo model was trained on: gradients, blobs, clouds, sky and
//! ground, stripes, wall and table, plain; some with faint shapes, some grainy.

use std::f32::consts::{PI, TAU};

use crate::canvas::{Canvas, Colour, mix, noise};
use crate::rng::Rng;

type Painter = fn(&mut Rng, usize) -> Canvas;

/// A background of random kind. Odds and ranges are those of the training scenes.
pub(crate) fn background(rng: &mut Rng, side: usize) -> Canvas {
    let kinds: [(f32, Painter); 7] = [
        (0.20, gradient),
        (0.15, blobs),
        (0.15, clouds),
        (0.20, sky_and_ground),
        (0.10, stripes),
        (0.10, wall_and_table),
        (0.10, plain),
    ];
    let paint = kinds[rng.weighted(&kinds.map(|(odds, _)| odds))].1;
    let mut canvas = paint(rng, side);
    if rng.chance(0.3) {
        faint_shapes(rng, &mut canvas);
    }
    if rng.chance(0.5) {
        let strength = rng.range(1.0, 10.0);
        canvas.each(|_, _, pixel| *pixel = pixel.map(|v| v + rng.normal() * strength));
    }
    canvas.each(|_, _, pixel| *pixel = pixel.map(|v| v.clamp(0.0, 255.0)));
    canvas
}

fn colour(rng: &mut Rng) -> Colour {
    let any = [rng.unit(), rng.unit(), rng.unit()].map(|v| v * 255.0);
    if rng.chance(0.5) {
        let depth = rng.range(0.2, 0.8);
        any.map(|v| 255.0 - (255.0 - v) * depth)
    } else {
        any
    }
}

fn gradient(rng: &mut Rng, side: usize) -> Canvas {
    let (from, to) = (colour(rng), colour(rng));
    let (sin, cos) = rng.range(0.0, TAU).sin_cos();
    Canvas::paint(side, |x, y| {
        mix(from, to, (x - 0.5) * cos + (y - 0.5) * sin + 0.5)
    })
}

fn blobs(rng: &mut Rng, side: usize) -> Canvas {
    let n = 2 + rng.below(5);
    Canvas::enlarge(side, n, || colour(rng))
}

fn clouds(rng: &mut Rng, side: usize) -> Canvas {
    let (from, to) = (colour(rng), colour(rng));
    let mut sum = vec![0.0; side * side];
    let (mut strength, mut total) = (1.0, 0.0);
    for n in [3, 6, 12, 24, 48] {
        let octave = noise(side, n, || rng.unit());
        for (sum, value) in sum.iter_mut().zip(octave) {
            *sum += strength * value;
        }
        total += strength;
        strength *= rng.range(0.4, 0.75);
    }
    let contrast = rng.range(1.0, 2.2);
    let mut values = sum.into_iter();
    Canvas::paint(side, |_, _| {
        let t = values.next().unwrap_or(0.5 * total) / total;
        mix(from, to, (t - 0.5) * contrast + 0.5)
    })
}

fn sky_and_ground(rng: &mut Rng, side: usize) -> Canvas {
    const GROUNDS: [Colour; 5] = [
        [90.0, 170.0, 70.0],
        [220.0, 200.0, 140.0],
        [70.0, 130.0, 200.0],
        [235.0, 240.0, 250.0],
        [120.0, 120.0, 125.0],
    ];
    let horizon = rng.range(0.35, 0.75);
    let mut high = [rng.range(90.0, 200.0), rng.range(150.0, 220.0), 255.0];
    let mut low = [
        rng.range(200.0, 255.0),
        rng.range(200.0, 240.0),
        rng.range(200.0, 255.0),
    ];
    if rng.chance(0.25) {
        (high, low) = ([15.0, 20.0, 60.0], [60.0, 50.0, 110.0]);
    }
    let ground = GROUNDS[rng.below(GROUNDS.len())];
    let brightness = rng.range(0.75, 1.1);
    let (waves, phase) = (rng.range(3.0, 14.0), rng.range(0.0, 6.0));
    let height = 0.04 * rng.unit();
    let texture = noise(side, 40, || rng.unit());
    let roughness = rng.range(0.0, 50.0);
    let mut texture = texture.into_iter();
    Canvas::paint(side, |x, y| {
        let rough = (texture.next().unwrap_or(0.5) - 0.5) * roughness;
        if y > horizon + height * (x * waves + phase).sin() {
            let shade = 1.1 - 0.35 * ((y - horizon) / (1.0 - horizon)).clamp(0.0, 1.0);
            ground.map(|v| v * brightness * shade + rough)
        } else {
            mix(high, low, (y / horizon).clamp(0.0, 1.0))
        }
    })
}

fn stripes(rng: &mut Rng, side: usize) -> Canvas {
    let from = colour(rng);
    let other = colour(rng);
    let to = mix(from, other, rng.range(0.1, 0.6));
    let (sin, cos) = rng.range(0.0, PI).sin_cos();
    let frequency = rng.range(4.0, 14.0) * PI;
    let checker = rng.chance(0.5);
    let sharpness = rng.range(1.0, 8.0);
    Canvas::paint(side, |x, y| {
        let mut t = ((x * cos + y * sin) * frequency).sin();
        if checker {
            t *= ((y * cos - x * sin) * frequency).sin();
        }
        mix(from, to, (t * sharpness).clamp(-1.0, 1.0) * 0.5 + 0.5)
    })
}

fn wall_and_table(rng: &mut Rng, side: usize) -> Canvas {
    let (wall, table) = (colour(rng), colour(rng));
    let edge = rng.range(0.4, 0.8);
    let texture = noise(side, 16, || rng.unit());
    let roughness = rng.range(0.0, 40.0);
    let mut texture = texture.into_iter();
    Canvas::paint(side, |_, y| {
        let rough = (texture.next().unwrap_or(0.5) - 0.5) * roughness;
        if y > edge {
            table.map(|v| v * (1.05 - 0.3 * y) + rough)
        } else {
            wall.map(|v| v * (0.85 + 0.2 * y) + rough)
        }
    })
}

fn plain(rng: &mut Rng, side: usize) -> Canvas {
    let only = colour(rng);
    Canvas::paint(side, |_, _| only)
}

/// Things that are nothing: half the background's own colour, so that the model learns to ignore
/// them.
fn faint_shapes(rng: &mut Rng, canvas: &mut Canvas) {
    let side = canvas.side() as f32;
    for _ in 0..1 + rng.below(4) {
        let (x, y) = (rng.range(0.0, side), rng.range(0.0, side));
        let r = rng.range(0.03, 0.2) * side;
        let under = canvas.get(x as usize, y as usize).unwrap_or([127.5; 3]);
        let fill = mix(colour(rng), under, 0.5).map(|v| v.clamp(0.0, 255.0));
        let kind = rng.weighted(&[0.4, 0.3, 0.3]);
        let variation = if kind == 0 {
            rng.range(0.4, 1.0)
        } else {
            rng.range(-1.0, 1.0)
        };
        let width = (side / 60.0).max(1.0);
        canvas.each(|px, py, pixel| {
            let (dx, dy) = (px as f32 + 0.5 - x, py as f32 + 0.5 - y);
            let inside = match kind {
                0 => {
                    // An ellipse whose top is nearer to (x, y) than its bottom.
                    let (up, down) = (r * variation, r);
                    let (centre, half) = ((down - up) / 2.0, (down + up) / 2.0);
                    (dx / r).powi(2) + ((dy - centre) / half).powi(2) <= 1.0
                }
                1 => dx.abs() <= r && dy.abs() <= r * 0.5,
                _ => near_segment(
                    (dx, dy),
                    (-2.0 * r, -r),
                    (2.0 * r, r * variation),
                    width / 2.0,
                ),
            };
            if inside {
                *pixel = fill;
            }
        });
    }
}

/// Whether a point is within `reach` of the segment from `a` to `b`.
fn near_segment(p: (f32, f32), a: (f32, f32), b: (f32, f32), reach: f32) -> bool {
    let (abx, aby) = (b.0 - a.0, b.1 - a.1);
    let (apx, apy) = (p.0 - a.0, p.1 - a.1);
    let along =
        ((apx * abx + apy * aby) / (abx * abx + aby * aby).max(f32::EPSILON)).clamp(0.0, 1.0);
    (apx - along * abx).hypot(apy - along * aby) <= reach
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_fills_the_square_with_finite_colours() {
        for paint in [
            gradient,
            blobs,
            clouds,
            sky_and_ground,
            stripes,
            wall_and_table,
            plain,
        ] {
            let mut canvas = paint(&mut Rng::new(11), 33);
            let mut count = 0;
            canvas.each(|_, _, pixel| {
                count += 1;
                assert!(
                    pixel
                        .iter()
                        .all(|v| v.is_finite() && (-300.0..600.0).contains(v))
                );
            });
            assert_eq!(count, 33 * 33);
        }
    }

    #[test]
    fn backgrounds_differ_between_seeds_and_not_within_one() {
        let paint = |seed| background(&mut Rng::new(seed), 32).to_rgba();
        assert_eq!(paint(1), paint(1));
        assert_ne!(paint(1), paint(2));
    }

    #[test]
    fn a_segment_has_round_ends() {
        let near = |p| near_segment(p, (0.0, 0.0), (10.0, 0.0), 1.0);
        assert!(near((5.0, 0.9)) && near((-0.9, 0.0)));
        assert!(!near((5.0, 1.1)) && !near((-1.1, 0.0)));
    }
}
