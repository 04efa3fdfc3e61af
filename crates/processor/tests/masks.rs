//! Masks pasted as Pillow does it, written down as pycocotools does it, and what is no mask.

mod common;

use std::collections::BTreeSet;

use common::{Random, fixtures, json, read};
use paligemma_processor::{AlphaMap, BinaryMask, Mask, PixelBox, Rle, RleError, detections};
use safetensors::SafeTensors;
use serde_json::Value;

fn numbers(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = tensors.tensor(name).expect("a fixture has its tensors");
    let (floats, _) = tensor.data().as_chunks::<4>();
    floats.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn list<const N: usize>(value: &Value) -> [u32; N] {
    serde_json::from_value::<Vec<u32>>(value.clone())
        .expect("numbers")
        .try_into()
        .expect("as many as there should be")
}

fn corners(area: Option<PixelBox>) -> Option<[u32; 4]> {
    area.map(|it| [it.x0, it.y0, it.x1, it.y1])
}

fn wanted_corners(value: &Value) -> Option<[u32; 4]> {
    (!value.is_null()).then(|| list(value))
}

/// Levels and pixels are Pillow's to the bit, runs pycocotools' to the character.
#[test]
fn both_ways_to_paste_are_those_of_the_references() {
    let folder = fixtures().join("masks");
    let bytes = read(folder.join("expected/masks.safetensors"));
    let tensors = SafeTensors::deserialize(&bytes).expect("a fixture is safetensors");
    let record = json(folder.join("masks.json"));
    let pastes = record["pastes"].as_array().expect("cases");
    assert_eq!(pastes.len(), 11);
    let (mut soft, mut hard, mut larger, mut smaller) = (0, 0, 0, 0);
    for (index, case) in pastes.iter().enumerate() {
        let name = case["mask"].as_str().expect("a name");
        let locations = list(&case["locations"]).map(|v| v as u16);
        let [width, height] = list(&case["size_wh"]);
        let numbers = numbers(&tensors, &format!("rounded.{name}"));
        let mask = Mask::new(numbers, locations, width, height).expect("a mask");

        let display_box = wanted_corners(&case["display_box"]);
        assert_eq!(corners(mask.display_box()), display_box, "{index}");
        match mask.alpha() {
            Some(AlphaMap {
                area,
                width,
                height,
                levels,
            }) => {
                let expected = tensors.tensor(&format!("levels.{index}")).expect("levels");
                let shape = [height as usize, width as usize];
                assert_eq!(expected.shape(), shape, "{index}");
                assert_eq!((area.width(), area.height()), (width, height));
                assert_eq!(levels, expected.data(), "{index}");
                soft += 1;
                larger += u32::from(width > 64 && height > 64);
                smaller += u32::from(width < 64 || height < 64);
            }
            None => assert_eq!(display_box, None),
        }

        let metric_box = wanted_corners(&case["metric_box"]);
        assert_eq!(corners(mask.metric_box()), metric_box, "{index}");
        match mask.binary() {
            Some(binary) => {
                let expected: Rle = serde_json::from_value(case["rle"].clone()).expect("runs");
                assert_eq!(binary.rle(), expected, "{index}");
                assert_eq!(binary.area(), case["area"].as_u64().expect("an area"));
                assert_eq!(expected.mask().as_ref(), Ok(&binary));
                hard += 1;
            }
            None => assert_eq!(metric_box, None),
        }
    }
    // Both variants, larger and smaller than the decoder's 64 by 64, and boxes without pixels.
    assert!(soft == 9 && hard == 11 && larger >= 2 && smaller >= 4);
}

/// From an answer's text to a mask: what has one, and what has none.
#[test]
fn objects_without_a_mask_are_defined() {
    let seg: String = (0..16).map(|i| format!("<seg{:03}>", i * 8)).collect();
    let good = format!("<loc0100><loc0200><loc0300><loc0400>{seg} cat");
    let cut = format!("<loc0100><loc0200><loc0300><loc0400>{} cat", &seg[..15 * 8]);
    let flat = format!("<loc0100><loc0200><loc0100><loc0400>{seg} cat");
    let turned = format!("<loc0300><loc0200><loc0100><loc0400>{seg} cat");
    let answer =
        format!("{good} ; {cut} ; {flat} ; {turned} ; {seg} cat ; {good} ; <loc0001><loc0002");
    let found = detections(&answer, 448, 448);
    let has_codes: Vec<bool> = found.iter().map(|it| it.mask_codes.is_some()).collect();
    // Seg tokens without a box are text; so is a tail.
    assert_eq!(has_codes, [true, false, false, false, true]);
    assert!(found.iter().all(|it| it.mask.is_none()));

    let numbers = vec![1.0; 64 * 64];
    let mask = |locations, width, height| Mask::new(&numbers[..], locations, width, height);
    let locations = found[0].locations;
    assert!(mask(locations, 448, 448).is_some());
    for (locations, width, height) in [
        (found[2].locations, 448, 448),
        (found[3].locations, 448, 448),
        ([0, 0, 1024, 1023], 448, 448),
        ([0, 0, u16::MAX, u16::MAX], 448, 448),
        (locations, 0, 448),
        (locations, 448, 0),
        (locations, u32::MAX, u32::MAX),
        (locations, 65_536, 1),
        (locations, 65_535, 65_535),
    ] {
        assert_eq!(
            mask(locations, width, height),
            None,
            "{locations:?} {width} {height}"
        );
    }
    for length in [0, 1, 4095, 4097] {
        assert_eq!(Mask::new(vec![1.0; length], locations, 448, 448), None);
    }

    // In a small picture the box is there and has no pixels.
    let thin = mask([500, 500, 503, 503], 10, 10).expect("a mask");
    assert_eq!((thin.display_box(), thin.metric_box()), (None, None));
    assert_eq!((thin.alpha(), thin.binary()), (None, None));
    // In the metric variant it may have some where the other has none.
    let edge = mask([0, 0, 1023, 1023], 1, 1).expect("a mask");
    assert_eq!(edge.binary().map(|it| it.area()), Some(1));
}

/// Numbers that are none, or huge: no panic, and no object where nothing is known.
#[test]
fn numbers_that_are_none_are_background() {
    for number in [f32::NAN, f32::NEG_INFINITY, -0.0, 0.0, -1e38] {
        let mask = Mask::new(vec![number; 4096], [0, 0, 1023, 1023], 30, 20).expect("a mask");
        assert_eq!(mask.binary().map(|it| it.area()), Some(0), "{number}");
        let levels = mask.alpha().expect("a map").levels;
        assert!(levels.iter().all(|&level| level <= 127), "{number}");
    }
    let mask = Mask::new(vec![1e38; 4096], [0, 0, 1023, 1023], 30, 20).expect("a mask");
    assert_eq!(mask.binary().map(|it| it.area()), Some(600));
    let levels = mask.alpha().expect("a map").levels;
    assert!(levels.iter().all(|&level| level == 255));
}

/// A picture of the longest side, with a mask over all of it: what is held stays small, and the map that is
/// looked at can be asked for small.
#[test]
fn a_mask_over_a_picture_of_the_longest_side() {
    let numbers: Vec<f32> = (0..4096)
        .map(|i| if i % 64 < 32 { 1.0 } else { -1.0 })
        .collect();
    let mask = Mask::new(numbers, [0, 0, 1023, 1023], 65_535, 512).expect("a mask");
    let binary = mask.binary().expect("pixels");
    // The sign changes in the middle of the middle column, which is on either side by rounding.
    assert!([32_767 * 512, 32_768 * 512].contains(&binary.area()));
    assert!(binary.rle().counts.len() < 32);
    let small = mask.alpha_within(100).expect("a map");
    assert_eq!((small.width, small.height), (100, 100));
    assert_eq!((small.area.width(), small.area.height()), (65_471, 512));
    assert_eq!(small.levels.len(), 10_000);
}

#[test]
fn pngs_hold_the_levels() {
    let numbers: Vec<f32> = (0..4096).map(|i| (i % 64) as f32 / 32.0 - 1.0).collect();
    let mask = Mask::new(numbers, [256, 128, 768, 512], 80, 60).expect("a mask");
    let alpha = mask.alpha().expect("a map");
    assert_eq!(corners(Some(alpha.area)), Some([10, 15, 40, 45]));

    let own = image::load_from_memory(&alpha.png()).expect("a PNG");
    let own = own.as_luma_alpha8().expect("grey with alpha");
    assert_eq!(own.dimensions(), (30, 30));
    let levels: Vec<u8> = own.pixels().map(|pixel| pixel.0[1]).collect();
    assert_eq!(levels, alpha.levels);
    assert!(own.pixels().all(|pixel| pixel.0[0] == 255));

    let whole = image::load_from_memory(&alpha.picture_png(80, 60)).expect("a PNG");
    let whole = whole.as_luma8().expect("grey");
    assert_eq!(whole.dimensions(), (80, 60));
    for (x, y, pixel) in whole.enumerate_pixels() {
        let inside = (10..40).contains(&x) && (15..45).contains(&y);
        let level = match inside {
            true => alpha.levels[((y - 15) * 30 + x - 10) as usize],
            false => 0,
        };
        assert_eq!(pixel.0, [level], "{x} {y}");
    }
    // A map that is smaller than its box, or a picture that is smaller than the map: nothing.
    let small = mask.alpha_within(7).expect("a map");
    for png in [small.picture_png(80, 60), alpha.picture_png(20, 20)] {
        let png = image::load_from_memory(&png).expect("a PNG");
        assert!(png.as_luma8().expect("grey").pixels().all(|p| p.0 == [0]));
    }
}

/// A mask of random blobs, holes among them.
fn blobs(random: &mut Random, width: u32, height: u32) -> BTreeSet<(u32, u32)> {
    let share = random.below(100);
    (0..width)
        .flat_map(|x| (0..height).map(move |y| (x, y)))
        .filter(|_| random.below(100) < share)
        .collect()
}

#[test]
fn runs_come_back_whatever_the_mask() {
    let mut random = Random(5);
    for (width, height) in [(1, 1), (1, 7), (7, 1), (5, 4), (13, 11), (40, 3), (3, 300)] {
        for _ in 0..20 {
            let pixels = blobs(&mut random, width, height);
            let mask = BinaryMask::new(width, height, |x, y| pixels.contains(&(x, y)));
            let mask = mask.expect("a mask");
            assert_eq!(mask.area(), pixels.len() as u64);
            assert_eq!(mask.rle().mask().as_ref(), Ok(&mask));
            let json = serde_json::to_value(mask.rle()).expect("JSON");
            assert_eq!(json["size"], serde_json::json!([height, width]));

            let others = blobs(&mut random, width, height);
            let other = BinaryMask::new(width, height, |x, y| others.contains(&(x, y)));
            let other = other.expect("a mask");
            let union = pixels.union(&others).count();
            let shared = pixels.intersection(&others).count();
            let expected = match union {
                0 => 0.0,
                _ => shared as f64 / union as f64,
            };
            assert_eq!(mask.iou(&other), expected);
            assert_eq!(other.iou(&mask), expected);
        }
    }
    let square = BinaryMask::new(4, 4, |_, _| true).expect("a mask");
    let flat = BinaryMask::new(8, 2, |_, _| true).expect("a mask");
    assert_eq!((square.iou(&square), square.iou(&flat)), (1.0, 0.0));
    assert_eq!(BinaryMask::new(0, 4, |_, _| true), None);
    assert_eq!(BinaryMask::new(65_535, 65_535, |_, _| true), None);
}

#[test]
fn counts_that_are_none_are_refused() {
    let read = |size, counts: &str| {
        let counts = counts.to_owned();
        Rle { size, counts }.mask()
    };
    // 16 pixels outside, none inside.
    let empty = BinaryMask::new(4, 4, |_, _| false).expect("a mask");
    assert_eq!(empty.rle().counts, "`0");
    assert_eq!(read([4, 4], "`0").as_ref(), Ok(&empty));
    for (size, counts) in [
        ([4, 4], ""),
        ([4, 4], "0"),
        ([4, 5], "`0"),
        ([0, 0], "0"),
        ([65_535, 65_535], "`0"),
        ([4, 4], "`"),
        ([4, 4], "`0 "),
        ([4, 4], "`0\u{7f}"),
        ([4, 4], "é"),
        ([4, 4], "O"),                    // -1
        ([4, 4], "ooooooooooooooooooo0"), // a number without end
        ([4, 4], "1O1"),
    ] {
        let error = read(size, counts).expect_err(counts).to_string();
        assert!(error.contains(": "), "{error}");
    }
    assert_eq!(read([4, 4], "`0 "), Err(RleError::Counts { at: 2 }));
}

/// The pixels that an even-odd fill of the outlines covers, row by row.
fn filled(polygons: &[Vec<[u32; 2]>], width: u32, height: u32) -> BTreeSet<(u32, u32)> {
    let mut crossings: BTreeSet<(u32, u32)> = BTreeSet::new();
    for polygon in polygons {
        for (i, &[x, y]) in polygon.iter().enumerate() {
            let [to_x, to_y] = polygon[(i + 1) % polygon.len()];
            assert!((x == to_x) != (y == to_y), "steps are along one axis");
            if x == to_x {
                for row in y.min(to_y)..y.max(to_y) {
                    assert!(crossings.insert((x, row)), "an edge is there twice");
                }
            }
        }
    }
    let mut pixels = BTreeSet::new();
    for y in 0..height {
        let mut inside = false;
        for x in 0..width {
            inside ^= crossings.contains(&(x, y));
            if inside {
                pixels.insert((x, y));
            }
        }
    }
    pixels
}

/// Twice the area, positive clockwise as one sees it.
fn doubled_area(polygon: &[[u32; 2]]) -> i64 {
    (0..polygon.len())
        .map(|i| {
            let [ax, ay] = polygon[i].map(i64::from);
            let [bx, by] = polygon[(i + 1) % polygon.len()].map(i64::from);
            ax * by - ay * bx
        })
        .sum()
}

#[test]
fn outlines_filled_are_the_mask_again() {
    let mut random = Random(6);
    for (width, height) in [(1, 1), (2, 2), (1, 9), (9, 1), (5, 6), (17, 13)] {
        for _ in 0..40 {
            let pixels = blobs(&mut random, width, height);
            let mask = BinaryMask::new(width, height, |x, y| pixels.contains(&(x, y)));
            let polygons = mask.expect("a mask").polygons();
            assert_eq!(filled(&polygons, width, height), pixels);
            // Holes run the other way, so areas add up.
            let area: i64 = polygons.iter().map(|it| doubled_area(it)).sum();
            assert_eq!(area, 2 * pixels.len() as i64);
            for polygon in &polygons {
                // Corners only.
                assert!(polygon.len() >= 4 && polygon.len().is_multiple_of(2));
            }
        }
    }
    // A ring: clockwise around it, the other way around its hole.
    let ring = BinaryMask::new(5, 5, |x, y| {
        (x, y) != (2, 2) && x.max(y) < 4 && x.min(y) > 0
    });
    let ring = ring.expect("a mask").polygons();
    assert_eq!(
        ring,
        [
            vec![[1, 1], [4, 1], [4, 4], [1, 4]],
            vec![[2, 2], [2, 3], [3, 3], [3, 2]]
        ]
    );
    // Two pixels that touch at a corner are two.
    let apart = BinaryMask::new(2, 2, |x, y| x == y).expect("a mask");
    assert_eq!(apart.polygons().len(), 2);
}
