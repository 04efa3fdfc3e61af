//! Each bad input: exit code 2 and one sentence that names the input and what to do.

use std::path::{Path, PathBuf};

use crate::{paligemma, path, root, scratch};

/// A copy of a checkpoint to be damaged.
fn copy(name: &str) -> PathBuf {
    let folder = scratch(name);
    for file in std::fs::read_dir(root("tests/fixtures/pg1_mqa/model")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    folder
}

fn run(model: &Path, image: &Path, prompt: &str) -> (Option<i32>, String) {
    let output = paligemma(&[
        "run",
        "--model",
        path(model),
        "--image",
        path(image),
        "--prompt",
        prompt,
        "--json",
    ]);
    assert!(output.stdout.is_empty());
    // A headless machine's Vulkan loader has remarks of its own; ours begin with our name.
    let stderr = String::from_utf8(output.stderr).unwrap();
    let ours: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("paligemma: "))
        .collect();
    assert_eq!(ours.len(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code(), ours[0].to_owned())
}

fn refused(model: &Path, image: &Path, prompt: &str, parts: &[&str]) {
    let (code, sentence) = run(model, image, prompt);
    assert_eq!(code, Some(2), "{sentence}");
    for part in parts {
        assert!(sentence.contains(part), "{part:?} in {sentence:?}");
    }
}

fn image() -> PathBuf {
    root("tests/fixtures/pg1_mqa/images/image_a.png")
}

#[test]
fn checkpoints_that_are_damaged() {
    let model = copy("truncated");
    let weights = model.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 1000]).unwrap();
    refused(
        &model,
        &image(),
        "x",
        &["model.safetensors", "1000", "download"],
    );

    std::fs::write(&weights, 1_000_000_000_u64.to_le_bytes()).unwrap();
    refused(&model, &image(), "x", &["model.safetensors", "header"]);

    std::fs::remove_file(&weights).unwrap();
    refused(&model, &image(), "x", &["model.safetensors"]);

    let model = copy("no_config");
    std::fs::remove_file(model.join("config.json")).unwrap();
    refused(&model, &image(), "x", &["config.json"]);

    let model = copy("wrong_shape");
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let config = config.replace("\"intermediate_size\": 176", "\"intermediate_size\": 184");
    std::fs::write(model.join("config.json"), config).unwrap();
    refused(
        &model,
        &image(),
        "x",
        &["mlp.", "config.json", "184", "176"],
    );

    let model = copy("missing_tensor");
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let config = config.replacen("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", 1);
    std::fs::write(model.join("config.json"), config).unwrap();
    refused(&model, &image(), "x", &["layers.3", "model.safetensors"]);

    let model = copy("no_tokenizer");
    std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    refused(&model, &image(), "x", &["tokenizer.json", "download"]);

    let model = copy("no_locations");
    let tokenizer = std::fs::read_to_string(model.join("tokenizer.json")).unwrap();
    let tokenizer = tokenizer.replace("<loc0512>", "<lox0512>");
    std::fs::write(model.join("tokenizer.json"), tokenizer).unwrap();
    refused(&model, &image(), "x", &["tokenizer.json", "<loc0512>"]);
}

#[test]
fn pictures_that_are_none() {
    let model = root("tests/fixtures/pg1_mqa/model");
    let folder = scratch("pictures");
    let empty = folder.join("empty.png");
    std::fs::write(&empty, b"").unwrap();
    refused(&model, &empty, "x", &["empty.png", "empty"]);
    refused(&model, &root("Cargo.toml"), "x", &["Cargo.toml", "PNG"]);
    refused(
        &model,
        &folder.join("absent.png"),
        "x",
        &["absent.png", "check the path"],
    );

    // A header of 30,000 × 30,000; the check value is that of these 17 bytes.
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend(30_000_u32.to_be_bytes());
    png.extend(30_000_u32.to_be_bytes());
    png.extend([8, 2, 0, 0, 0]);
    png.extend(0x73ae_74fb_u32.to_be_bytes());
    let huge = folder.join("huge.png");
    std::fs::write(&huge, png).unwrap();
    let (code, sentence) = run(&model, &huge, "x");
    assert_eq!(code, Some(2), "{sentence}");
    assert!(sentence.contains("huge.png"), "{sentence}");
}

#[test]
fn prompts_that_do_not_fit() {
    let demo = root("web/demo/model");
    let picture = root("web/demo/samples/scene01.png");
    let long = "cat ; ".repeat(1000);
    refused(&demo, &picture, &long, &["prompt", "1024", "shorten"]);
    refused(
        &demo,
        &picture,
        "<image><image>detect cat",
        &["<image>", "2", "1"],
    );

    let output = paligemma(&[
        "run",
        "--model",
        path(&demo),
        "--image",
        path(&picture),
        "--prompt-ids",
        "1,2,99999999",
    ]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_wrong_use_is_explained() {
    let output = paligemma(&["run", "--prompt", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--model"));
    let output = paligemma(&[
        "forward",
        "--model",
        path(&root("web/demo/model")),
        "--image",
        path(&root("web/demo/samples/scene01.png")),
        "--prompt",
        "x",
        "--out",
        "absent-folder/x.safetensors",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent-folder"));
}

/// What shapes a picture does nothing without a token, so it is not taken in silence.
#[test]
fn a_picture_of_attention_needs_a_token() {
    let (demo, picture) = (root("web/demo/model"), root("web/demo/samples/scene01.png"));
    let files = [
        "attention",
        "--model",
        path(&demo),
        "--image",
        path(&picture),
    ];
    for (option, value) in [
        ("--out", "x.png"),
        ("--layer", "0"),
        ("--head", "0"),
        ("--picture", "0"),
    ] {
        let output = paligemma(&[&files[..], &["--prompt", "x", option, value]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{option}: {said}");
        assert!(said.contains("--token"), "{option}: {said}");
    }
}

/// What transformers' processor writes to its log is said here too: on stderr, or in the object.
#[test]
fn what_is_probably_not_meant_is_remarked() {
    let model = copy("no_image_seq_length");
    let file = model.join("preprocessor_config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let shorter = text.replace("\"image_seq_length\": 16,", "");
    assert_ne!(shorter, text);
    std::fs::write(&file, shorter).unwrap();
    let sound = root("tests/fixtures/pg1_mqa/model");
    let picture = image();
    for (model, prompt, kinds) in [
        (&sound, "caption en", &[][..]),
        (&sound, "<bos>caption en", &["second_bos"]),
        (&sound, "", &["no_text"]),
        (&model, "<bos>", &["no_image_seq_length", "second_bos"]),
    ] {
        let files = ["run", "--model", path(model), "--image", path(&picture)];
        let asked = ["--prompt", prompt, "--max-new-tokens", "1"];
        let args = [&files[..], &asked].concat();
        let object = paligemma(&[&args[..], &["--json"]].concat());
        assert!(!String::from_utf8_lossy(&object.stderr).contains("paligemma: "));
        let object: serde_json::Value = serde_json::from_slice(&object.stdout).unwrap();
        let warnings = object["warnings"].as_array().unwrap();
        let found: Vec<&str> = warnings
            .iter()
            .map(|warning| warning["kind"].as_str().unwrap())
            .collect();
        assert_eq!(found, kinds, "{prompt:?}");

        let plain = paligemma(&args);
        assert_eq!(plain.status.code(), Some(0));
        let said = String::from_utf8(plain.stderr).unwrap();
        let said: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("paligemma: "))
            .collect();
        let texts: Vec<&str> = warnings
            .iter()
            .map(|warning| warning["text"].as_str().unwrap())
            .collect();
        assert_eq!(said, texts, "{prompt:?}");
    }
}
