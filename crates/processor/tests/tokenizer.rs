//! Text to ids and back, against transformers, and tokenizers that are not PaliGemma's.

mod common;

use common::{MODELS, Random, fixtures, json, read, tokenizer_json};
use paligemma_processor::{LOC_TOKENS, ProcessorError, SEG_TOKENS, Tokenizer};
use serde_json::Value;

fn tokenizer(model: &str) -> Tokenizer {
    Tokenizer::from_json(tokenizer_json(model)).unwrap_or_else(|e| panic!("{model}: {e}"))
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("a list of ids")
}

#[test]
fn every_case_is_what_transformers_makes_of_it() {
    for model in MODELS {
        let tokenizer = tokenizer(model);
        let file = json(fixtures().join(model).join("tokenizer_cases.json"));
        let cases = file["cases"].as_array().expect("cases");
        assert_eq!(cases.len(), 26);
        for case in cases {
            let text = case["text"].as_str().expect("a text");
            let expected = ids(&case["ids"]);
            let found = tokenizer.encode(text).expect("ids");
            assert_eq!(found, expected, "{model}: {text:?}");
            // A plain call of the processor's tokenizer: transformers' processor switches off the
            // `<bos>` that the file's post-processor would add, and so nothing is added here.
            assert_eq!(found, ids(&case["ids_default_call"]), "{model}: {text:?}");
            let decoded = tokenizer.decode(&expected, false).expect("a text");
            assert_eq!(decoded, case["decoded"], "{model}: {text:?}");
            let visible = tokenizer.decode(&expected, true).expect("a text");
            assert_eq!(visible, case["decoded_skip_special"], "{model}: {text:?}");
        }
    }
}

fn demo_tokenizer() -> Vec<u8> {
    read(fixtures().join("../../web/demo/model/tokenizer.json"))
}

#[test]
fn ids_of_location_and_segmentation_tokens_are_complete() {
    let jsons = MODELS
        .map(tokenizer_json)
        .into_iter()
        .chain([demo_tokenizer()]);
    for json in jsons {
        let raw: Value = serde_json::from_slice(&json).expect("JSON");
        let added = raw["added_tokens"].as_array().expect("added tokens");
        let id_of = |text: String| {
            let token = added.iter().find(|token| token["content"] == text.as_str());
            token
                .and_then(|token| token["id"].as_u64())
                .expect("the token") as u32
        };
        let tokenizer = Tokenizer::from_json(&json).expect("a tokenizer");
        for i in 0..LOC_TOKENS {
            assert_eq!(tokenizer.loc(i), Some(id_of(format!("<loc{i:04}>"))));
        }
        for i in 0..SEG_TOKENS {
            assert_eq!(tokenizer.seg(i), Some(id_of(format!("<seg{i:03}>"))));
        }
        assert_eq!((tokenizer.loc(1024), tokenizer.seg(128)), (None, None));
        assert_eq!(tokenizer.bos(), id_of("<bos>".into()));
        assert_eq!(tokenizer.eos(), id_of("<eos>".into()));
        assert_eq!(tokenizer.pad(), id_of("<pad>".into()));
        assert_eq!(tokenizer.image(), id_of("<image>".into()));
        // In these files `<image>` is the last token.
        assert_eq!(tokenizer.vocab_size(), tokenizer.image() as usize + 1);
    }
}

/// The file without one token, in its added tokens as in its vocabulary.
fn without(token: &str) -> Vec<u8> {
    let mut raw: Value = serde_json::from_slice(&tokenizer_json("pg2_odd")).expect("JSON");
    raw["added_tokens"]
        .as_array_mut()
        .expect("added tokens")
        .retain(|added| added["content"] != token);
    raw["model"]["vocab"]
        .as_object_mut()
        .expect("a vocabulary")
        .remove(token);
    // The template names the token that it would insert.
    raw["post_processor"] = Value::Null;
    raw.to_string().into_bytes()
}

#[test]
fn a_missing_token_is_named() {
    for token in [
        "<bos>",
        "<eos>",
        "<pad>",
        "<image>",
        "<loc0000>",
        "<loc1023>",
        "<seg127>",
    ] {
        let error = Tokenizer::from_json(without(token)).expect_err(token);
        let expected = ProcessorError::MissingToken {
            token: token.to_owned(),
        };
        assert_eq!(error, expected);
        assert!(error.to_string().contains(token));
    }
}

#[test]
fn what_is_no_tokenizer_is_an_error() {
    let whole = tokenizer_json("pg2_odd");
    for json in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        &whole[..whole.len() / 2],
        b"\xFF\xFE",
    ] {
        let error = Tokenizer::from_json(json).expect_err("no tokenizer");
        assert!(matches!(error, ProcessorError::Tokenizer { .. }), "{error}");
    }
}

/// The file with one member of its model, or with the member of that name, changed.
fn changed(member: &str, value: Value) -> Vec<u8> {
    let mut raw: Value = serde_json::from_slice(&tokenizer_json("pg2_gqa")).expect("JSON");
    let model = raw["model"].as_object_mut().expect("a model");
    let part = if model.contains_key(member) {
        &mut raw["model"][member]
    } else {
        &mut raw[member]
    };
    *part = value;
    raw.to_string().into_bytes()
}

#[test]
fn what_the_library_would_take_wrongly_is_an_error() {
    let cases = [
        (changed("version", "2.0".into()), "version"),
        (changed("type", "WordPiece".into()), "WordPiece"),
        (changed("vocab", serde_json::json!({"a": -1})), "u32"),
        (
            changed("vocab", serde_json::json!(["a"])),
            "a map of tokens",
        ),
        (changed("merges", serde_json::json!({})), "a list of merges"),
        (changed("merges", serde_json::json!([1])), "a merge"),
        (changed("merges", serde_json::json!([["a"]])), "two parts"),
        (
            changed("merges", serde_json::json!([["a", "b", "c"]])),
            "two parts",
        ),
        (changed("merges", serde_json::json!(["a"])), "two parts"),
        (changed("merges", serde_json::json!(["a b c"])), "two parts"),
        (changed("merges", serde_json::json!([["a", "QZ"]])), "QZ"),
        (changed("merges", serde_json::json!([["q", "z"]])), "qz"),
        // The builder joins the parts in a buffer of the longest token's length.
        (
            changed("merges", serde_json::json!([["a".repeat(99), "b"]])),
            "ab",
        ),
        // It cuts the prefix's length off the second part.
        (
            changed("continuing_subword_prefix", "###########".into()),
            "continuing_subword_prefix",
        ),
    ];
    for (json, word) in cases {
        let error = Tokenizer::from_json(json).expect_err(word).to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

/// Files of 2024 have their merges as "a b", later ones as ["a", "b"]; no order of members is
/// promised.
#[test]
fn both_spellings_of_merges_and_any_order_are_read() {
    let mut raw: Value = serde_json::from_slice(&tokenizer_json("pg2_gqa")).expect("JSON");
    let merges = raw["model"]["merges"].as_array_mut().expect("merges");
    for merge in merges.iter_mut() {
        *merge = match &*merge {
            Value::String(line) => line.split(' ').collect(),
            pair => format!(
                "{} {}",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            )
            .into(),
        };
    }
    merges.insert(0, "#version: 0.2".into());
    let merges = raw["model"]
        .as_object_mut()
        .expect("a model")
        .remove("merges");
    let (merges, model) = (merges.expect("merges"), raw["model"].to_string());
    raw.as_object_mut().expect("a file").remove("model");
    let rest = raw.to_string();
    let turned = format!(
        "{{\"model\": {{\"merges\": {merges}, {}, {}",
        &model[1..],
        &rest[1..]
    );
    let turned = Tokenizer::from_json(turned).expect("a tokenizer");
    let plain = tokenizer("pg2_gqa");
    let text = "answer en what is the color of the car?  naïve \n\n 猫";
    assert_eq!(turned.encode(text).unwrap(), plain.encode(text).unwrap());
    assert_eq!(turned.vocab_size(), plain.vocab_size());
}

#[test]
fn truncation_and_padding_in_the_file_are_not_applied() {
    let mut raw: Value = serde_json::from_slice(&tokenizer_json("pg2_odd")).expect("JSON");
    raw["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0
    });
    raw["padding"] = serde_json::json!({
        "strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
    });
    let odd = Tokenizer::from_json(raw.to_string().as_bytes()).expect("a tokenizer");
    let text = "answer en what is the color of the car?";
    let expected = tokenizer("pg2_odd").encode(text).expect("ids");
    assert!(expected.len() > 3 && expected.len() < 64);
    assert_eq!(odd.encode(text).expect("ids"), expected);
}

/// At every token of a text with characters of one, two, three and four bytes, nothing is shown
/// that is not in the end.
#[test]
fn a_growing_answer_never_shows_half_a_character() {
    let tokenizer = tokenizer("pg2_gqa");
    let text = "a 🦀👩‍👩‍👧 日本語と猫 naïve \u{200b}<loc0012>é🦀";
    let ids = tokenizer.encode(text).expect("ids");
    let mut steps = std::collections::BTreeSet::new();
    for end in 0..=ids.len() {
        let shown = tokenizer.decode_partial(&ids[..end]).expect("a text");
        assert!(text.starts_with(&shown), "{shown:?}");
        steps.insert(shown);
    }
    assert!(
        steps.contains(text) && steps.len() > 20,
        "{} steps",
        steps.len()
    );
    // A single byte of a character is held back, special tokens behind it or not.
    let crab = tokenizer.encode("x🦀").expect("ids");
    assert_eq!(crab.len(), 5);
    for cut in 2..5 {
        let mut partial = crab[..cut].to_vec();
        assert_eq!(tokenizer.decode_partial(&partial).expect("a text"), "x");
        partial.push(tokenizer.eos());
        assert_eq!(tokenizer.decode_partial(&partial).expect("a text"), "x");
    }
}

/// Bytes that can never become a character are not waited for, and whole answers are not changed.
#[test]
fn partial_and_whole_agree_but_for_the_tail() {
    let tokenizer = tokenizer("pg2_gqa");
    let mut random = Random(3);
    // Byte pieces, pieces of text, special tokens, ids beyond the end.
    let ranges = [(217, 256), (473, 2000), (0, 20), (3700, 100)];
    let byte_piece = |id: u32| (217..217 + 256).contains(&id);
    for _ in 0..2000 {
        let ids: Vec<u32> = (0..random.below(12))
            .map(|_| {
                let (start, count) = random.pick(&ranges);
                start + random.below(count) as u32
            })
            .collect();
        let whole = tokenizer.decode(&ids, true).expect("a text");
        let partial = tokenizer.decode_partial(&ids).expect("a text");
        if !ids.iter().copied().any(byte_piece) {
            assert_eq!(whole, partial, "{ids:?}");
        }
        if partial != whole {
            let held = (1..=ids.len()).find(|&n| {
                tokenizer
                    .decode(&ids[..ids.len() - n], true)
                    .expect("a text")
                    == partial
            });
            let held = held.unwrap_or_else(|| panic!("{ids:?}: {partial:?}"));
            assert!(
                ids[ids.len() - held..].iter().copied().any(byte_piece),
                "{ids:?}"
            );
        }
    }
}

#[test]
fn random_text_survives_the_way_there_and_back() {
    let tokenizer = tokenizer("pg2_gqa");
    let mut random = Random(11);
    let pieces = [
        "a",
        " ",
        "  ",
        "\n",
        "é",
        "猫",
        "🦀",
        "\u{0}",
        "<",
        ">",
        "<loc0000>",
        "<seg",
        "\u{301}",
    ];
    for _ in 0..500 {
        let text: String = (0..random.below(20))
            .map(|_| random.pick(&pieces))
            .collect();
        let ids = tokenizer.encode(&text).expect("ids");
        assert_eq!(tokenizer.decode(&ids, false).expect("a text"), text);
    }
}
