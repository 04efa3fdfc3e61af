//! A made-up `tokenizer.json` of PaliGemma's full size and structure.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::pieces::{CHARACTERS, HEAD, LEARNT, LOCATIONS, SPACE, SPECIAL, vocabulary};

/// Entries of the vocabulary; the added token `<image>` has this id.
pub const VOCABULARY: usize = 257_152;

/// How a file spells its merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `["a", "b"]`, as today's software saves them.
    Pairs,
    /// `"a b"`, as in the files published in 2024.
    Lines,
}

/// A `tokenizer.json` as PaliGemma's: a BPE with byte fallback of [`VOCABULARY`] pieces and about
/// 580 000 merges, ranked by what they make; `▁` for spaces; location and segmentation tokens that
/// are not special; `<image>`, which is.
///
/// Every merge joins two pieces into one; every piece of several characters is made by one at
/// least. The same text each time, about 33 MB with pairs and 17 MB with lines.
pub fn tokenizer_json(spelling: Spelling) -> String {
    let tokens = vocabulary();
    let mut out = String::with_capacity(36 << 20);
    out.push_str("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    member(&mut out, "added_tokens", &added_tokens(&tokens));
    let (normalizer, pre_tokenizer, post_processor, decoder) = pipeline();
    member(&mut out, "normalizer", &normalizer);
    member(&mut out, "pre_tokenizer", &pre_tokenizer);
    member(&mut out, "post_processor", &post_processor);
    member(&mut out, "decoder", &decoder);
    out.push_str("  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n");
    out.push_str("    \"unk_token\": \"<unk>\",\n    \"continuing_subword_prefix\": null,\n");
    out.push_str("    \"end_of_word_suffix\": null,\n    \"fuse_unk\": true,\n");
    out.push_str("    \"byte_fallback\": true,\n    \"ignore_merges\": false,\n    \"vocab\": {");
    let mut comma = "";
    for (id, token) in tokens.iter().enumerate() {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{comma}\n      {}: {id}", quoted(token));
        comma = ",";
    }
    out.push_str("\n    },\n    \"merges\": [");
    comma = "";
    for (first, second) in merges(&tokens) {
        out.push_str(comma);
        comma = ",";
        let _ = match spelling {
            Spelling::Pairs => write!(
                out,
                "\n      [\n        {},\n        {}\n      ]",
                quoted(first),
                quoted(second)
            ),
            Spelling::Lines => write!(out, "\n      {}", quoted(&format!("{first} {second}"))),
        };
    }
    out.push_str("\n    ]\n  }\n}\n");
    out
}

fn quoted(text: &str) -> Value {
    Value::from(text)
}

fn member(out: &mut String, name: &str, value: &Value) {
    let _ = writeln!(out, "  \"{name}\": {value:#},");
}

fn added_tokens(tokens: &[String]) -> Value {
    let added = |id: usize, content: &str, special: bool, normalized: bool| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": normalized, "special": special
        })
    };
    let head = (0..HEAD).map(|id| added(id, &tokens[id], id < SPECIAL, false));
    let located = (LOCATIONS..VOCABULARY).map(|id| added(id, &tokens[id], false, true));
    let image = added(VOCABULARY, "<image>", true, false);
    head.chain(located).chain([image]).collect()
}

/// Normalizer, pre-tokenizer, post-processor and decoder.
fn pipeline() -> (Value, Value, Value, Value) {
    let space = SPACE.to_string();
    let bos = |type_id: u32| json!({"SpecialToken": {"id": "<bos>", "type_id": type_id}});
    let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
    (
        json!({"type": "Replace", "pattern": {"String": " "}, "content": space}),
        json!({
            "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
            "invert": false
        }),
        json!({
            "type": "TemplateProcessing",
            "single": [bos(0), text("A", 0)],
            "pair": [bos(0), text("A", 0), bos(1), text("B", 1)],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}}
        }),
        json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": space}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"}
        ]}),
    )
}

/// Every way to make a piece from two others. First runs of spaces, the longest first, so that they
/// outrank all; then by the id of what is made.
fn merges(tokens: &[String]) -> Vec<(&str, &str)> {
    let ids: HashMap<&str, usize> = (0..)
        .zip(tokens)
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let splits = |token: &'_ str| -> Vec<(usize, usize)> {
        let ends = token
            .char_indices()
            .skip(1)
            .map(|(end, _)| token.split_at(end));
        let known = ends.filter_map(|(first, second)| Some((*ids.get(first)?, *ids.get(second)?)));
        let mut known: Vec<_> = known.collect();
        known.sort_unstable();
        known
    };
    let spaces = tokens[..HEAD]
        .iter()
        .filter(|token| token.starts_with(SPACE));
    let mut runs: Vec<_> = spaces.flat_map(|token| splits(token)).collect();
    runs.sort_unstable_by_key(|&(first, second)| {
        std::cmp::Reverse((tokens[first].len(), tokens[second].len()))
    });
    let learnt = tokens[LEARNT..CHARACTERS]
        .iter()
        .flat_map(|token| splits(token));
    let pairs = runs.into_iter().chain(learnt);
    pairs
        .map(|(first, second)| (tokens[first].as_str(), tokens[second].as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_vocabulary_is_of_gemmas_size_and_order() {
        let tokens = vocabulary();
        assert_eq!(tokens.len(), VOCABULARY);
        let distinct: HashSet<&String> = tokens.iter().collect();
        assert_eq!(distinct.len(), VOCABULARY);
        for (id, token) in [
            (2, "<bos>"),
            (106, "<start_of_turn>"),
            (108, "\n"),
            (109, "\n\n"),
            (139, "\u{2581}\u{2581}"),
            (169, "<table>"),
            (216, "</code>"),
            (217, "<0x00>"),
            (472, "<0xFF>"),
            (235_248, "\u{2581}"),
            (256_000, "<loc0000>"),
            (257_023, "<loc1023>"),
            (257_024, "<seg000>"),
            (257_151, "<seg127>"),
        ] {
            assert_eq!(tokens[id], token);
        }
    }

    #[test]
    fn every_piece_can_be_merged_and_every_merge_makes_one() {
        let tokens = vocabulary();
        let known: HashSet<&str> = tokens.iter().map(String::as_str).collect();
        let merges = merges(&tokens);
        // The published files have 580 604.
        assert!(
            (570_000..600_000).contains(&merges.len()),
            "{}",
            merges.len()
        );
        let mut made = HashSet::new();
        for (first, second) in merges {
            assert!(known.contains(first) && known.contains(second));
            let whole = format!("{first}{second}");
            assert!(known.contains(whole.as_str()), "{whole}");
            made.insert(whole);
        }
        assert!(
            tokens[LEARNT..CHARACTERS]
                .iter()
                .all(|token| made.contains(token))
        );
    }

    #[test]
    fn the_file_is_json_with_what_it_should_have() {
        for (spelling, bytes) in [(Spelling::Pairs, 30..38), (Spelling::Lines, 14..20)] {
            let text = tokenizer_json(spelling);
            assert!(bytes.contains(&(text.len() / 1_000_000)), "{}", text.len());
            let file: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(file["model"]["vocab"]["<image>"], Value::Null);
            assert_eq!(
                file["model"]["vocab"].as_object().unwrap().len(),
                VOCABULARY
            );
            let added = file["added_tokens"].as_array().unwrap();
            assert_eq!(added.len(), 217 + 1024 + 128 + 1);
            assert_eq!(added.last().unwrap()["id"], VOCABULARY);
        }
    }
}
