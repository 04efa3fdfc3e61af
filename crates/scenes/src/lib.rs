//! Composes pictures of known content from sprites: scenes like those that the demo model was
//! trained on, and what is in them.
//!
//! Composing is plain arithmetic on pixels. [`Plan::new`] decides from the seed alone what the
//! scene shows, so that only the sprites it needs are loaded; [`Plan::paint`] paints it.

mod background;
mod canvas;
mod place;
mod rng;
mod sprite;
mod truth;
mod vocabulary;

use image::RgbaImage;

use crate::canvas::Canvas;
use crate::rng::Rng;
use crate::sprite::{Pose, Sprite};
pub use crate::truth::{Truth, TruthObject, iou};
pub use crate::vocabulary::{KINDS, Kind};

/// Pixels a side of a composed scene.
pub const SIDE: usize = 448;

/// The longest side of a thing as a share of the picture's, at most, by how many things there are.
const LARGEST: [f32; 4] = [0.72, 0.58, 0.48, 0.42];
/// And at least.
const SMALLEST: f32 = 0.2;

/// What a scene will show, before anything is painted.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u32,
    items: Vec<Item>,
    background: Rng,
    placing: Rng,
}

/// One thing of a plan.
#[derive(Clone, Debug)]
struct Item {
    kind: &'static Kind,
    variant: usize,
    pose: Pose,
    gain: [f32; 3],
    bias: f32,
}

/// A composed scene.
#[derive(Clone, Debug)]
pub struct Scene {
    /// `SIDE × SIDE` opaque RGBA pixels.
    pub rgba: Vec<u8>,
    /// What is in it.
    pub truth: Truth,
    /// Which thing each pixel shows, `SIDE × SIDE`: its place in the truth's objects plus one, or 0
    /// for the ground. A thing is where its sprite covers at least half of a pixel.
    pub owners: Vec<u8>,
}

impl Plan {
    /// Decides what the scene of this seed shows.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        let mut rng = Rng::new(u64::from(seed));
        let background = rng.fork();
        let placing = rng.fork();
        let kinds = choose_kinds(&mut rng);
        let largest = LARGEST[kinds.len().clamp(1, LARGEST.len()) - 1];
        let items = kinds
            .into_iter()
            .map(|kind| Item::draw(&mut rng, kind, largest))
            .collect();
        Self {
            seed,
            items,
            background,
            placing,
        }
    }

    /// File names of the sprites it needs, in the order in which [`Plan::paint`] wants them.
    #[must_use]
    pub fn sprites(&self) -> Vec<String> {
        self.items
            .iter()
            .map(|item| format!("{}_{}.png", item.kind.name, item.variant))
            .collect()
    }

    /// Paints the scene. A thing whose sprite is missing or finds no place is left out.
    #[must_use]
    pub fn paint(&self, glyphs: &[RgbaImage]) -> Scene {
        let mut canvas = background::background(&mut self.background.clone(), SIDE);
        let items: Vec<(&Item, Sprite)> = self
            .items
            .iter()
            .zip(glyphs)
            .map(|(item, glyph)| (item, sprite::pose(glyph, item.pose)))
            .collect();
        let sizes: Vec<_> = items
            .iter()
            .map(|(_, sprite)| (sprite.width() as usize, sprite.height() as usize))
            .collect();
        let places = place::place(&mut self.placing.clone(), &sizes, SIDE);
        let mut objects = Vec::new();
        let mut owners = vec![0; SIDE * SIDE];
        for (((item, sprite), (width, height)), place) in items.iter().zip(sizes).zip(places) {
            let Some((x, y)) = place else { continue };
            blend(&mut canvas, sprite, x, y, item);
            objects.push(TruthObject {
                label: item.kind.name.to_owned(),
                bbox: [x, y, x + width, y + height].map(|v| v as f32),
            });
            own(&mut owners, sprite, x, y, objects.len() as u8);
        }
        Scene {
            rgba: canvas.to_rgba(),
            truth: Truth {
                seed: Some(self.seed),
                width: SIDE as u32,
                height: SIDE as u32,
                objects,
            },
            owners,
        }
    }
}

impl Item {
    fn draw(rng: &mut Rng, kind: &'static Kind, largest: f32) -> Self {
        let variant = rng.below(kind.sprites);
        let angle = if rng.chance(0.8) {
            (rng.normal() * 10.0).clamp(-25.0, 25.0)
        } else {
            0.0
        };
        let flip = rng.chance(0.5);
        // Uniform in the logarithm: as many half as large as twice as large.
        let share = rng.range(SMALLEST.ln(), largest.ln()).exp();
        let overall = rng.range(0.9, 1.08);
        let gain = [0; 3].map(|_| overall * rng.range(0.94, 1.06));
        let bias = rng.range(-8.0, 8.0);
        Self {
            kind,
            variant,
            pose: Pose {
                angle,
                flip,
                longest: share * SIDE as f32,
            },
            gain,
            bias,
        }
    }
}

/// One to four things of one to three kinds.
fn choose_kinds(rng: &mut Rng) -> Vec<&'static Kind> {
    let count = 1 + rng.weighted(&[0.22, 0.30, 0.26, 0.22]);
    let mut pool: Vec<&'static Kind> = KINDS.iter().collect();
    rng.shuffle(&mut pool);
    pool.truncate(1 + rng.below(count.min(3)));
    let mut kinds = pool.clone();
    while kinds.len() < count {
        kinds.push(pool[rng.below(pool.len())]);
    }
    rng.shuffle(&mut kinds);
    kinds
}

fn blend(canvas: &mut Canvas, sprite: &Sprite, left: usize, top: usize, item: &Item) {
    for (x, y, pixel) in sprite.enumerate_pixels() {
        let [r, g, b, alpha] = pixel.0;
        if let Some(under) = canvas.get_mut(left + x as usize, top + y as usize) {
            for (channel, (under, premultiplied)) in under.iter_mut().zip([r, g, b]).enumerate() {
                let over = premultiplied * 255.0 * item.gain[channel] + item.bias * alpha;
                *under = (*under * (1.0 - alpha) + over).clamp(0.0, 255.0);
            }
        }
    }
}

/// Notes which pixels a thing covers by at least half; there are at most four things.
fn own(owners: &mut [u8], sprite: &Sprite, left: usize, top: usize, number: u8) {
    for (x, y, pixel) in sprite.enumerate_pixels() {
        let (x, y) = (left + x as usize, top + y as usize);
        if pixel.0[3] >= 0.5
            && x < SIDE
            && let Some(owner) = owners.get_mut(y * SIDE + x)
        {
            *owner = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::path::Path;

    fn glyphs(plan: &Plan) -> Vec<RgbaImage> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/demo/sprites");
        plan.sprites()
            .iter()
            .map(|name| image::open(folder.join(name)).unwrap().to_rgba8())
            .collect()
    }

    #[test]
    fn a_seed_names_one_scene() {
        let (a, b) = (Plan::new(7), Plan::new(7));
        assert_eq!(a.sprites(), b.sprites());
        let (a, b) = (a.paint(&glyphs(&a)), b.paint(&glyphs(&b)));
        assert_eq!(a.rgba, b.rgba);
        assert_eq!(a.truth, b.truth);
        assert_eq!(a.truth.seed, Some(7));
        let other = Plan::new(8);
        assert_ne!(a.rgba, other.paint(&glyphs(&other)).rgba);
    }

    #[test]
    fn scenes_have_the_counts_and_sizes_of_the_training_scenes() {
        let mut counts = [0; 5];
        for seed in 0..4_000 {
            let plan = Plan::new(seed);
            counts[plan.items.len()] += 1;
            let distinct: HashSet<_> = plan.items.iter().map(|item| item.kind.name).collect();
            assert!((1..=3).contains(&distinct.len()));
            for item in &plan.items {
                let share = item.pose.longest / SIDE as f32;
                assert!(share >= 0.199 && share <= LARGEST[plan.items.len() - 1] + 0.001);
                assert!(item.pose.angle.abs() <= 25.0);
            }
        }
        for (count, odds) in counts.iter().zip([0.0, 0.22, 0.30, 0.26, 0.22]) {
            assert!((*count as f32 / 4_000.0 - odds).abs() < 0.03, "{counts:?}");
        }
    }

    #[test]
    fn pixels_belong_to_the_thing_in_whose_box_they_are() {
        for seed in 0..12 {
            let plan = Plan::new(seed);
            let scene = plan.paint(&glyphs(&plan));
            let mut seen = vec![0; scene.truth.objects.len() + 1];
            for (at, owner) in scene.owners.iter().enumerate() {
                seen[usize::from(*owner)] += 1;
                let Some(object) = usize::from(*owner).checked_sub(1) else {
                    continue;
                };
                let [x0, y0, x1, y1] = scene.truth.objects[object].bbox;
                let (x, y) = ((at % SIDE) as f32, (at / SIDE) as f32);
                assert!(x >= x0 && x < x1 && y >= y0 && y < y1, "seed {seed}");
            }
            // Every thing fills a good part of its box.
            for (object, pixels) in scene.truth.objects.iter().zip(&seen[1..]) {
                let [x0, y0, x1, y1] = object.bbox;
                let share = *pixels as f32 / ((x1 - x0) * (y1 - y0));
                assert!(share > 0.2 && share <= 1.0, "seed {seed}: {share}");
            }
        }
    }

    #[test]
    fn the_truth_is_where_the_sprites_are() {
        for seed in 0..12 {
            let plan = Plan::new(seed);
            let empty = plan.paint(&[]);
            assert!(empty.truth.objects.is_empty());
            let full = plan.paint(&glyphs(&plan));
            assert!(!full.truth.objects.is_empty());
            let changed = |x: usize, y: usize| {
                let at = (y * SIDE + x) * 4;
                empty.rgba[at..at + 3] != full.rgba[at..at + 3]
            };
            let inside = |x: usize, y: usize, b: [f32; 4]| {
                let (x, y) = (x as f32, y as f32);
                x >= b[0] && x < b[2] && y >= b[1] && y < b[3]
            };
            for y in 0..SIDE {
                for x in 0..SIDE {
                    let covered = full.truth.objects.iter().any(|o| inside(x, y, o.bbox));
                    assert!(covered || !changed(x, y), "seed {seed}: ({x}, {y})");
                }
            }
            for object in &full.truth.objects {
                // Each side of the box is touched by the thing: the box is tight.
                let [x0, y0, x1, y1] = object.bbox.map(|v| v as usize);
                assert!((x0..x1).any(|x| changed(x, y0)) && (x0..x1).any(|x| changed(x, y1 - 1)));
                assert!((y0..y1).any(|y| changed(x0, y)) && (y0..y1).any(|y| changed(x1 - 1, y)));
            }
        }
    }
}
