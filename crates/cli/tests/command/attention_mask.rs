//! `paligemma mask` and the prompts that `paligemma inspect` lists.

use crate::{paligemma, path, root, scratch};

fn printed(args: &[&str]) -> String {
    let output = paligemma(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_mask_is_printed_and_drawn() {
    let model = root("tests/fixtures/pg2_odd/model");
    let svg = scratch("mask").join("mask.svg");
    let args = ["mask", "--model", path(&model), "--prompt"];
    let drawn = ["<img> What is in this image?", "--svg", path(&svg)];
    let text = printed(&[&args[..], &drawn].concat());
    assert!(text.contains("'<image>'"), "{text}");
    // No terminal, no colours.
    assert!(!text.contains('\x1b'), "{text}");
    assert_eq!(text.matches("'<image>'").count(), 5);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("'<eos>'") && !last.contains('⬚'), "{last}");
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));

    let more = [
        "x",
        "--image-tokens",
        "all",
        "--suffix",
        "yes",
        "--window",
        "2",
    ];
    let text = printed(&[&args[..], &more].concat());
    assert_eq!(text.matches("'<image>'").count(), 25);
    assert!(text.contains("Sliding Window Mask"));
}

#[test]
fn a_mask_needs_no_weights_and_says_what_it_lacks() {
    let model = root("tests/fixtures/pg2_odd/model");
    let folder = scratch("no_weights");
    let args = ["mask", "--model", path(&folder), "--prompt", "x"];
    std::fs::copy(model.join("config.json"), folder.join("config.json")).unwrap();
    let output = paligemma(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tokenizer.json"));
    std::fs::copy(model.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    assert!(printed(&args).contains("'<eos>'"));

    let output = paligemma(&[&args[..], &["--image-tokens", "0"]].concat());
    assert_eq!(output.status.code(), Some(2));
    let output = paligemma(&[&args[..], &["--images", "1000"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("2048"));
}

#[test]
fn inspect_lists_the_prompts_of_the_checkpoint_by_its_name() {
    let config = root("tests/fixtures/pg1_mqa/model/config.json");
    for (name, parts) in [
        (
            "paligemma-3b-ft-docvqa-448",
            ["DocVQA", "{question}", "at most 32 tokens"],
        ),
        (
            "paligemma-3b-ft-nlvr2-224",
            ["NLVR2", "answer en {question}", "2 pictures"],
        ),
        (
            "paligemma-3b-ft-science-qa-224",
            ["ScienceQA", r"\nOptions:", "512"],
        ),
        ("paligemma2-3b-mix-224", ["mix", "detect {thing}", "{text}"]),
        (
            "paligemma2-3b-pt-224",
            ["pre-trained", "cap {language}", "{box}"],
        ),
        (
            "somebody's",
            ["name says nothing", "detect {thing}", "{text}"],
        ),
    ] {
        let folder = scratch("prompts").join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(&config, folder.join("config.json")).unwrap();
        let said = printed(&["inspect", path(&folder)]);
        for part in parts {
            assert!(said.contains(part), "{name}: {part:?} in {said}");
        }
    }
}
