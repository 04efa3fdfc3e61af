//! Who attends to whom: the prefix-LM mask of a prompt, as a picture.

use crate::error::ProcessorError;
use crate::processor::Processor;
use crate::tokenizer::{BOS, EOS, IMAGE};

/// Tokens of a mask that can still be looked at.
const MOST_TOKENS: usize = 2048;

/// The attention mask of a prompt with its answer.
///
/// The prefix (pictures, `<bos>`, prompt, newline) attends to all of itself, in both directions; a
/// token of the suffix attends to everything before it and to itself. In layers with a sliding
/// window, the suffix sees no further back than the window; the prefix is as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionMask {
    tokens: Vec<String>,
    is_image: Vec<bool>,
    prefix: usize,
    window: Option<usize>,
}

/// What stands at a row (the token that attends) and a column (the one attended to).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Attended to, both being image tokens.
    Image,
    /// The token itself.
    Diagonal,
    /// Attended to.
    Visible,
    /// Not attended to.
    Hidden,
}

/// Which of a model's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Those that see everything: every layer of PaliGemma, every other one of PaliGemma 2.
    Full,
    /// Those with a sliding window.
    Sliding,
}

impl AttentionMask {
    /// A mask of tokens that are known, the first `prefix` of which are the prefix. An image token
    /// is one that is written `<image>`. `window`: positions that layers with a sliding window
    /// see, the token's own included.
    pub fn new(tokens: Vec<String>, prefix: usize, window: Option<usize>) -> Self {
        let is_image = tokens.iter().map(|token| token == IMAGE).collect();
        Self {
            prefix: prefix.min(tokens.len()),
            tokens,
            is_image,
            window,
        }
    }

    /// The tokens as the vocabulary writes them: `▁` for a space.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// How many of the tokens are the prefix.
    pub fn prefix(&self) -> usize {
        self.prefix
    }

    /// Positions that layers with a sliding window see; none: there are no such layers.
    pub fn window(&self) -> Option<usize> {
        self.window
    }

    /// Whether token `row` attends to token `column`.
    pub fn is_visible(&self, layers: Layers, row: usize, column: usize) -> bool {
        if row.max(column) < self.prefix {
            return true;
        }
        let window = match layers {
            Layers::Full => None,
            Layers::Sliding => self.window,
        };
        column <= row && window.is_none_or(|window| row - column < window)
    }

    /// What stands at a place.
    pub fn cell(&self, layers: Layers, row: usize, column: usize) -> Cell {
        let image = |token: usize| self.is_image.get(token).copied().unwrap_or(false);
        match self.is_visible(layers, row, column) {
            true if image(row) && image(column) => Cell::Image,
            _ if row == column => Cell::Diagonal,
            true => Cell::Visible,
            false => Cell::Hidden,
        }
    }

    /// The matrices there are.
    pub(crate) fn layers(&self) -> &'static [Layers] {
        match self.window {
            Some(_) => &[Layers::Full, Layers::Sliding],
            None => &[Layers::Full],
        }
    }

    /// A token as it can be shown on one line.
    pub(crate) fn shown(token: &str) -> String {
        let mut shown = String::with_capacity(token.len());
        for c in token.chars() {
            match c.is_control() {
                true => shown.extend(c.escape_default()),
                false => shown.push(c),
            }
        }
        shown
    }
}

impl Processor {
    /// The attention mask of a prompt and the answer `suffix`, which is followed by `<eos>`, as in
    /// training.
    ///
    /// Pictures are where the prompt has `<image>` or `<img>`, or `images` of them before it; each
    /// has `image_tokens` tokens here, which may be fewer than the model's, to see something.
    ///
    /// # Errors
    /// [`ProcessorError`] without pictures, or with more tokens than can be looked at.
    pub fn attention_mask(
        &self,
        prompt: &str,
        suffix: &str,
        images: usize,
        image_tokens: usize,
        window: Option<usize>,
    ) -> Result<AttentionMask, ProcessorError> {
        let prompt = prompt.replace("<img>", IMAGE);
        let written = prompt.matches(IMAGE).count();
        let images = if written == 0 { images } else { written };
        if images == 0 {
            return Err(ProcessorError::NoImages);
        }
        let too_many = |tokens| ProcessorError::MaskTooLarge {
            tokens,
            most: MOST_TOKENS,
        };
        let pictures = images.saturating_mul(image_tokens);
        if pictures > MOST_TOKENS {
            return Err(too_many(pictures));
        }
        let (before, after) = match prompt.rfind(IMAGE) {
            Some(last) => prompt.split_at(last + IMAGE.len()),
            None => ("", prompt.as_str()),
        };
        let picture = IMAGE.repeat(image_tokens);
        let before = match written {
            0 => picture.repeat(images),
            _ => before.replace(IMAGE, &picture),
        };
        let tokenizer = self.tokenizer();
        let mut ids = tokenizer.encode(&format!("{before}{BOS}{after}\n"))?;
        let prefix = ids.len();
        ids.extend(tokenizer.encode(&format!("{suffix}{EOS}"))?);
        if ids.len() > MOST_TOKENS {
            return Err(too_many(ids.len()));
        }
        let tokens = ids
            .iter()
            .map(|&id| tokenizer.token(id).unwrap_or_default());
        Ok(AttentionMask::new(tokens.collect(), prefix, window))
    }
}
