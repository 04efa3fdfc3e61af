//! Every file of `preprocess/` against its `pil12` variant: Pillow 12's bicubic, horizontal pass first.

mod common;

use common::{fixtures, json, read, tensor, usize_of};
use image::{DynamicImage, ImageDecoder, ImageReader};
use paligemma_processor::{ImageProcessor, Picture};
use safetensors::SafeTensors;
use serde_json::Value;

/// What two JPEG decoders may differ by, in levels.
///
/// The standard leaves the rounding of the inverse cosine transform open: Y, Cb and Cr may each come
/// out one apart. Blue is Y + 1.772 Cb, so that is up to 2.772, and rounded to bytes 3. The resize
/// averages such differences of either sign. Measured on the files here: 3 in the photograph with
/// halved chroma at 224, 2 and 1 in all others.
const JPEG_LEVELS: u8 = 3;
/// The same on average, which tells rounding from a mistake: measured 0.25 in that photograph, which
/// is noise; 0.03 at most in the pictures with whole chroma.
const JPEG_MEAN: f64 = 0.5;

fn file(name: &str) -> Vec<u8> {
    read(fixtures().join("preprocess/files").join(name))
}

fn decode(name: &str) -> Picture {
    Picture::decode(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Our resize of a picture, as `[size, size, 3]`.
fn resized(picture: &Picture, size: usize) -> Vec<u8> {
    let processor = ImageProcessor::siglip(size).expect("a sensible size");
    processor.resize(picture)
}

/// The files with their sizes, expected levels as `[size, size, 3]`.
fn expected() -> Vec<(String, usize, Vec<u8>)> {
    let folder = fixtures().join("preprocess");
    let bytes = read(folder.join("expected.safetensors"));
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut all = Vec::new();
    for (name, entry) in json(folder.join("preprocess.json"))
        .as_object()
        .expect("files")
    {
        for (size, variants) in entry["results"].as_object().expect("sizes") {
            let mut variant = &variants["pil12"];
            while let Value::String(other) = &variant["same_as"] {
                variant = &variants[other];
            }
            let key = variant["key"].as_str().expect("a key");
            let (shape, planes) = tensor(&tensors, key);
            let size: usize = size.parse().expect("a size");
            assert_eq!(shape, [3, size, size], "{key}");
            let area = size * size;
            let pixels = (0..area).flat_map(|i| [0, 1, 2].map(|c| planes[c * area + i]));
            all.push((name.clone(), size, pixels.collect()));
        }
    }
    all
}

/// Largest and mean difference in levels.
fn differences(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let all = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = all.clone().map(f64::from).sum();
    (all.max().expect("pixels"), sum / a.len() as f64)
}

/// The picture as its file stores it, for an EXIF orientation of the upright one.
fn lie_down(upright: &Picture, orientation: u64) -> Picture {
    let (width, height) = (upright.width() as usize, upright.height() as usize);
    // EXIF 2.3, tag 0x0112: where the upright picture has the stored pixel (x, y).
    type Place = fn(usize, usize, usize, usize) -> (usize, usize);
    let (turned, place): (bool, Place) = match orientation {
        1 => (false, |x, y, _, _| (x, y)),
        2 => (false, |x, y, w, _| (w - 1 - x, y)),
        3 => (false, |x, y, w, h| (w - 1 - x, h - 1 - y)),
        4 => (false, |x, y, _, h| (x, h - 1 - y)),
        5 => (true, |x, y, _, _| (y, x)),
        6 => (true, |x, y, w, _| (w - 1 - y, x)),
        7 => (true, |x, y, w, h| (w - 1 - y, h - 1 - x)),
        8 => (true, |x, y, _, h| (y, h - 1 - x)),
        other => panic!("orientation {other}"),
    };
    let (stored_width, stored_height) = if turned {
        (height, width)
    } else {
        (width, height)
    };
    let mut rgb = Vec::new();
    for y in 0..stored_height {
        for x in 0..stored_width {
            let (x, y) = place(x, y, width, height);
            rgb.extend_from_slice(&upright.rgb()[(y * width + x) * 3..][..3]);
        }
    }
    Picture::from_rgb(stored_width as u32, stored_height as u32, rgb).expect("the same pixels")
}

#[test]
fn every_file_is_what_pillow_makes_of_it() {
    let metadata = json(fixtures().join("preprocess/preprocess.json"));
    let mut exact = 0;
    for (name, size, pillow) in expected() {
        let mut picture = decode(&name);
        if let Some(orientation) = metadata[&name]["exif_orientation"].as_u64() {
            // The reference leaves the picture lying; ours is laid down again to be compared.
            picture = lie_down(&picture, orientation);
        }
        let [width, height] = [0, 1].map(|i| usize_of(&metadata[&name]["size_wh"][i]) as u32);
        assert_eq!(
            (picture.width(), picture.height()),
            (width, height),
            "{name}"
        );
        if name == "gray16_60x40.png" {
            continue; // Below: there we keep what the reference clips.
        }
        let (largest, mean) = differences(&resized(&picture, size), &pillow);
        if name.ends_with(".jpg") {
            let what = format!("{name} at {size}: {largest} levels, {mean} on average");
            assert!(largest <= JPEG_LEVELS && mean <= JPEG_MEAN, "{what}");
        } else {
            assert_eq!(largest, 0, "{name} at {size}");
            exact += 1;
        }
    }
    assert_eq!(exact, 24);
}

/// The picture as a person sees it, resized, is the reference turned, but not to the bit: turning
/// swaps which axis is resized first, and the bytes between the two passes are rounded and clipped.
/// So of the eight ways to turn it the right one must be by far the nearest.
#[test]
fn upright_pictures_are_the_reference_turned() {
    let metadata = json(fixtures().join("preprocess/preprocess.json"));
    let mut seen = Vec::new();
    for (name, size, pillow) in expected() {
        let Some(orientation) = metadata[&name]["exif_orientation"].as_u64() else {
            continue;
        };
        let upright = decode(&name);
        let is_tall = upright.height() > upright.width();
        assert_eq!(is_tall, orientation >= 5, "{name}");
        let upright = Picture::from_rgb(size as u32, size as u32, resized(&upright, size));
        let upright = upright.expect("a square");
        for way in 1..=8 {
            let (_, mean) = differences(lie_down(&upright, way).rgb(), &pillow);
            if way == orientation {
                assert!(mean < 1.0, "{name}: {mean} levels");
            } else {
                assert!(mean > 10.0, "{name} turned as {way}: {mean} levels");
            }
        }
        seen.push(orientation);
    }
    seen.sort_unstable();
    assert_eq!(seen, [3, 5, 6, 8]);
}

/// All eight orientations, each written into a PNG.
#[test]
fn every_orientation_is_applied() {
    let upright = decode("rgb_97x61.png");
    for orientation in 1..=8 {
        let stored = lie_down(&upright, orientation);
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation as u8, 0, 0, 0, 0, 0, 0, 0]);
        let mut png = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
        image::ImageEncoder::set_exif_metadata(&mut encoder, exif).expect("PNG holds EXIF");
        image::ImageEncoder::write_image(
            encoder,
            stored.rgb(),
            stored.width(),
            stored.height(),
            image::ExtendedColorType::Rgb8,
        )
        .expect("a PNG");
        let decoded = Picture::decode(&png).expect("a PNG");
        assert_eq!(decoded, upright, "orientation {orientation}");
    }
}

/// Pillow opens 16-bit grey as it is and clips at 255 on the way to RGB, so that nearly everything
/// is white; we keep the upper byte. Both, from samples decoded apart from `Picture`.
#[test]
fn sixteen_bit_grey_keeps_its_high_byte() {
    let name = "gray16_60x40.png";
    let png = file(name);
    let image = image::load_from_memory(&png).expect("a PNG");
    let DynamicImage::ImageLuma16(grey) = image else {
        panic!("{:?}", image.color());
    };
    let (width, height) = grey.dimensions();
    let picture_of = |level: fn(u16) -> u8| {
        let rgb = grey.as_raw().iter().flat_map(|&v| [level(v); 3]).collect();
        Picture::from_rgb(width, height, rgb).expect("a picture")
    };
    let high = picture_of(|v| (v >> 8) as u8);
    assert_eq!(decode(name), high);
    let clipped = picture_of(|v| v.min(255) as u8);
    let (_, size, pillow) = expected()
        .into_iter()
        .find(|(file, _, _)| file == name)
        .expect("the file");
    assert_eq!(resized(&clipped, size), pillow);
    assert_ne!(resized(&high, size), pillow);
}

/// The pixels of `photo_400x300_420.jpg` are not ours to decide; that its rows and colours are in
/// place is: the decoder's own output is what `Picture` has.
#[test]
fn decoded_jpeg_pixels_are_passed_on() {
    let bytes = file("photo_400x300_420.jpg");
    let reader = ImageReader::new(std::io::Cursor::new(&bytes));
    let decoder = reader.with_guessed_format().expect("a JPEG").into_decoder();
    let decoder = decoder.expect("a JPEG");
    let mut rgb = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut rgb).expect("a JPEG");
    assert_eq!(decode("photo_400x300_420.jpg").rgb(), rgb);
}

#[test]
fn bmp_is_read() {
    let upright = decode("rgb_97x61.png");
    let mut bmp = Vec::new();
    image::codecs::bmp::BmpEncoder::new(&mut bmp)
        .encode(upright.rgb(), 97, 61, image::ExtendedColorType::Rgb8)
        .expect("a BMP");
    assert_eq!(Picture::decode(&bmp), Ok(upright));
}

#[test]
fn transparency_is_white() {
    let picture = decode("rgba_40x40_all_transparent.png");
    assert!(picture.rgb().iter().all(|&level| level == 255));
}

/// One pixel, and ten thousand in a row, of known content.
#[test]
fn extreme_shapes_keep_their_content() {
    let dot = Picture::from_rgb(1, 1, vec![9, 80, 200]).expect("a picture");
    assert_eq!(resized(&dot, 224), [9, 80, 200].repeat(224 * 224));

    // Left half black, right half white, 10,000 x 2: the edge stays in the middle.
    let row = [vec![0; 5000 * 3], vec![255; 5000 * 3]].concat();
    let wide = Picture::from_rgb(10_000, 2, row.repeat(2)).expect("a picture");
    let small = resized(&wide, 224);
    for (x, pixel) in small.chunks(3).enumerate().map(|(i, p)| (i % 224, p)) {
        let level = if x < 112 { 0 } else { 255 };
        // The kernel rings within two pixels of the edge, and is clipped there.
        if !(110..114).contains(&x) {
            assert_eq!(pixel, [level; 3], "column {x}");
        }
    }
    let tall = Picture::from_rgb(2, 10_000, vec![77; 2 * 10_000 * 3]).expect("a picture");
    assert_eq!(resized(&tall, 56), vec![77; 56 * 56 * 3]);
}
