//! A picture into `pixel_values`, as transformers' `SiglipImageProcessor` (PIL back-end) does it.

use serde::Deserialize;

use crate::error::ProcessorError;
use crate::picture::Picture;
use crate::resize::resize;

/// Largest side of the model's input that is believed; the largest published one is 896.
pub(crate) const MAX_IMAGE_SIZE: usize = 4096;
/// PIL's number for `Resampling.BICUBIC`, which every published checkpoint asks for.
const BICUBIC: u32 = 3;
const CHANNELS: usize = 3;

/// The keys of `preprocessor_config.json` that change what is computed; a key that is absent or
/// null has `SiglipImageProcessor`'s default.
///
/// `do_convert_rgb` is not among them: a [`Picture`] is always RGB.
#[derive(Deserialize)]
struct PreprocessorConfig {
    do_resize: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    size: Option<Size>,
    resample: Option<u32>,
    rescale_factor: Option<f64>,
    image_mean: Option<[f32; CHANNELS]>,
    image_std: Option<[f32; CHANNELS]>,
    image_seq_length: Option<usize>,
}

#[derive(Deserialize)]
struct Size {
    height: usize,
    width: usize,
}

/// The steps between levels and what the vision tower reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelSteps {
    /// Levels of 0 to 255 times `rescale_factor`. Without it they go on as they are.
    pub do_rescale: bool,
    /// Less `image_mean`, by `image_std`.
    pub do_normalize: bool,
}

/// Resizes a picture to the model's square and normalises it.
///
/// The picture is squeezed, neither cropped nor padded, so a point of the square is the same
/// fraction of the picture's width and height.
#[derive(Debug, Clone)]
pub struct ImageProcessor {
    size: usize,
    image_seq_length: Option<usize>,
    factor: f64,
    mean: [f32; CHANNELS],
    std: [f32; CHANNELS],
    steps: PixelSteps,
    /// Per channel, what each of the 256 levels becomes by these steps.
    levels: [[f32; 256]; CHANNELS],
}

impl ImageProcessor {
    /// The processor of every published checkpoint: bicubic, `x / 255`, mean and deviation 0.5.
    ///
    /// `image_size` is the side of the model's input in pixels.
    ///
    /// # Errors
    /// [`ProcessorError::PreprocessorConfig`] for a size that is zero or beyond 4096.
    pub fn siglip(image_size: usize) -> Result<Self, ProcessorError> {
        Self::from_json(b"{}", image_size)
    }

    /// Reads a `preprocessor_config.json`; `image_size` is `vision_config.image_size` of
    /// `config.json`, which it must agree with.
    ///
    /// # Errors
    /// [`ProcessorError::PreprocessorConfig`] for what is not JSON, for another size, and for
    /// resizing that is switched off or another filter, which no checkpoint does.
    pub fn from_json(json: &[u8], image_size: usize) -> Result<Self, ProcessorError> {
        let wrong = |reason: String| ProcessorError::PreprocessorConfig { reason };
        let config: PreprocessorConfig =
            serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
        if !(1..=MAX_IMAGE_SIZE).contains(&image_size) {
            return Err(wrong(format!(
                "an image size of {image_size} is not within 1 and {MAX_IMAGE_SIZE}"
            )));
        }
        if let Some(Size { height, width }) = config.size
            && (height, width) != (image_size, image_size)
        {
            return Err(wrong(format!(
                "its size is {width} x {height} where config.json has {image_size}"
            )));
        }
        if config.do_resize == Some(false) {
            return Err(wrong("do_resize is false".to_owned()));
        }
        let steps = PixelSteps {
            do_rescale: config.do_rescale.unwrap_or(true),
            do_normalize: config.do_normalize.unwrap_or(true),
        };
        let resample = config.resample.unwrap_or(BICUBIC);
        if resample != BICUBIC {
            return Err(wrong(format!(
                "its resample is {resample}, and only {BICUBIC} (bicubic) is known"
            )));
        }
        let factor = config.rescale_factor.unwrap_or(1.0 / 255.0);
        let mean = config.image_mean.unwrap_or([0.5; CHANNELS]);
        let std = config.image_std.unwrap_or([0.5; CHANNELS]);
        let levels = levels(factor, mean, std, steps);
        if levels
            .iter()
            .flatten()
            .any(|value: &f32| !value.is_finite())
        {
            return Err(wrong(format!(
                "rescale_factor {factor}, image_mean {mean:?} and image_std {std:?} give no finite values"
            )));
        }
        Ok(Self {
            size: image_size,
            image_seq_length: config.image_seq_length,
            factor,
            mean,
            std,
            steps,
            levels,
        })
    }

    /// Side of the model's input in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// `image_seq_length`, the number of image tokens a picture, where the file has it.
    pub(crate) fn image_seq_length(&self) -> Option<usize> {
        self.image_seq_length
    }

    /// The picture squeezed to the model's square: `[size, size, 3]`, bit-exact with Pillow 12's
    /// bicubic resize.
    pub fn resize(&self, picture: &Picture) -> Vec<u8> {
        let from = (picture.width() as usize, picture.height() as usize);
        resize::<CHANNELS>(picture.rgb(), from, (self.size, self.size))
    }

    /// What the vision tower reads: `[3, size, size]`, `(level / 255 - mean) / std`.
    pub fn pixel_values(&self, picture: &Picture) -> Vec<f32> {
        self.through(picture, &self.levels)
    }

    /// The steps of the checkpoint.
    pub fn steps(&self) -> PixelSteps {
        self.steps
    }

    /// [`pixel_values`](Self::pixel_values) by other steps than the checkpoint's, as transformers
    /// takes `do_rescale` and `do_normalize` with a call.
    pub fn pixel_values_by(&self, picture: &Picture, steps: PixelSteps) -> Vec<f32> {
        let levels = levels(self.factor, self.mean, self.std, steps);
        self.through(picture, &levels)
    }

    fn through(&self, picture: &Picture, levels: &[[f32; 256]; CHANNELS]) -> Vec<f32> {
        let rgb = self.resize(picture);
        let (pixels, _) = rgb.as_chunks::<CHANNELS>();
        let mut values = Vec::with_capacity(rgb.len());
        for (channel, levels) in levels.iter().enumerate() {
            values.extend(
                pixels
                    .iter()
                    .map(|pixel| levels[usize::from(pixel[channel])]),
            );
        }
        values
    }
}

/// What each of the 256 levels becomes, by channel.
fn levels(
    factor: f64,
    mean: [f32; CHANNELS],
    std: [f32; CHANNELS],
    steps: PixelSteps,
) -> [[f32; 256]; CHANNELS] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|level| {
            // The order and the widths are the reference's: f64 product, f32 from there.
            let scaled = match steps.do_rescale {
                true => (level as f64 * factor) as f32,
                false => level as f32,
            };
            match steps.do_normalize {
                true => (scaled - mean[channel]) / std[channel],
                false => scaled,
            }
        })
    })
}
