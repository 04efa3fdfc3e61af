//! A checkpoint's own `tokenizer.json`, read by the `tokenizers` library.

use crate::error::ProcessorError;
use crate::tokenizer_file;

/// Number of location tokens, `<loc0000>` to `<loc1023>`.
pub const LOC_TOKENS: usize = 1024;
/// Number of segmentation tokens, `<seg000>` to `<seg127>`.
pub const SEG_TOKENS: usize = 128;

pub(crate) const BOS: &str = "<bos>";
pub(crate) const EOS: &str = "<eos>";
const PAD: &str = "<pad>";
pub(crate) const IMAGE: &str = "<image>";

/// A PaliGemma tokenizer. All ids are read from its file.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    image: u32,
    loc: Vec<u32>,
    seg: Vec<u32>,
    last_id: u32,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Bytes that come by value are given back before the vocabulary is
    /// built, and are then no part of the most memory that it takes.
    ///
    /// # Errors
    /// [`ProcessorError::Tokenizer`] for what the library cannot read;
    /// [`ProcessorError::MissingToken`] without `<bos>`, `<eos>`, `<pad>`, `<image>`, or any of the
    /// location and segmentation tokens.
    pub fn from_json(json: impl AsRef<[u8]>) -> Result<Self, ProcessorError> {
        let read = tokenizer_file::read(json);
        let (inner, last_id) = read.map_err(|error| ProcessorError::Tokenizer {
            reason: error.to_string(),
        })?;

        let id = |token: &str| {
            let id = inner.token_to_id(token);
            id.ok_or_else(|| ProcessorError::MissingToken {
                token: token.to_owned(),
            })
        };
        let (bos, eos, pad, image) = (id(BOS)?, id(EOS)?, id(PAD)?, id(IMAGE)?);
        let loc = (0..LOC_TOKENS).map(|i| id(&format!("<loc{i:04}>")));
        let loc = loc.collect::<Result<_, _>>()?;
        let seg = (0..SEG_TOKENS).map(|i| id(&format!("<seg{i:03}>")));
        let seg = seg.collect::<Result<_, _>>()?;
        Ok(Self {
            inner,
            bos,
            eos,
            pad,
            image,
            loc,
            seg,
            last_id,
        })
    }

    /// The ids of a text, special tokens in it included, none added.
    ///
    /// # Errors
    /// [`ProcessorError::Encode`] if the library fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ProcessorError> {
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|error| ProcessorError::Encode {
            reason: error.to_string(),
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids. `skip_special` leaves out `<bos>`, `<eos>`, `<pad>`, `<image>` and their
    /// like; location and segmentation tokens are text and stay. Ids without a token are left out.
    ///
    /// # Errors
    /// [`ProcessorError::Decode`] if the library fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, ProcessorError> {
        let text = self.inner.decode(ids, skip_special);
        text.map_err(|error| ProcessorError::Decode {
            reason: error.to_string(),
        })
    }

    /// [`decode`](Self::decode), without special tokens, of an answer that is still growing.
    ///
    /// A character that the vocabulary lacks comes as one token a byte, and until its last byte is
    /// there the library writes U+FFFD for each. Here the bytes of an unfinished last character
    /// are held back instead.
    ///
    /// # Errors
    /// [`ProcessorError::Decode`] if the library fails.
    pub fn decode_partial(&self, ids: &[u32]) -> Result<String, ProcessorError> {
        let mut run = Vec::new();
        for (position, &id) in ids.iter().enumerate().rev() {
            match self.visible_token(id).as_deref().map(byte_of) {
                Some(Some(byte)) => run.push((position, byte)),
                Some(None) => break,
                // What is not shown does not end a run of bytes either.
                None => {}
            }
        }
        run.reverse();
        let bytes: Vec<u8> = run.iter().map(|&(_, byte)| byte).collect();
        let unfinished = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() => run.get(error.valid_up_to()),
            _ => None,
        };
        let end = unfinished.map_or(ids.len(), |&(position, _)| position);
        self.decode(&ids[..end], true)
    }

    /// The token of an id, unless it is special or there is none.
    fn visible_token(&self, id: u32) -> Option<String> {
        let token = self.inner.id_to_token(id)?;
        let special = self.inner.get_added_vocabulary().is_special_token(&token);
        (!special).then_some(token)
    }

    /// The largest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.last_id as usize + 1
    }

    /// Id of `<bos>`, which begins every prompt after its image tokens.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// Id of `<eos>`, which ends an answer.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Id of `<pad>`.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Id of `<image>`, which stands where an image feature goes.
    pub fn image(&self) -> u32 {
        self.image
    }

    /// Id of `<loc….>`: `index` 1024ths of the picture's width or height. `None` from 1024 on.
    pub fn loc(&self, index: usize) -> Option<u32> {
        self.loc.get(index).copied()
    }

    /// Id of `<seg…>`: entry `index` of the mask decoder's code book. `None` from 128 on.
    pub fn seg(&self, index: usize) -> Option<u32> {
        self.seg.get(index).copied()
    }
}

/// The byte of a byte token such as `<0x0A>`, by the rule of the library's `ByteFallback` decoder.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}
