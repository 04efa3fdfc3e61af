//! Prompts to ids, against transformers, and prompts that cannot be.

mod common;

use common::{MODELS, fixtures, geometry, json, processor, read, rows, tokenizer_json};
use paligemma_processor::{Processor, ProcessorError};
use safetensors::SafeTensors;
use serde_json::Value;

/// Pictures of a text: `images` is a list of them, or a list of one such list for each text.
fn count(images: &Value) -> usize {
    match images {
        Value::Array(list) => list.iter().map(count).sum(),
        _ => 1,
    }
}

/// Input ids and token types of a case, one row a text.
fn expected(model: &str, case: &str) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let bytes = read(
        fixtures()
            .join(model)
            .join(format!("expected/{case}.safetensors")),
    );
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    (rows(&file, "input_ids"), rows(&file, "token_type_ids"))
}

#[test]
fn every_case_has_the_ids_of_transformers() {
    for model in MODELS {
        let processor = processor(model);
        let cases = &json(fixtures().join(model).join("cases.json"))["cases"];
        for case in ["single", "special", "multi"] {
            let text = cases[case]["text"].as_str().expect("a text");
            let prompt = processor
                .prompt(text, count(&cases[case]["images"]))
                .unwrap_or_else(|error| panic!("{model} {case}: {error}"));
            let (ids, types) = expected(model, case);
            assert_eq!(
                ids,
                std::slice::from_ref(&prompt.input_ids),
                "{model} {case}"
            );
            assert_eq!(
                types,
                std::slice::from_ref(&prompt.token_type_ids),
                "{model} {case}"
            );
            let again = processor.prompt_from_ids(&ids[0], prompt.num_images);
            assert_eq!(again, Ok(prompt), "{model} {case}");
        }

        // The prompt of a training example: all that is not suffix (type 1).
        let text = cases["suffix"]["text"].as_str().expect("a text");
        let prompt = processor.prompt(text, 1).expect("a prompt");
        let (ids, types) = expected(model, "suffix");
        let prefix = types[0].iter().take_while(|&&kind| kind == 0).count();
        assert!(prefix < ids[0].len());
        assert_eq!(ids[0][..prefix], prompt.input_ids, "{model} suffix");

        // A batch: two prompts, the shorter one padded on the left.
        let texts = cases["batch2"]["text"].as_array().expect("texts");
        let (ids, _) = expected(model, "batch2");
        assert_eq!(ids.len(), texts.len());
        for (row, text) in ids.iter().zip(texts) {
            let prompt = processor.prompt(text.as_str().expect("a text"), 1);
            let prompt = prompt.expect("a prompt").input_ids;
            let (pads, rest) = row.split_at(row.len() - prompt.len());
            assert_eq!(rest, prompt, "{model} batch2");
            assert!(pads.iter().all(|&id| id == processor.tokenizer().pad()));
        }
    }
}

/// `<image>` tokens of a prompt as one `I` each run, the rest as text.
fn layout(processor: &Processor, text: &str, images: usize) -> String {
    let prompt = processor.prompt(text, images).expect("a prompt");
    assert!(prompt.token_type_ids.iter().all(|&kind| kind == 0));
    assert_eq!(prompt.token_type_ids.len(), prompt.input_ids.len());
    let text = processor
        .tokenizer()
        .decode(&prompt.input_ids, false)
        .expect("a text");
    text.replace(&"<image>".repeat(processor.image_tokens()), "I")
}

/// The layouts that transformers 5.23 was seen to make.
#[test]
fn bos_follows_the_last_image() {
    let processor = processor("pg2_gqa");
    let layout = |text, images| layout(&processor, text, images);
    assert_eq!(layout("caption en", 1), "I<bos>caption en\n");
    assert_eq!(layout("", 1), "I<bos>\n");
    assert_eq!(layout("", 3), "III<bos>\n");
    assert_eq!(layout("<image>caption en", 1), "I<bos>caption en\n");
    assert_eq!(layout("a <image> b", 1), "a I<bos> b\n");
    assert_eq!(layout("<image>a<image>b", 2), "IaI<bos>b\n");
    assert_eq!(layout("<bos>caption en", 1), "I<bos><bos>caption en\n");
    assert_eq!(layout("<Image> <image >", 1), "I<bos><Image> <image >\n");
}

#[test]
fn nothing_is_trimmed() {
    let processor = processor("pg2_gqa");
    let tail = |text: &str| {
        let ids = processor.prompt(text, 1).expect("a prompt").input_ids;
        ids[ids.len() - 3..].to_vec()
    };
    // As transformers was seen to do it: the two newlines become one token.
    assert_eq!(tail("caption en\n"), [828, 660, 109]);
    assert_eq!(tail("caption en"), [828, 660, 108]);
    // A space behind `<image>` belongs to the first word.
    let with = processor.prompt("<image> caption en", 1).expect("a prompt");
    let without = processor.prompt("<image>caption en", 1).expect("a prompt");
    assert_ne!(with, without);
}

#[test]
fn pictures_and_placeholders_must_agree() {
    let processor = processor("pg2_gqa");
    for (text, written, images) in [
        ("<image><image>x", 2, 1),
        ("<image>x", 1, 2),
        ("a<image>b<image>c<image>", 3, 2),
    ] {
        let error = processor.prompt(text, images).expect_err(text);
        assert_eq!(error, ProcessorError::ImageCount { written, images });
    }
    assert_eq!(processor.prompt("x", 0), Err(ProcessorError::NoImages));
    assert_eq!(
        processor.prompt("<image>", 0),
        Err(ProcessorError::NoImages)
    );
    assert_eq!(
        processor.prompt_from_ids(&[], 0),
        Err(ProcessorError::NoImages)
    );
    let error = processor.prompt("x", 1 << 30).expect_err("too many");
    assert!(
        matches!(error, ProcessorError::TooManyImages { .. }),
        "{error}"
    );
    let error = processor
        .prompt(&"<image>".repeat(100_000), 1)
        .expect_err("too many");
    assert!(
        matches!(
            error,
            ProcessorError::ImageCount {
                written: 100_000,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn ids_are_checked() {
    let processor = processor("pg2_gqa");
    let good = processor
        .prompt("caption en", 2)
        .expect("a prompt")
        .input_ids;
    for images in [1, 3] {
        let error = processor
            .prompt_from_ids(&good, images)
            .expect_err("another count");
        let (found, expected, per_image) = (72, 36 * images, 36);
        let wanted = ProcessorError::ImageTokenCount {
            found,
            expected,
            per_image,
        };
        assert_eq!(error, wanted);
    }
    assert!(processor.prompt_from_ids(&good[1..], 2).is_err());
    for id in [processor.tokenizer().vocab_size() as u32, u32::MAX] {
        let ids = [&good[..], &[id]].concat();
        let error = processor
            .prompt_from_ids(&ids, 2)
            .expect_err("no such token");
        assert!(matches!(error, ProcessorError::UnknownId { .. }), "{error}");
    }
}

#[test]
fn files_that_disagree_are_errors() {
    let tokenizer = tokenizer_json("pg2_gqa");
    let (size, tokens, image) = geometry("pg2_gqa");
    let stored = read(fixtures().join("pg2_gqa/model/preprocessor_config.json"));

    let error = Processor::new(&tokenizer, Some(&stored), size, tokens, 257_152);
    let wanted = ProcessorError::ImageTokenId {
        config: 257_152,
        tokenizer: image,
    };
    assert_eq!(error.expect_err("another id"), wanted);

    let error = Processor::new(&tokenizer, Some(&stored), size, 49, image);
    let message = error.expect_err("another number of tokens").to_string();
    assert!(message.contains("image_seq_length is 36"), "{message}");

    let error = Processor::new(&tokenizer, Some(&stored), 224, tokens, image);
    let message = error.expect_err("another size").to_string();
    assert!(message.contains("84 x 84"), "{message}");

    for (size, tokens) in [(0, 36), (84, 0), (5000, 36), (84, 1 << 40)] {
        let error = Processor::new(&tokenizer, None, size, tokens, image);
        let error = error.expect_err("out of range");
        assert!(matches!(error, ProcessorError::Geometry { .. }), "{error}");
    }
}

#[test]
fn answers_are_read_without_special_tokens() {
    let processor = processor("pg2_gqa");
    let cases = &json(fixtures().join("pg2_gqa/cases.json"))["cases"];
    for case in ["single", "special", "multi"] {
        let bytes = read(fixtures().join(format!("pg2_gqa/expected/{case}.safetensors")));
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let ids = rows(&file, "generated_ids");
        let text = processor.decode(&ids[0]).expect("a text");
        assert_eq!(text, cases[case]["generated_text"], "{case}");
        let partial = processor.decode_partial(&ids[0]).expect("a text");
        assert!(text.starts_with(&partial), "{case}");
    }
}
