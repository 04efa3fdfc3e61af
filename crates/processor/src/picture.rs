//! The bytes of a picture file into upright RGB8.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::PictureError;
use crate::jpeg;

/// A decoded picture as a person sees it: upright, opaque, 8 bits a channel.
///
/// * Orientation: the EXIF tag of JPEG, PNG and WebP is applied. (transformers ignores it; a box
///   would then be drawn on a picture that nobody sees.)
/// * Transparency is composited over white, with the arithmetic of Pillow's `alpha_composite`.
/// * Grey is repeated over the three channels; palettes are resolved; of 16 bits the upper 8 are
///   kept. (Pillow does so for 16-bit RGB, but clips 16-bit grey at 255, which turns it white.)
/// * Colour profiles and gamma are ignored, as Pillow ignores them. Of an animation the first frame
///   counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// Most pixels that are decoded: 2^27, i.e. 134 million. A header that declares more is refused
    /// before anything of that size is allocated.
    pub const MAX_PIXELS: u64 = 1 << 27;
    /// Longest side: that of JPEG, GIF and BMP; only PNG can declare more. The resize relies on it.
    pub const MAX_SIDE: u32 = 65_535;

    /// Decodes a PNG, JPEG, WebP, GIF (first frame) or BMP file, recognised by its content.
    ///
    /// # Errors
    /// [`PictureError`] for anything else, for damaged or cut files, and for pictures over
    /// [`MAX_PIXELS`](Self::MAX_PIXELS) or [`MAX_SIDE`](Self::MAX_SIDE).
    pub fn decode(bytes: &[u8]) -> Result<Self, PictureError> {
        if bytes.is_empty() {
            return Err(PictureError::Empty);
        }
        let (format, name) = recognise(bytes)?;
        if let Some((width, height)) = png_header_size(format, bytes) {
            check_size(width, height)?;
        }
        if format == ImageFormat::Jpeg && !jpeg::is_complete(bytes) {
            return Err(PictureError::Truncated { format: name });
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(limits());
        let mut decoder = reader
            .into_decoder()
            .map_err(|error| undecodable(name, &error))?;
        let (width, height) = decoder.dimensions();
        check_size(width, height)?;
        let color = decoder.color_type();
        // A damaged EXIF block is no reason to refuse the pixels.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);

        let out_of_memory = || PictureError::OutOfMemory { width, height };
        let mut samples = Vec::new();
        let bytes_needed = usize::try_from(decoder.total_bytes()).map_err(|_| out_of_memory())?;
        samples
            .try_reserve_exact(bytes_needed)
            .map_err(|_| out_of_memory())?;
        samples.resize(bytes_needed, 0);
        decoder
            .read_image(&mut samples)
            .map_err(|error| undecodable(name, &error))?;

        let unsupported = || PictureError::Undecodable {
            format: name,
            reason: format!("its pixels are stored as {color:?}"),
        };
        let rgb = to_rgb8(color, samples).ok_or_else(unsupported)?;
        let image = RgbImage::from_raw(width, height, rgb).ok_or_else(unsupported)?;
        let mut image = DynamicImage::ImageRgb8(image);
        image.apply_orientation(orientation);
        let image = image.into_rgb8();
        Self::from_rgb(image.width(), image.height(), image.into_raw())
    }

    /// A picture of raw pixels: `rgb` is `[height, width, 3]`.
    ///
    /// # Errors
    /// [`PictureError`] if a side is zero or too long, or `rgb` has another length.
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, PictureError> {
        check_size(width, height)?;
        if rgb.len() as u64 != u64::from(width) * u64::from(height) * 3 {
            return Err(PictureError::WrongLength {
                width,
                height,
                given: rgb.len(),
            });
        }
        Ok(Self { width, height, rgb })
    }

    /// Pixels a row, upright.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows, upright.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels: `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

/// What decoders may allocate beside the pixels that are asked of them: no more than a picture.
fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(Picture::MAX_SIDE);
    limits.max_image_height = Some(Picture::MAX_SIDE);
    limits.max_alloc = Some(Picture::MAX_PIXELS * 4);
    limits
}

fn check_size(width: u32, height: u32) -> Result<(), PictureError> {
    if width == 0 || height == 0 {
        return Err(PictureError::NoPixels { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > Picture::MAX_PIXELS || width.max(height) > Picture::MAX_SIDE {
        return Err(PictureError::TooLarge {
            width,
            height,
            max_pixels: Picture::MAX_PIXELS,
            max_side: Picture::MAX_SIDE,
        });
    }
    Ok(())
}

/// The size in a PNG's first chunk, which the decoder only tells after it has read on to the
/// pixels.
fn png_header_size(format: ImageFormat, bytes: &[u8]) -> Option<(u32, u32)> {
    if format != ImageFormat::Png || bytes.get(12..16)? != b"IHDR" {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    Some((number(16)?, number(20)?))
}

fn recognise(bytes: &[u8]) -> Result<(ImageFormat, &'static str), PictureError> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => return Ok((ImageFormat::Png, "PNG")),
        Ok(ImageFormat::Jpeg) => return Ok((ImageFormat::Jpeg, "JPEG")),
        Ok(ImageFormat::WebP) => return Ok((ImageFormat::WebP, "WebP")),
        Ok(ImageFormat::Gif) => return Ok((ImageFormat::Gif, "GIF")),
        Ok(ImageFormat::Bmp) => return Ok((ImageFormat::Bmp, "BMP")),
        _ => {}
    }
    match other_format(bytes) {
        Some(format) => Err(PictureError::NeedsConversion { format }),
        None => Err(PictureError::NotAPicture),
    }
}

/// Names the formats that people are likely to have and that are not read here.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    if bytes.get(4..8) == Some(b"ftyp") {
        // ISO/IEC 14496-12: the major brand, a version, then the compatible brands.
        let brands = bytes.get(8..bytes.len().min(64))?;
        let has = |list: &[&[u8; 4]]| brands.chunks_exact(4).any(|b| list.iter().any(|x| *x == b));
        if has(&[b"avif", b"avis"]) {
            return Some("an AVIF picture");
        }
        if has(&[
            b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1",
        ]) {
            return Some("a HEIC picture");
        }
        return None;
    }
    let jpeg_xl_box = b"\0\0\0\x0cJXL \r\n\x87\n";
    if bytes.starts_with(jpeg_xl_box) || bytes.starts_with(b"\xFF\x0A") {
        return Some("a JPEG XL picture");
    }
    if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") {
        return Some("a TIFF picture");
    }
    if bytes.starts_with(b"%PDF-") {
        return Some("a PDF document");
    }
    // SVG is text: look for its root element after an XML declaration, comments and a doctype.
    let head = bytes.get(..bytes.len().min(4096))?;
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let is_markup = head.trim_ascii_start().starts_with(b"<");
    let is_svg = is_markup && head.windows(4).any(|w| w == b"<svg");
    is_svg.then_some("an SVG drawing")
}

fn undecodable(format: &'static str, error: &image::ImageError) -> PictureError {
    use std::error::Error;
    use std::io;
    let mut source = match error {
        image::ImageError::IoError(error) => Some(error as &(dyn Error + 'static)),
        error => error.source(),
    };
    while let Some(current) = source {
        if let Some(io) = current.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::UnexpectedEof
        {
            return PictureError::Truncated { format };
        }
        source = current.source();
    }
    PictureError::Undecodable {
        format,
        reason: error.to_string(),
    }
}

/// Decoded samples, in native byte order where they have 16 bits, to `[pixels, 3]`.
fn to_rgb8(color: ColorType, samples: Vec<u8>) -> Option<Vec<u8>> {
    let high = |sample: [u8; 2]| (u16::from_ne_bytes(sample) >> 8) as u8;

    let map16 = |samples: &[u8]| -> Vec<u8> {
        let (pairs, _) = samples.as_chunks::<2>();
        pairs.iter().map(|&pair| high(pair)).collect()
    };
    Some(match color {
        ColorType::Rgb8 => samples,
        ColorType::Rgb16 => map16(&samples),
        ColorType::L8 => flatten(&samples, |&[l]| [l; 3]),
        ColorType::L16 => flatten(&map16(&samples), |&[l]| [l; 3]),
        ColorType::La8 => flatten(&samples, |&[l, a]| [over_white(l, a); 3]),
        ColorType::La16 => flatten(&map16(&samples), |&[l, a]| [over_white(l, a); 3]),
        ColorType::Rgba8 => flatten(&samples, |&[r, g, b, a]| {
            [r, g, b].map(|level| over_white(level, a))
        }),
        ColorType::Rgba16 => flatten(&map16(&samples), |&[r, g, b, a]| {
            [r, g, b].map(|level| over_white(level, a))
        }),
        _ => return None,
    })
}

fn flatten<const N: usize>(samples: &[u8], to_rgb: impl Fn(&[u8; N]) -> [u8; 3]) -> Vec<u8> {
    let (pixels, _) = samples.as_chunks::<N>();
    let mut rgb = Vec::with_capacity(pixels.len() * 3);
    for pixel in pixels {
        rgb.extend_from_slice(&to_rgb(pixel));
    }
    rgb
}

/// A level of opacity `alpha` over white, rounded as Pillow's `ImagingAlphaComposite` does when
/// the background is opaque: 7 fractional bits, and a division by 255 made of shifts.
fn over_white(level: u8, alpha: u8) -> u8 {
    let (level, alpha) = (u32::from(level), u32::from(alpha));
    let sum = (level * alpha + 255 * (255 - alpha)) << 7;
    let rounded = sum + (0x80 << 7);
    ((((rounded >> 8) + rounded) >> 8) >> 7) as u8
}
