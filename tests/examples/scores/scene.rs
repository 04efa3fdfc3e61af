//! Scenes of known content, made harder, and prompts that ask for things that are not there.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use paligemma_engine::{DecodedPicture, Detection, Picture};
use paligemma_scenes::{KINDS, Plan, SIDE, Truth, iou};

use crate::Outcome;

/// What is done to a scene.
pub(crate) struct Condition {
    pub(crate) name: &'static str,
    /// The scene's side as a share of the picture's.
    pub(crate) scale: f32,
    /// Most that noise adds to or takes from a level.
    pub(crate) noise: i32,
    /// How far contrast is kept.
    pub(crate) contrast: f32,
}

pub(crate) const CONDITIONS: [Condition; 4] = [
    Condition {
        name: "as composed",
        scale: 1.0,
        noise: 0,
        contrast: 1.0,
    },
    Condition {
        name: "small",
        scale: 0.5,
        noise: 0,
        contrast: 1.0,
    },
    Condition {
        name: "noise",
        scale: 1.0,
        noise: 110,
        contrast: 0.6,
    },
    Condition {
        name: "small, noise",
        scale: 0.6,
        noise: 60,
        contrast: 0.7,
    },
];

/// Kinds that a prompt asks for.
const ASKED: usize = 3;

/// A picture, what is asked about it, and what is there.
pub(crate) struct Scene {
    pub(crate) picture: Picture,
    pub(crate) prompt: String,
    asked: Vec<String>,
    truth: Truth,
}

impl Scene {
    pub(crate) fn compose(sprites: &Path, seed: u32, condition: usize) -> Outcome<Self> {
        let condition = &CONDITIONS[condition];
        let plan = Plan::new(seed);
        let mut glyphs = Vec::new();
        for name in plan.sprites() {
            let file = sprites.join(name);
            let glyph = image::open(&file)
                .map_err(|error| format!("cannot read the sprite {}: {error}", file.display()))?;
            glyphs.push(glyph.to_rgba8());
        }
        let mut scene = plan.paint(&glyphs);
        let side = u32::try_from(SIDE)?;
        let rgb: Vec<u8> = scene
            .rgba
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect();
        let whole = RgbImage::from_raw(side, side, rgb).ok_or("a scene of another size")?;
        let mut random = Random(u64::from(seed) << 8);
        let (left, top, inner) = corner(side, condition.scale, &mut random);
        let shrunk = imageops::resize(&whole, inner, inner, FilterType::Triangle);
        let mut picture = RgbImage::from_pixel(side, side, ground(&whole));
        imageops::replace(&mut picture, &shrunk, left.into(), top.into());
        for pixel in picture.pixels_mut() {
            for level in &mut pixel.0 {
                *level = spoiled(*level, condition, &mut random);
            }
        }
        for object in &mut scene.truth.objects {
            let scale = inner as f32 / side as f32;
            let [x0, y0, x1, y1] = object.bbox.map(|v| v * scale);
            let (left, top) = (left as f32, top as f32);
            object.bbox = [x0 + left, y0 + top, x1 + left, y1 + top];
        }
        let asked = asked(&scene.truth, &mut random);
        let picture = DecodedPicture::from_rgb(side, side, picture.into_raw())?;
        Ok(Self {
            picture: picture.into(),
            prompt: format!("detect {}", asked.join(" ; ")),
            asked,
            truth: scene.truth,
        })
    }

    /// How many things there are to find.
    pub(crate) fn expected(&self) -> usize {
        let is_asked = |label: &String| self.asked.contains(label);
        let objects = self.truth.objects.iter();
        objects.filter(|object| is_asked(&object.label)).count()
    }

    /// Intersection over union with each thing that has the detection's label; 0 for others.
    pub(crate) fn overlaps(&self, detection: &Detection) -> Vec<f32> {
        let objects = self.truth.objects.iter();
        objects
            .map(|object| match object.label == detection.label {
                true => iou(object.bbox, detection.bbox),
                false => 0.0,
            })
            .collect()
    }
}

/// Two kinds of the scene at most, and others up to [`ASKED`], in any order.
fn asked(truth: &Truth, random: &mut Random) -> Vec<String> {
    let mut there: Vec<String> = truth.labels().into_iter().map(str::to_owned).collect();
    random.shuffle(&mut there);
    there.truncate(2);
    while there.len() < ASKED {
        let kind = KINDS[random.below(KINDS.len() as u64) as usize]
            .name
            .to_owned();
        if !there.contains(&kind) && truth.count(&kind) == 0 {
            there.push(kind);
        }
    }
    random.shuffle(&mut there);
    there
}

/// Where a shrunk scene lies in the picture, and its side.
fn corner(side: u32, scale: f32, random: &mut Random) -> (u32, u32, u32) {
    let inner = (side as f32 * scale) as u32;
    let room = u64::from(side - inner) + 1;
    (random.below(room) as u32, random.below(room) as u32, inner)
}

/// A scene's corner pixel stands for its background.
fn ground(scene: &RgbImage) -> Rgb<u8> {
    *scene.get_pixel(0, 0)
}

fn spoiled(level: u8, condition: &Condition, random: &mut Random) -> u8 {
    let flat = 128.0 + (f32::from(level) - 128.0) * condition.contrast;
    let span = u64::from(2 * condition.noise.unsigned_abs() + 1);
    let noise = random.below(span) as i32 - condition.noise;
    (flat as i32 + noise).clamp(0, 255) as u8
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_asks_for_what_is_there_and_what_is_not() {
        let sprites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/demo/sprites");
        for (condition, made) in CONDITIONS.iter().enumerate() {
            let scene = Scene::compose(&sprites, 7, condition).unwrap();
            assert_eq!(scene.asked.len(), ASKED);
            let absent = scene
                .asked
                .iter()
                .filter(|kind| scene.truth.count(kind) == 0);
            assert!(absent.count() >= 1 && scene.expected() >= 1);
            let again = Scene::compose(&sprites, 7, condition).unwrap();
            assert_eq!(scene.prompt, again.prompt);
            for object in &scene.truth.objects {
                let [x0, y0, x1, y1] = object.bbox;
                assert!(0.0 <= x0 && x0 < x1 && x1 <= SIDE as f32, "{}", made.name);
                assert!(0.0 <= y0 && y0 < y1 && y1 <= SIDE as f32, "{}", made.name);
                let itself = Detection {
                    label: object.label.clone(),
                    bbox: object.bbox,
                    mask_codes: None,
                    locations: [0; 4],
                    mask: None,
                };
                assert!(scene.overlaps(&itself).contains(&1.0));
            }
        }
    }
}
