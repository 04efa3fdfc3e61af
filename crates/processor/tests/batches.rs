//! Batches, suffixes, labels and messages, against transformers' processor (`passes.json`).

mod common;

use common::{fixtures, geometry, json, processor, read, tokenizer_json, usize_of};
use paligemma_processor::{
    Batch, BatchRequest, Content, IGNORED, ImageCounts, Message, MessageError, Padding, Part,
    Processor, ProcessorError, ProcessorWarning, apply_chat_template, parse_messages,
};
use serde_json::Value;

/// A text or a list of them.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(vec![text]),
        other => other.as_array()?.iter().map(Value::as_str).collect(),
    }
}

/// Counts of a list of pictures, or of a list of lists.
fn counts(value: &Value) -> (Option<usize>, Vec<usize>) {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    match list.first() {
        Some(Value::Array(_)) => {
            let lists = list.iter().filter_map(Value::as_array);
            (None, lists.map(Vec::len).collect())
        }
        _ => (Some(list.len()), Vec::new()),
    }
}

fn call(processor: &Processor, case: &Value) -> Result<Batch, ProcessorError> {
    let (texts, suffixes) = (texts(&case["text"]), texts(&case["suffix"]));
    let options = &case["options"];
    let most = options.get("max_length").map(usize_of);
    let padding = match (&options["padding"], most) {
        (Value::Null, _) => Padding::Off,
        (Value::String(how), Some(most)) if how == "max_length" => Padding::To(most),
        _ => Padding::Longest,
    };
    let request = BatchRequest {
        texts: texts.as_deref(),
        suffixes: suffixes.as_deref(),
        padding,
        max_length: most.filter(|_| options["truncation"] == true),
    };
    let (flat, nested) = counts(&case["images"]);
    processor.batch(
        &request,
        flat.map_or(ImageCounts::Nested(&nested), ImageCounts::Flat),
    )
}

fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<Vec<T>> {
    serde_json::from_value(value.clone()).expect("rows of numbers")
}

#[test]
fn every_request_is_answered_as_by_transformers() {
    for model in ["pg1_mqa", "pg2_odd"] {
        let processor = processor(model);
        let cases = json(fixtures().join(model).join("passes.json"));
        let cases = cases["processor"].as_array().expect("cases");
        let (mut answered, mut refused) = (0, 0);
        for case in cases {
            let got = call(&processor, case);
            let Some(error) = case["error"].as_str() else {
                let batch = got.unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!(
                    batch.input_ids,
                    numbers::<u32>(&case["input_ids"]),
                    "{case}"
                );
                assert_eq!(
                    batch.attention_mask,
                    numbers::<u32>(&case["attention_mask"]),
                    "{case}"
                );
                assert_eq!(
                    batch.token_type_ids,
                    numbers::<u32>(&case["token_type_ids"]),
                    "{case}"
                );
                assert_eq!(batch.labels, numbers::<i64>(&case["labels"]), "{case}");
                let warned = batch.warnings.contains(&ProcessorWarning::ImagesInferred);
                let said = case["warnings"].to_string().contains("we will infer");
                assert_eq!(warned, said, "{case}");
                answered += 1;
                continue;
            };
            // There rows of unequal length fail to become an array; here they are rows.
            if error.contains("inhomogeneous") {
                assert!(got.is_ok(), "{case}");
                continue;
            }
            let ours = got.expect_err(&case.to_string());
            let same = match &ours {
                ProcessorError::NoImages => error.contains("`images` are expected"),
                ProcessorError::TextCount { images, texts } => {
                    error.contains(&format!("Received {images} images for {texts} prompts"))
                        // Of a list of lists that is too long it says only that.
                        || error.contains("The total number of <image> tokens")
                }
                ProcessorError::ImageCount { .. } => {
                    error.contains("The total number of <image> tokens")
                }
                ProcessorError::ImageTokenCount { found, .. } => {
                    error.contains(&format!("Got ids=[{found}]"))
                }
                _ => false,
            };
            assert!(same, "{ours} for {error}");
            refused += 1;
        }
        assert_eq!((answered, refused), (8, 7), "{model}");
    }
}

#[test]
fn what_is_not_meant_is_said() {
    let processor = processor("pg2_odd");
    let warnings = |texts: Option<&[&str]>, images| {
        let request = BatchRequest {
            texts,
            ..BatchRequest::default()
        };
        let batch = processor.batch(&request, ImageCounts::Flat(images));
        batch.expect("a batch").warnings
    };
    use ProcessorWarning::{ImagesInferred, NoText, SecondBos, TrailingNewline};
    assert_eq!(warnings(None, 2), [NoText, ImagesInferred]);
    assert_eq!(warnings(Some(&["<image>ocr"]), 1), []);
    assert_eq!(
        warnings(Some(&["<image><bos>ocr\n", "<image>x\n"]), 2),
        [SecondBos, TrailingNewline]
    );
    // Without a text, one empty prompt for each picture.
    let request = BatchRequest::default();
    let captions = processor
        .batch(&request, ImageCounts::Flat(2))
        .expect("a batch");
    let empty = processor.prompt("", 1).expect("a prompt").input_ids;
    assert_eq!(captions.input_ids, [empty.clone(), empty]);

    let stored = read(fixtures().join("pg2_odd/model/preprocessor_config.json"));
    let mut config: Value = serde_json::from_slice(&stored).expect("JSON");
    config
        .as_object_mut()
        .expect("an object")
        .remove("image_seq_length");
    let (size, tokens, image) = geometry("pg2_odd");
    let tokenizer = tokenizer_json("pg2_odd");
    let config = config.to_string();
    let without = Processor::new(tokenizer, Some(config.as_bytes()), size, tokens, image);
    let without = without.expect("a processor");
    let warning = ProcessorWarning::NoImageSeqLength {
        image_tokens: tokens,
    };
    assert_eq!(without.warnings(), [warning]);
    assert_eq!(processor.warnings(), []);
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let processor = processor("pg2_odd");
    let batch = |texts: &[&str], suffixes: Option<&[&str]>, images| {
        let request = BatchRequest {
            texts: Some(texts),
            suffixes,
            ..BatchRequest::default()
        };
        processor.batch(&request, images)
    };
    let error = batch(&["a", "b"], Some(&["x"]), ImageCounts::Flat(2));
    assert_eq!(
        error,
        Err(ProcessorError::SuffixCount {
            suffixes: 1,
            texts: 2
        })
    );
    assert_eq!(
        batch(&[], None, ImageCounts::Flat(1)),
        Err(ProcessorError::NoTexts)
    );
    let error = batch(&["<image>a", "b"], None, ImageCounts::Nested(&[0, 1]));
    let wanted = ProcessorError::ImageCount {
        written: 1,
        images: 0,
    };
    assert_eq!(error, Err(wanted));
    // A suffix is no place for a picture.
    let error = batch(&["a"], Some(&["<image>"]), ImageCounts::Flat(1));
    assert!(matches!(error, Err(ProcessorError::ImageTokenCount { .. })));
    // A text without a picture of its own, where others place theirs: `<bos>` begins it.
    let mixed = batch(&["<image>a", "b"], None, ImageCounts::Flat(1)).expect("a batch");
    assert_eq!(mixed.num_images, [1, 0]);
    assert_eq!(mixed.input_ids[1][0], processor.tokenizer().bos());
    assert!(mixed.labels.iter().flatten().all(|&label| label == IGNORED));
    // Nobody's memory is filled with padding.
    let request = BatchRequest {
        texts: Some(&["a"]),
        padding: Padding::To(usize::MAX),
        ..BatchRequest::default()
    };
    let padded = processor
        .batch(&request, ImageCounts::Flat(1))
        .expect("a batch");
    assert_eq!(padded.input_ids[0].len(), 1 << 20);
}

#[test]
fn ids_become_texts_with_or_without_special_tokens() {
    let processor = processor("pg2_odd");
    let cases = json(fixtures().join("pg2_odd/tokenizer_cases.json"));
    let cases = cases["cases"].as_array().expect("cases");
    let rows: Vec<Vec<u32>> = cases
        .iter()
        .map(|case| serde_json::from_value(case["ids"].clone()).expect("ids"))
        .collect();
    for (skip, key) in [(false, "decoded"), (true, "decoded_skip_special")] {
        let texts = processor.batch_decode(&rows, skip).expect("texts");
        for (text, case) in texts.iter().zip(cases) {
            assert_eq!(*text, case[key], "{case}");
        }
    }
}

fn user(parts: Vec<Part<u32>>) -> Message<u32> {
    Message {
        role: "user".to_owned(),
        content: Content::Parts(parts),
    }
}

#[test]
fn one_message_of_the_user_is_a_prompt() {
    let image = |image| Part::Image { image };
    let text = |text: &str| Part::Text {
        text: text.to_owned(),
    };
    let messages = [user(vec![image(7), image(9), text("answer en same?")])];
    let (prompt, images) = apply_chat_template(&messages).expect("a prompt");
    assert_eq!(
        (prompt.as_str(), images),
        ("<image><image>answer en same?", vec![&7, &9])
    );
    // Pictures stay where they are said.
    let messages = [user(vec![image(7), text("and"), image(9)])];
    let (prompt, _) = apply_chat_template(&messages).expect("a prompt");
    assert_eq!(prompt, "<image>and<image>");
    let messages = [user(vec![image(7)])];
    let (prompt, _) = apply_chat_template(&messages).expect("a prompt");
    assert_eq!(prompt, "<image>");

    let refused = |messages: &[Message<u32>]| apply_chat_template(messages).expect_err("refused");
    assert_eq!(refused(&[]), MessageError::None);
    assert_eq!(refused(&[user(vec![text("x")])]), MessageError::NoImage);
    let two = user(vec![image(1), text("x"), text("y")]);
    assert_eq!(
        refused(std::slice::from_ref(&two)),
        MessageError::Texts { count: 2 }
    );
    assert_eq!(
        refused(&[two.clone(), two]),
        MessageError::Turns { count: 2 }
    );
    let written = user(vec![image(1), text("<image>x")]);
    assert_eq!(refused(&[written]), MessageError::WrittenImage);
    for role in ["system", "tool", "assistant"] {
        let message = Message {
            role: role.to_owned(),
            ..user(vec![image(1)])
        };
        let role = role.to_owned();
        assert_eq!(refused(&[message]), MessageError::Role { role });
    }
    let alone = Message {
        role: "user".to_owned(),
        content: Content::Text("caption en".to_owned()),
    };
    assert_eq!(refused(&[alone]), MessageError::NoImage);
}

#[test]
fn messages_are_read_from_json() {
    for key in ["image", "url", "path"] {
        let json = format!(
            r#"[{{"role": "user", "content": [{{"type": "image", "{key}": "cat.jpg"}},
               {{"type": "text", "text": "ocr"}}]}}]"#
        );
        let messages = parse_messages(&json).expect("messages");
        let (prompt, images) = apply_chat_template(&messages).expect("a prompt");
        assert_eq!(
            (prompt.as_str(), images[0].as_str()),
            ("<image>ocr", "cat.jpg")
        );
    }
    for json in [
        "",
        "{}",
        r#"[{"role": "user"}]"#,
        r#"[{"role": "user", "content": [{"type": "video", "url": "x"}]}]"#,
        r#"[{"role": "user", "content": [{"type": "image"}]}]"#,
    ] {
        let error = parse_messages(json).expect_err(json);
        assert!(matches!(error, MessageError::Json { .. }), "{error}");
    }
}
