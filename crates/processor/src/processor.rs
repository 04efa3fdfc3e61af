//! Pictures and a prompt into the model's inputs, as transformers' `PaliGemmaProcessor` does it.

use crate::error::ProcessorError;
use crate::image_processor::{ImageProcessor, MAX_IMAGE_SIZE};
use crate::picture::Picture;
use crate::tokenizer::{BOS, IMAGE, Tokenizer};
use crate::warning::ProcessorWarning;

/// Most tokens a picture that are believed; the published checkpoints have 256, 1024 or 4096.
const MAX_IMAGE_TOKENS: usize = 1 << 16;
/// Most image tokens in a prompt, far beyond every context, so that no number of pictures makes a
/// text of gigabytes.
const MAX_PROMPT_IMAGE_TOKENS: usize = 1 << 20;

/// What the language model is given beside the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids: `[tokens]`.
    pub input_ids: Vec<u32>,
    /// 0 for the prefix, which attends to all of itself, 1 for a suffix: `[tokens]`. A prompt is
    /// all prefix.
    pub token_type_ids: Vec<u32>,
    /// Pictures whose features go where the image tokens are, in order.
    pub num_images: usize,
}

/// A checkpoint's tokenizer and image processor.
#[derive(Debug)]
pub struct Processor {
    tokenizer: Tokenizer,
    image_processor: ImageProcessor,
    image_tokens: usize,
    warnings: Vec<ProcessorWarning>,
}

impl Processor {
    /// Reads a checkpoint's `tokenizer.json` and, where there is one, `preprocessor_config.json`
    /// (without it: [`ImageProcessor::siglip`]).
    ///
    /// The tokenizer is by far the larger file; given by value, it is dropped early.
    ///
    /// From `config.json` come `image_size` (pixels a side), `image_tokens` (tokens a picture, the
    /// square of `image_size / patch_size`) and `image_token_id` (`image_token_index`).
    ///
    /// # Errors
    /// [`ProcessorError`] if a file cannot be read, a token is missing, or the files and
    /// `config.json` disagree.
    pub fn new(
        tokenizer_json: impl AsRef<[u8]>,
        preprocessor_config: Option<&[u8]>,
        image_size: usize,
        image_tokens: usize,
        image_token_id: u32,
    ) -> Result<Self, ProcessorError> {
        if !(1..=MAX_IMAGE_SIZE).contains(&image_size)
            || !(1..=MAX_IMAGE_TOKENS).contains(&image_tokens)
        {
            return Err(ProcessorError::Geometry {
                image_size,
                image_tokens,
                max_image_size: MAX_IMAGE_SIZE,
                max_image_tokens: MAX_IMAGE_TOKENS,
            });
        }
        let image_processor = match preprocessor_config {
            Some(json) => ImageProcessor::from_json(json, image_size)?,
            None => ImageProcessor::siglip(image_size)?,
        };
        if let Some(length) = image_processor.image_seq_length()
            && length != image_tokens
        {
            return Err(ProcessorError::PreprocessorConfig {
                reason: format!(
                    "its image_seq_length is {length} where config.json makes {image_tokens} image tokens"
                ),
            });
        }
        let mut warnings = Vec::new();
        if preprocessor_config.is_some() && image_processor.image_seq_length().is_none() {
            warnings.push(ProcessorWarning::NoImageSeqLength { image_tokens });
        }
        let tokenizer = Tokenizer::from_json(tokenizer_json)?;
        if tokenizer.image() != image_token_id {
            return Err(ProcessorError::ImageTokenId {
                config: image_token_id,
                tokenizer: tokenizer.image(),
            });
        }
        Ok(Self {
            tokenizer,
            image_processor,
            image_tokens,
            warnings,
        })
    }

    /// The ids of a prompt about `num_images` pictures.
    ///
    /// Without `<image>` in the text: the pictures' image tokens, `<bos>`, the text, a newline. With
    /// it: each `<image>` becomes a picture's image tokens, `<bos>` goes right behind the last, and
    /// a newline to the end. Nothing is trimmed: a text that ends in a newline makes another token
    /// of the two, as in transformers.
    ///
    /// # Errors
    /// [`ProcessorError`] without pictures, with far too many, or with another number of `<image>`
    /// than of pictures.
    pub fn prompt(&self, text: &str, num_images: usize) -> Result<Prompt, ProcessorError> {
        self.check_images(num_images)?;
        let written = text.matches(IMAGE).count();
        if written != 0 && written != num_images {
            return Err(ProcessorError::ImageCount {
                written,
                images: num_images,
            });
        }
        let (before, after) = match text.rfind(IMAGE) {
            Some(last) => text.split_at(last + IMAGE.len()),
            None => ("", text),
        };
        let picture = IMAGE.repeat(self.image_tokens);
        let before = match written {
            0 => picture.repeat(num_images),
            _ => before.replace(IMAGE, &picture),
        };
        let ids = self.tokenizer.encode(&format!("{before}{BOS}{after}\n"))?;
        self.prompt_from_ids(&ids, num_images)
    }

    /// A prompt whose ids are known, image tokens and `<bos>` included.
    ///
    /// # Errors
    /// [`ProcessorError`] if the image tokens are not as many as the pictures fill, or an id is not
    /// the tokenizer's.
    pub fn prompt_from_ids(
        &self,
        ids: &[u32],
        num_images: usize,
    ) -> Result<Prompt, ProcessorError> {
        self.check_images(num_images)?;
        let vocab_size = self.tokenizer.vocab_size();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(ProcessorError::UnknownId {
                id,
                last: (vocab_size - 1) as u32,
            });
        }
        let image = self.tokenizer.image();
        let found = ids.iter().filter(|&&id| id == image).count();
        let expected = num_images * self.image_tokens;
        if found != expected {
            return Err(ProcessorError::ImageTokenCount {
                found,
                expected,
                per_image: self.image_tokens,
            });
        }
        Ok(Prompt {
            input_ids: ids.to_vec(),
            token_type_ids: vec![0; ids.len()],
            num_images,
        })
    }

    pub(crate) fn check_images(&self, images: usize) -> Result<(), ProcessorError> {
        let max = MAX_PROMPT_IMAGE_TOKENS / self.image_tokens;
        match images {
            0 => Err(ProcessorError::NoImages),
            _ if images > max => Err(ProcessorError::TooManyImages { images, max }),
            _ => Ok(()),
        }
    }

    /// What the vision tower reads: `[3, size, size]`.
    pub fn pixel_values(&self, picture: &Picture) -> Vec<f32> {
        self.image_processor.pixel_values(picture)
    }

    /// What about the checkpoint's files is probably not meant.
    pub fn warnings(&self) -> &[ProcessorWarning] {
        &self.warnings
    }

    /// The same, and what about the text of a prompt is probably not meant. That a text without
    /// `<image>` has its pictures put before it is no warning here: [`Processor::prompt`] promises
    /// it.
    pub fn warnings_of(&self, text: &str) -> Vec<ProcessorWarning> {
        let mut found = self.warnings.clone();
        if text.replace(IMAGE, "").trim().is_empty() {
            found.push(ProcessorWarning::NoText);
        }
        found.extend(ProcessorWarning::of_text(text));
        found
    }

    /// The text of an answer's ids, without special tokens.
    ///
    /// # Errors
    /// [`ProcessorError::Decode`] if the library fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ProcessorError> {
        self.tokenizer.decode(ids, true)
    }

    /// The texts of several lists of ids; with `skip_special_tokens` without `<pad>`, `<bos>`,
    /// `<eos>` and `<image>`.
    ///
    /// # Errors
    /// [`ProcessorError::Decode`] if the library fails.
    pub fn batch_decode(
        &self,
        rows: &[Vec<u32>],
        skip_special_tokens: bool,
    ) -> Result<Vec<String>, ProcessorError> {
        rows.iter()
            .map(|ids| self.tokenizer.decode(ids, skip_special_tokens))
            .collect()
    }

    /// [`decode`](Self::decode) of an answer that is still growing: an unfinished last character
    /// is held back.
    ///
    /// # Errors
    /// [`ProcessorError::Decode`] if the library fails.
    pub fn decode_partial(&self, ids: &[u32]) -> Result<String, ProcessorError> {
        self.tokenizer.decode_partial(ids)
    }

    /// The checkpoint's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The checkpoint's image processor.
    pub fn image_processor(&self) -> &ImageProcessor {
        &self.image_processor
    }

    /// Image tokens a picture.
    pub fn image_tokens(&self) -> usize {
        self.image_tokens
    }
}
