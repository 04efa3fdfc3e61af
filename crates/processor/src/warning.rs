//! What transformers' `PaliGemmaProcessor` would write to its log and go on.

use thiserror::Error;

use crate::tokenizer::BOS;

/// Something about a request or a checkpoint that is allowed and seldom meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProcessorWarning {
    /// No text at all.
    #[error(
        "there is no prompt, so the model will caption the picture: write one to ask for something else"
    )]
    NoText,
    /// No `<image>` in any text.
    #[error(
        "no prompt says where its pictures go, so they are put before it: write <image> once for each to place them"
    )]
    ImagesInferred,
    /// The text begins with a `<bos>` of its own.
    #[error("the prompt has a <bos> of its own, and another is put before it: leave it out")]
    SecondBos,
    /// A text that ends in a newline makes one token of it and of the one that is appended.
    #[error("the prompt ends in a line break, which changes the token that ends it: leave it out")]
    TrailingNewline,
    /// `preprocessor_config.json` lacks `image_seq_length`.
    #[error(
        "preprocessor_config.json has no image_seq_length, so {image_tokens} tokens a picture are taken from config.json"
    )]
    NoImageSeqLength {
        /// Image tokens a picture.
        image_tokens: usize,
    },
}

impl ProcessorWarning {
    /// A name of the kind, for programs: `second_bos` and its like.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoText => "no_text",
            Self::ImagesInferred => "images_inferred",
            Self::SecondBos => "second_bos",
            Self::TrailingNewline => "trailing_newline",
            Self::NoImageSeqLength { .. } => "no_image_seq_length",
        }
    }

    /// What about a text's own tokens is probably not meant.
    pub(crate) fn of_text(text: &str) -> Vec<Self> {
        let mut found = Vec::new();
        if text.contains(BOS) {
            found.push(Self::SecondBos);
        }
        if text.ends_with('\n') {
            found.push(Self::TrailingNewline);
        }
        found
    }
}
