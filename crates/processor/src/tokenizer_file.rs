//! A `tokenizer.json`, read without ever holding it as a tree of values.
//!
//! PaliGemma's has 257 152 pieces and more than half a million merges. The `tokenizers` library
//! reads its model by way of `serde_json::Value`, which takes hundreds of megabytes; here the two
//! large lists go straight from the text into what the library's builder wants, and the text is
//! given back before the model is built.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

/// Reads a `tokenizer.json`: the tokenizer, without truncation and padding (some files carry those
/// of the run that saved them), and the largest id that it knows.
///
/// `json` is dropped as soon as it is read.
///
/// # Errors
/// In the library's words or in like ones: bytes that are no JSON, another version, another model
/// than BPE, merges of what is not in the vocabulary.
pub(crate) fn read(
    json: impl AsRef<[u8]>,
) -> Result<(tokenizers::Tokenizer, u32), tokenizers::Error> {
    let file: File = serde_json::from_slice(json.as_ref())?;
    drop(json);
    if let Some(version) = file.version.filter(|version| version != "1.0") {
        return Err(format!("it has the unknown version \"{version}\"").into());
    }
    let largest = file.model.vocab.0.values().max().copied().unwrap_or(0);
    let mut tokenizer = tokenizers::Tokenizer::new(file.model.build()?);
    // Before the tokens, which are matched in their normalized form.
    tokenizer.with_normalizer(file.normalizer)?;
    tokenizer.with_pre_tokenizer(file.pre_tokenizer);
    tokenizer.with_post_processor(file.post_processor);
    tokenizer.with_decoder(file.decoder);
    tokenizer.add_tokens(file.added_tokens)?;
    let added = tokenizer.get_added_vocabulary().get_vocab().values();
    let largest = added.copied().fold(largest, u32::max);
    Ok((tokenizer, largest))
}

#[derive(Deserialize)]
struct File {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    decoder: Option<DecoderWrapper>,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
    vocab: Vocabulary,
    merges: Merges,
}

impl Model {
    fn build(self) -> Result<BPE, tokenizers::Error> {
        if let Some(kind) = self.kind.filter(|kind| kind != "BPE") {
            return Err(format!("its model is a {kind}, not a BPE").into());
        }
        // The library cuts it off the second part of a merge unseen, be it there or not.
        if self
            .continuing_subword_prefix
            .is_some_and(|prefix| !prefix.is_empty())
        {
            return Err("it has a continuing_subword_prefix, which PaliGemma's has not".into());
        }
        let merges = self.merges.into_pairs(&self.vocab.0)?;
        let mut builder = BPE::builder()
            .vocab_and_merges(self.vocab.0, merges)
            .fuse_unk(self.fuse_unk.unwrap_or(false))
            .byte_fallback(self.byte_fallback.unwrap_or(false))
            .ignore_merges(self.ignore_merges.unwrap_or(false));
        if let Some(dropout) = self.dropout {
            builder = builder.dropout(dropout);
        }
        if let Some(token) = self.unk_token {
            builder = builder.unk_token(token);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build()
    }
}

/// Token to id.
struct Vocabulary(Vocab);

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
                let mut vocab = Vocab::new();
                while let Some((token, id)) = map.next_entry::<String, u32>()? {
                    vocab.insert(token, id);
                }
                Ok(Vocabulary(vocab))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Merges by rank, their parts in one text: as strings of their own, a million small allocations
/// would be there at the same time as the file.
#[derive(Default)]
struct Merges {
    text: String,
    /// Bytes of the first and of the second part.
    lengths: Vec<[u32; 2]>,
}

impl Merges {
    /// The merges as the library's builder takes them.
    ///
    /// # Errors
    /// A merge whose result is longer than every token: the builder relies on there being none.
    fn into_pairs(self, vocab: &Vocab) -> Result<Vec<(String, String)>, tokenizers::Error> {
        let longest = vocab.keys().map(String::len).max().unwrap_or(0);
        let mut pairs = Vec::with_capacity(self.lengths.len());
        let mut rest = self.text.as_str();
        for &[first, second] in &self.lengths {
            let (pair, behind) = rest.split_at(first as usize + second as usize);
            if pair.len() > longest {
                return Err(
                    format!("its merges make `{pair}`, which is not in its vocabulary").into(),
                );
            }
            let (first, second) = pair.split_at(first as usize);
            pairs.push((first.to_owned(), second.to_owned()));
            rest = behind;
        }
        Ok(pairs)
    }

    fn push(&mut self, first: &str, second: &str) -> Option<()> {
        let lengths = [first.len().try_into().ok()?, second.len().try_into().ok()?];
        self.text.push_str(first);
        self.text.push_str(second);
        self.lengths.push(lengths);
        Some(())
    }
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges, A::Error> {
                let mut merges = Merges::default();
                while let Some(()) = list.next_element_seed(Merge(&mut merges))? {}
                Ok(merges)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// One merge: `["a", "b"]`, or in older files `"a b"`.
struct Merge<'a>(&'a mut Merges);

impl<'de> DeserializeSeed<'de> for Merge<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Merge<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a merge, as two strings or as one with a space between its parts")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text.starts_with("#version") {
            return Ok(());
        }
        let parts = text
            .split_once(' ')
            .filter(|(_, second)| !second.contains(' '));
        let pushed = parts.and_then(|(first, second)| self.0.push(first, second));
        pushed.ok_or_else(|| E::custom(format!("the merge `{text}` is not of two parts")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        let mut lengths = [0; 2];
        for length in &mut lengths {
            let before = self.0.text.len();
            if parts.next_element_seed(Part(&mut self.0.text))?.is_none() {
                return Err(A::Error::custom("a merge is not of two parts"));
            }
            *length = u32::try_from(self.0.text.len() - before).map_err(A::Error::custom)?;
        }
        if parts.next_element::<serde::de::IgnoredAny>()?.is_some() {
            return Err(A::Error::custom("a merge is not of two parts"));
        }
        self.0.lengths.push(lengths);
        Ok(())
    }
}

/// One part of a merge, appended to the text of all.
struct Part<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a merge")
    }

    fn visit_str<E: serde::de::Error>(self, part: &str) -> Result<(), E> {
        self.0.push_str(part);
        Ok(())
    }
}
