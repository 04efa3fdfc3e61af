//! Answers to boxes: the published vectors, and what is said where parsers differ.

mod common;

use common::Random;
use paligemma_processor::{AnswerItem, Detection, detections, parse_answer};

fn locs(values: [u16; 4]) -> String {
    values.map(|v| format!("<loc{v:04}>")).concat()
}

fn segs(count: usize) -> String {
    (0..count)
        .map(|i| format!("<seg{:03}>", i * 7 % 128))
        .collect()
}

fn text(text: &str) -> AnswerItem {
    AnswerItem::Text(text.to_owned())
}

fn object(label: &str, bbox: [f32; 4]) -> AnswerItem {
    AnswerItem::Object(Detection {
        label: label.to_owned(),
        bbox,
        ..Detection::default()
    })
}

/// The box of most vectors: `<loc0256><loc0256><loc0768><loc0768>` on 1000 x 1000.
const BOX: [f32; 4] = [250.0, 250.0, 750.0, 750.0];

fn middle() -> String {
    locs([256, 256, 768, 768])
}

/// Where the box is says the test; the tokens it was written with have a test of their own.
fn parse(answer: &str) -> Vec<AnswerItem> {
    let mut items = parse_answer(answer, 1000, 1000);
    for item in &mut items {
        if let AnswerItem::Object(detection) = item {
            detection.locations = [0; 4];
        }
    }
    items
}

#[test]
fn the_locations_are_kept_as_they_were_written() {
    for corners in [[256, 256, 768, 768], [700, 3, 2, 1023], [5, 5, 5, 5]] {
        let found = detections(&format!("{} cat", locs(corners)), 640, 480);
        assert_eq!(found[0].locations, corners);
        assert_eq!(found[0].mask, None);
    }
}

/// Vectors of Roboflow's supervision (`from_paligemma`) that the two parsers agree on.
#[test]
fn vectors_that_all_parsers_agree_on() {
    let m = middle();
    let three = "<loc0256><loc0768><loc0768>";
    for (answer, labels) in [
        (String::new(), vec![]),
        ("\n".into(), vec![]),
        ("a cat sits on a chair".into(), vec![]),
        (format!("{three} cat"), vec![]),
        (format!("{m} cat"), vec!["cat"]),
        (format!("{m} black cat"), vec!["black cat"]),
        (format!("{m} black-cat"), vec!["black-cat"]),
        (format!("{m} black_cat"), vec!["black_cat"]),
        (format!("{m} cat ;"), vec!["cat"]),
        (format!("{m} cat ; {m} dog"), vec!["cat", "dog"]),
        (format!("{m} cat ; {three} cat"), vec!["cat"]),
    ] {
        let found = detections(&answer, 1000, 1000);
        let found: Vec<_> = found.iter().map(|d| (d.label.as_str(), d.bbox)).collect();
        let expected: Vec<_> = labels.into_iter().map(|label| (label, BOX)).collect();
        assert_eq!(found, expected, "{answer:?}");
    }
}

/// supervision takes nothing of five location tokens; the Space's parser, and so ours, takes the
/// first four as an object without a label and leaves the rest as text.
#[test]
fn five_locations_are_an_object_and_text() {
    let m = middle();
    assert_eq!(
        parse(&format!("{m}<loc0768> cat")),
        [object("", BOX), text("<loc0768> cat")]
    );
    let two = parse(&format!("{m} cat ; {m}<loc0768> cat"));
    assert_eq!(
        two,
        [object("cat", BOX), object("", BOX), text("<loc0768> cat")]
    );
    // Eight are two objects.
    assert_eq!(
        parse(&format!("{m}{m} cat")),
        [object("", BOX), object("cat", BOX)]
    );
}

/// supervision wants a label; here, as in the Space, there need not be one.
#[test]
fn an_object_needs_no_label() {
    let m = middle();
    assert_eq!(parse(&m), [object("", BOX)]);
    assert_eq!(
        parse(&format!("{m} ; {m} ;")),
        [object("", BOX), object("", BOX)]
    );
    assert_eq!(parse(&format!("{m}  \n ")), [object("", BOX)]);
}

/// supervision wants a space before the label and word characters in it.
#[test]
fn labels_are_of_any_script() {
    for label in [
        "cat",
        "two black cats",
        "black-cat",
        "it's a (big) cat, no?",
        "猫",
        "黒い 猫",
        "قطة سوداء",
        "кошка",
        "बिल्ली",
        "👩‍👩‍👧 family",
        "e\u{301}",
        "100%",
    ] {
        for space in ["", " ", "  ", "\n"] {
            let answer = format!("{}{space}{label} ; {}", middle(), middle());
            assert_eq!(
                parse(&answer),
                [object(label, BOX), object("", BOX)],
                "{answer:?}"
            );
        }
    }
    assert_eq!(
        parse(&format!("{} a > b", middle())),
        [object("a", BOX), text("> b")]
    );
}

#[test]
fn repeated_labels_stay_as_they_are() {
    let m = middle();
    let found = parse(&format!("{m} cat ; {m} cat ; {m} cat"));
    assert_eq!(
        found,
        [object("cat", BOX), object("cat", BOX), object("cat", BOX)]
    );
}

#[test]
fn boxes_are_fractions_of_the_picture_y_first() {
    let answer = format!("{} x", locs([1, 2, 512, 1023]));
    let [AnswerItem::Object(found)] = &parse_answer(&answer, 640, 480)[..] else {
        panic!("one object");
    };
    assert_eq!(found.bbox, [1.25, 0.46875, 639.375, 240.0]);
    // Not rounded, and exact for the largest pictures.
    let found = detections(&locs([0, 0, 1023, 1]), 65_535, 3);
    assert_eq!(found[0].bbox, [0.0, 0.0, 63.999_023, 2.997_070_3]);
}

/// Wrong order and no size, which supervision and the Space leave as they are.
#[test]
fn corners_are_put_in_order() {
    let codes = segs(16);
    for (corners, expected, has_mask) in [
        ([256, 256, 768, 768], [250.0, 250.0, 750.0, 750.0], true),
        ([768, 256, 256, 768], [250.0, 250.0, 750.0, 750.0], false),
        ([256, 768, 768, 256], [250.0, 250.0, 750.0, 750.0], false),
        ([768, 768, 256, 256], [250.0, 250.0, 750.0, 750.0], false),
        ([256, 512, 768, 512], [500.0, 250.0, 500.0, 750.0], false),
        ([0, 0, 0, 0], [0.0; 4], false),
    ] {
        let found = detections(&format!("{}{codes} x", locs(corners)), 1000, 1000);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].bbox, found[0].label.as_str()),
            (expected, "x"),
            "{corners:?}"
        );
        assert_eq!(found[0].mask_codes.is_some(), has_mask, "{corners:?}");
    }
    // supervision refuses such pictures; there is nothing to divide by, so here they are points.
    assert_eq!(
        detections(&middle(), 0, 1000)[0].bbox,
        [0.0, 250.0, 0.0, 750.0]
    );
    assert_eq!(detections(&middle(), 0, 0)[0].bbox, [0.0; 4]);
}

#[test]
fn sixteen_segmentation_tokens_are_a_mask() {
    let m = middle();
    let codes: [u16; 16] = std::array::from_fn(|i| (i * 7 % 128) as u16);
    for space in ["", " ", "\n "] {
        let found = parse(&format!("{m}{space}{} left person ; {m} cat", segs(16)));
        let [AnswerItem::Object(person), AnswerItem::Object(cat)] = &found[..] else {
            panic!("two objects: {found:?}");
        };
        assert_eq!(
            (person.label.as_str(), person.mask_codes),
            ("left person", Some(codes))
        );
        assert_eq!((cat.label.as_str(), cat.mask_codes), ("cat", None));
    }
    // Referring-expression checkpoints give no label.
    let bare = detections(&format!("{m}{}", segs(16)), 1000, 1000);
    assert_eq!(
        (bare[0].label.as_str(), bare[0].mask_codes),
        ("", Some(codes))
    );

    let fifteen = segs(15);
    let found = parse(&format!("{m}{fifteen} cat"));
    assert_eq!(found, [object("", BOX), text(&format!("{fifteen} cat"))]);

    let found = parse(&format!("{m}{}<seg099> cat", segs(16)));
    let [AnswerItem::Object(first), rest] = &found[..] else {
        panic!("an object and a text: {found:?}");
    };
    assert_eq!((first.label.as_str(), first.mask_codes), ("", Some(codes)));
    assert_eq!(*rest, text("<seg099> cat"));
}

#[test]
fn tokens_out_of_range_are_text() {
    for token in [
        "<loc1024>",
        "<loc9999>",
        "<loc+123>",
        "<loc-001>",
        "<loc123>",
        "<loc00123>",
        "<LOC0123>",
        "<loc 123>",
        "<loc١٢٣٤>",
        "<loc0123",
        "loc0123>",
        "<loc012é>",
    ] {
        let answer = format!("<loc0001><loc0002><loc0003>{token} cat");
        assert_eq!(parse(&answer), [text(&answer)]);
        // A whole object behind it is found all the same.
        let found = parse(&format!("{answer}{}", middle()));
        assert_eq!(found, [text(&answer), object("", BOX)]);
    }
    let bad = format!("{}<seg128>", segs(15));
    assert_eq!(
        parse(&format!("{}{bad}", middle())),
        [object("", BOX), text(&bad)]
    );
}

#[test]
fn text_around_objects_is_kept() {
    let m = middle();
    let found = parse(&format!("I see:\n{m} cat ; and {m} dog ; nothing else"));
    let expected = [
        text("I see:\n"),
        object("cat", BOX),
        text("and "),
        object("dog", BOX),
        text("nothing else"),
    ];
    assert_eq!(found, expected);
    assert_eq!(parse("no"), [text("no")]);
    assert_eq!(parse(""), []);
}

/// What the page does: parse the answer anew at every token.
#[test]
fn objects_come_with_their_fourth_location() {
    let answer = format!(
        "{}{} tabby cat ; {} dog",
        middle(),
        segs(16),
        locs([0, 0, 512, 512])
    );
    let mut tokens: Vec<String> = Vec::new();
    for c in answer.chars() {
        match tokens.last_mut() {
            Some(token) if c != '<' && !token.ends_with('>') => token.push(c),
            _ => tokens.push(c.into()),
        }
    }
    assert_eq!(tokens.len(), 4 + 16 + 1 + 4 + 1, "{tokens:?}");
    for end in 0..=tokens.len() {
        let found = detections(&tokens[..end].concat(), 1000, 1000);
        let objects = usize::from(end >= 4) + usize::from(end >= 25);
        assert_eq!(found.len(), objects, "after {end} tokens");
        if let Some(cat) = found.first() {
            assert_eq!(cat.bbox, BOX);
            assert_eq!(cat.label, if end > 20 { "tabby cat" } else { "" });
            assert_eq!(cat.mask_codes.is_some(), end >= 20);
        }
    }
}

#[test]
fn detections_are_written_as_json() {
    let mut found = detections(&format!("{} cat", middle()), 1000, 1000);
    let json = serde_json::to_string(&found).expect("JSON");
    // What was written, which a box in pixels follows from, stays behind.
    found[0].locations = [0; 4];
    assert_eq!(json, r#"[{"label":"cat","box":[250.0,250.0,750.0,750.0]}]"#);
    let back: Vec<Detection> = serde_json::from_str(&json).expect("detections");
    assert_eq!(back, found);
    let codes = detections(&format!("{}{}", middle(), segs(16)), 1000, 1000);
    let json = serde_json::to_value(&codes).expect("JSON");
    assert_eq!(json[0]["mask_codes"].as_array().map(Vec::len), Some(16));
}

/// Random answers of pieces that matter: no panic, boxes in the picture and in order, no empty
/// text, and an answer without its objects' own text is what is left.
#[test]
fn random_answers_are_taken_apart_in_order() {
    let mut random = Random(1);
    let pieces = [
        "<loc0000>",
        "<loc1023>",
        "<loc0512>",
        "<loc0100>",
        "<loc0100>",
        "<loc0100>",
        "<loc1024>",
        "<seg000>",
        "<seg127>",
        "<loc",
        "<",
        ">",
        ";",
        " ",
        "\n",
        "cat",
        "猫",
        "é",
        "👩‍👩‍👧",
        "\u{0}",
        "<loc01",
        "23>",
    ];
    let mut objects = 0;
    for _ in 0..20_000 {
        let mut answer = String::new();
        for _ in 0..random.below(30) {
            match random.below(20) {
                0 => answer.push_str(&segs(15 + random.below(3))),
                1 => answer.push_str(&middle()),
                _ => answer.push_str(random.pick(&pieces)),
            }
        }
        let (width, height) = (random.below(5000) as u32, random.below(5000) as u32);
        let mut rest = answer.as_str();
        for item in parse_answer(&answer, width, height) {
            match item {
                AnswerItem::Text(text) => {
                    assert!(!text.is_empty());
                    let at = rest
                        .find(&text)
                        .expect("text comes from the answer, in order");
                    rest = &rest[at + text.len()..];
                }
                AnswerItem::Object(found) => {
                    objects += 1;
                    let [x0, y0, x1, y1] = found.bbox;
                    assert!(0.0 <= x0 && x0 <= x1 && x1 <= width as f32, "{found:?}");
                    assert!(0.0 <= y0 && y0 <= y1 && y1 <= height as f32, "{found:?}");
                    assert_eq!(found.label, found.label.trim());
                    assert!(!found.label.contains([';', '<', '>']));
                    let at = rest.find(&found.label).expect("so do labels");
                    rest = &rest[at + found.label.len()..];
                }
            }
        }
    }
    assert!(objects > 5000, "{objects} objects");
}

/// Text that would make a backtracking matcher run for hours takes a moment: a megabyte of each.
#[test]
fn hostile_answers_take_linear_time() {
    let start = std::time::Instant::now();
    for piece in [
        "<loc0001>",
        "<loc0001><loc0001><loc0001>",
        "<loc",
        "<",
        " ",
        ";",
        "<seg000>",
        "<loc0001><loc0001><loc0001><loc0001> ",
        "<loc0001><loc0001><loc0001><loc0001><seg000>",
        "a;",
        "é",
    ] {
        let answer = piece.repeat(1_000_000 / piece.len());
        for prefix in [
            "",
            "<loc0001><loc0001><loc0001><loc0001>",
            "<loc0001><loc0001><loc0001>",
        ] {
            parse(&format!("{prefix}{answer}"));
        }
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
