//! Files that are no pictures, or no longer, or too much.

mod common;

use common::{Random, fixtures, read};
use image::{ExtendedColorType, ImageEncoder};
use paligemma_processor::{Picture, PictureError};

fn file(name: &str) -> Vec<u8> {
    read(fixtures().join("preprocess/files").join(name))
}

/// CRC-32 as PNG wants it (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn small_png() -> Vec<u8> {
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(&[7; 4 * 4 * 3], 4, 4, ExtendedColorType::Rgb8)
        .expect("a PNG");
    png
}

/// A PNG whose header declares another size than its pixels have.
fn png_that_declares(width: u32, height: u32) -> Vec<u8> {
    let mut png = small_png();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

#[test]
fn the_checksum_is_right() {
    assert_eq!(png_that_declares(4, 4), small_png());
}

#[test]
fn a_huge_header_is_refused_before_its_pixels() {
    for (width, height) in [
        (30_000, 30_000),
        (11_586, 11_586),
        (65_536, 1),
        (1, 100_000),
        (u32::MAX >> 1, 2),
    ] {
        let png = png_that_declares(width, height);
        // The header alone is enough to refuse it.
        for bytes in [&png[..], &png[..33]] {
            let error = Picture::decode(bytes).expect_err("too large");
            let PictureError::TooLarge {
                width: w,
                height: h,
                ..
            } = error
            else {
                panic!("{width} x {height}: {error}");
            };
            assert_eq!((w, h), (width, height));
        }
    }
    let message = Picture::decode(&png_that_declares(30_000, 30_000)).expect_err("too large");
    assert!(message.to_string().contains("30000 x 30000"), "{message}");
}

/// The same in a JPEG, a GIF, a BMP and a WebP, whose decoders tell the size by themselves.
#[test]
fn huge_headers_of_other_formats_are_refused() {
    let mut jpeg = file("gray_80x64.jpg");
    let frame = jpeg
        .windows(2)
        .position(|w| w == [0xFF, 0xC0])
        .expect("a frame");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    let mut gif = file("palette_44x33.gif");
    gif[6..10].copy_from_slice(&[0x30, 0x75, 0x30, 0x75]);
    let mut bmp = Vec::new();
    image::codecs::bmp::BmpEncoder::new(&mut bmp)
        .encode(&[7; 4 * 4 * 3], 4, 4, ExtendedColorType::Rgb8)
        .expect("a BMP");
    bmp[18..26].copy_from_slice(&[0x30, 0x75, 0, 0, 0x30, 0x75, 0, 0]);
    // VP8L: 14 bits each of width - 1 and height - 1, behind the signature byte.
    let mut webp = file("rgb_83x47.webp");
    let lossless = webp.windows(4).position(|w| w == b"VP8L").expect("VP8L") + 9;
    let size = u32::from_le_bytes([0, 1, 2, 3].map(|i| webp[lossless + i]));
    let size = (size & 0xF000_0000) | 0x3FFE | (0x3FFE << 14);
    webp[lossless..lossless + 4].copy_from_slice(&size.to_le_bytes());
    for (name, bytes) in [("JPEG", jpeg), ("GIF", gif), ("BMP", bmp), ("WebP", webp)] {
        let error = Picture::decode(&bytes).expect_err(name);
        assert!(
            matches!(error, PictureError::TooLarge { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn an_empty_file_and_other_files_are_refused() {
    assert_eq!(Picture::decode(b""), Err(PictureError::Empty));
    for bytes in [
        &b"x"[..],
        b"hello, this is a text and no picture",
        b"<!DOCTYPE html><html><body>not found</body></html>",
        b"{\"error\": 404}",
        b"PK\x03\x04 some archive",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        &[0; 100],
    ] {
        assert_eq!(Picture::decode(bytes), Err(PictureError::NotAPicture));
    }
}

#[test]
fn formats_that_must_be_converted_are_named() {
    for (bytes, name) in [
        (&b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..], "SVG"),
        (
            b"\xEF\xBB\xBF\n<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>",
            "SVG",
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"\xFF\x0A\x01\x02", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
    ] {
        let error = Picture::decode(bytes).expect_err(name);
        assert!(
            matches!(error, PictureError::NeedsConversion { .. }),
            "{name}: {error}"
        );
        let message = error.to_string();
        assert!(
            message.contains(name) && message.contains("convert"),
            "{message}"
        );
    }
}

/// Every file, cut at many places: an error each time, and the right one for PNG and JPEG.
#[test]
fn cut_files_are_errors() {
    let mut files: Vec<_> = std::fs::read_dir(fixtures().join("preprocess/files"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 26);
    for path in files {
        let bytes = read(&path);
        let kind = path
            .extension()
            .expect("an extension")
            .to_str()
            .expect("ASCII")
            .to_owned();
        // The last chunk of a PNG is empty, the last byte of a GIF or a WebP may be padding: what
        // must not be missing is pixels.
        let pixels = match kind.as_str() {
            "png" => bytes.len() - 12 - 5,
            "jpg" => bytes.len() - 1,
            _ => bytes.len() - 16,
        };
        let cuts = (1..64)
            .map(|i| pixels * i / 64)
            .chain([pixels, 1, 2, 3, 8, 16, 33]);
        for cut in cuts {
            let error = match Picture::decode(&bytes[..cut]) {
                Err(error) => error,
                Ok(_) => panic!("{} cut to {cut} of {}", path.display(), bytes.len()),
            };
            if cut > 64 && (kind == "png" || kind == "jpg") {
                assert!(
                    matches!(error, PictureError::Truncated { .. }),
                    "{} cut to {cut}: {error}",
                    path.display()
                );
            }
        }
    }
}

/// Files with random bytes in random places decode to something or fail, and never panic.
#[test]
fn damaged_files_do_not_panic() {
    let mut random = Random(7);
    let (mut fine, mut refused) = (0, 0);
    for entry in std::fs::read_dir(fixtures().join("preprocess/files")).expect("the folder") {
        let bytes = read(entry.expect("an entry").path());
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.below(8) {
                // Headers are at the front: damage them more often.
                let end = if random.below(2) == 0 {
                    100
                } else {
                    damaged.len()
                };
                let at = random.below(end.min(damaged.len()));
                damaged[at] = random.next() as u8;
            }
            match Picture::decode(&damaged) {
                Ok(picture) => {
                    let area = picture.width() as usize * picture.height() as usize;
                    assert_eq!(picture.rgb().len(), area * 3);
                    fine += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(fine > 50 && refused > 50, "{fine} fine, {refused} refused");
    for length in 0..200 {
        let noise = random.bytes(length);
        assert!(Picture::decode(&noise).is_err());
    }
}

#[test]
fn raw_pixels_must_fit_their_size() {
    let none = PictureError::NoPixels {
        width: 0,
        height: 5,
    };
    assert_eq!(Picture::from_rgb(0, 5, vec![]), Err(none));
    let error = Picture::from_rgb(2, 2, vec![0; 11]).expect_err("11 bytes");
    assert!(
        matches!(error, PictureError::WrongLength { given: 11, .. }),
        "{error}"
    );
    let error = Picture::from_rgb(65_536, 1, vec![0; 65_536 * 3]).expect_err("too wide");
    assert!(matches!(error, PictureError::TooLarge { .. }), "{error}");
}
