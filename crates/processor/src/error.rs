//! What can be wrong with a picture, a model folder or a prompt, said so that a person can act on it.

use thiserror::Error;

/// Why a file could not become a [`Picture`](crate::Picture).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Zero bytes.
    #[error("the picture file is empty (0 bytes): choose it again, or another file")]
    Empty,
    /// A picture format that exists but is not read here.
    #[error(
        "the picture is {format}, which cannot be read here: convert it to PNG or JPEG and try again"
    )]
    NeedsConversion {
        /// The format with its article, e.g. "an SVG drawing".
        format: &'static str,
    },
    /// Nothing that is known to be a picture.
    #[error("the file is not a picture: choose a PNG, JPEG, WebP, GIF or BMP file")]
    NotAPicture,
    /// The file ends before its picture does.
    #[error(
        "the {format} picture is incomplete, its file ends too early: download or export it again"
    )]
    Truncated {
        /// "PNG", "JPEG", …
        format: &'static str,
    },
    /// The decoder refused the content.
    #[error(
        "the {format} picture cannot be decoded ({reason}): export it again as PNG or as an ordinary 8-bit JPEG"
    )]
    Undecodable {
        /// "PNG", "JPEG", …
        format: &'static str,
        /// The decoder's own words.
        reason: String,
    },
    /// More pixels, or a longer side, than is sensible to decode in a browser tab.
    #[error(
        "the picture is {width} x {height} pixels, more than {max_pixels} pixels in all or {max_side} a side: scale it down first"
    )]
    TooLarge {
        /// Pixels a row, as the header declares them.
        width: u32,
        /// Rows, as the header declares them.
        height: u32,
        /// [`Picture::MAX_PIXELS`](crate::Picture::MAX_PIXELS).
        max_pixels: u64,
        /// [`Picture::MAX_SIDE`](crate::Picture::MAX_SIDE).
        max_side: u32,
    },
    /// A width or height of zero.
    #[error("the picture has no pixels ({width} x {height}): choose another file")]
    NoPixels {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Raw pixels whose number does not fit their size.
    #[error(
        "{given} bytes of pixels were given for a picture of {width} x {height}: pass width x height x 3 bytes of RGB"
    )]
    WrongLength {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes that came.
        given: usize,
    },
    /// No memory for the decoded pixels.
    #[error(
        "there is not enough memory to decode a picture of {width} x {height} pixels: close other programs or scale it down"
    )]
    OutOfMemory {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// Why a model folder's processor files, a prompt or a list of ids cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProcessorError {
    /// `tokenizer.json` is not what the `tokenizers` library reads.
    #[error("tokenizer.json cannot be read ({reason}): download it again from the model's page")]
    Tokenizer {
        /// The library's own words.
        reason: String,
    },
    /// A token that PaliGemma cannot do without is not in the tokenizer.
    #[error(
        "tokenizer.json has no token {token}: use the tokenizer.json of a PaliGemma checkpoint, not a plain Gemma one"
    )]
    MissingToken {
        /// The token's text.
        token: String,
    },
    /// `config.json` and `tokenizer.json` name different ids for `<image>`.
    #[error(
        "config.json says that <image> is token {config} but tokenizer.json says {tokenizer}: take both files from the same checkpoint"
    )]
    ImageTokenId {
        /// `image_token_index` of `config.json`.
        config: u32,
        /// What the tokenizer says.
        tokenizer: u32,
    },
    /// `preprocessor_config.json` cannot be read or asks for something that no PaliGemma does.
    #[error(
        "preprocessor_config.json cannot be used ({reason}): take it from the same checkpoint as config.json, or leave it out"
    )]
    PreprocessorConfig {
        /// What is wrong with it.
        reason: String,
    },
    /// An image size or a number of image tokens outside of all reason.
    #[error(
        "config.json asks for pictures of {image_size} pixels a side and {image_tokens} image tokens, outside of 1 to {max_image_size} and 1 to {max_image_tokens}: check its vision_config"
    )]
    Geometry {
        /// Pixels a side.
        image_size: usize,
        /// Tokens a picture.
        image_tokens: usize,
        /// Largest side that is accepted.
        max_image_size: usize,
        /// Most tokens a picture that are accepted.
        max_image_tokens: usize,
    },
    /// No picture came with the prompt.
    #[error("the prompt came without a picture, which PaliGemma always needs: add one")]
    NoImages,
    /// A mask of so many tokens that nobody could look at it.
    #[error(
        "a mask of {tokens} tokens is more than the {most} that can be looked at: use fewer image \
         tokens or a shorter prompt"
    )]
    MaskTooLarge {
        /// Tokens it would have, or of its pictures alone.
        tokens: usize,
        /// Tokens that would do.
        most: usize,
    },
    /// So many pictures that their tokens alone pass every context.
    #[error(
        "{images} pictures are more than the {max} that one prompt can hold: use fewer pictures"
    )]
    TooManyImages {
        /// Pictures given.
        images: usize,
        /// Pictures that would do.
        max: usize,
    },
    /// The prompt has another number of `<image>` than there are pictures.
    #[error(
        "the prompt has {written} <image> for a number of {images} pictures: write <image> once for each picture, or not at all"
    )]
    ImageCount {
        /// `<image>` in the text.
        written: usize,
        /// Pictures given.
        images: usize,
    },
    /// Lists without a text.
    #[error("there are no texts: give at least one, which may be empty")]
    NoTexts,
    /// Pictures, or lists of them, that are not as many as the texts.
    #[error(
        "there are {images} pictures for {texts} prompts: give each prompt a picture or a list of pictures"
    )]
    TextCount {
        /// Pictures, or lists of them.
        images: usize,
        /// Texts.
        texts: usize,
    },
    /// Suffixes that are not as many as the texts.
    #[error("there are {suffixes} suffixes for {texts} prompts: give one for each, or none")]
    SuffixCount {
        /// Suffixes.
        suffixes: usize,
        /// Texts.
        texts: usize,
    },
    /// A list of ids has another number of image tokens than its pictures fill.
    #[error(
        "the prompt has {found} image tokens where its pictures fill {expected}: give {per_image} for each picture"
    )]
    ImageTokenCount {
        /// Image tokens in the ids.
        found: usize,
        /// Image tokens that the pictures fill.
        expected: usize,
        /// Image tokens a picture.
        per_image: usize,
    },
    /// An id that the tokenizer does not know.
    #[error(
        "token id {id} is not in the tokenizer, whose last id is {last}: check the list of ids"
    )]
    UnknownId {
        /// The id.
        id: u32,
        /// The largest id that there is.
        last: u32,
    },
    /// The tokenizer failed on this text.
    #[error("the text cannot be split into tokens ({reason}): shorten or simplify it")]
    Encode {
        /// The library's own words.
        reason: String,
    },
    /// The tokenizer failed on these ids.
    #[error("the answer's tokens cannot be read as text ({reason}): run the prompt again")]
    Decode {
        /// The library's own words.
        reason: String,
    },
}
