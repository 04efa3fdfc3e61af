use safetensors::{Dtype, SafeTensors};

use serde_json::Value;
use std::path::Path;
use std::process::Output;

use crate::{paligemma, path, root, scratch};

fn json(args: &[&str]) -> serde_json::Value {
    let output = paligemma(args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `run --json` of the demo model on its second sample picture, which shows two boats.
fn demo(more: &[&str]) -> serde_json::Value {
    let (model, image) = (root("web/demo/model"), root("web/demo/samples/scene01.png"));
    let files = [
        "run",
        "--json",
        "--model",
        path(&model),
        "--image",
        path(&image),
    ];
    json(&[&files, more].concat())
}

#[test]
fn run_prints_one_object_with_every_promised_field() {
    let answer = demo(&["--prompt", " detect boat\n"]);
    let record = std::fs::read(root("web/demo/samples/scene01.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let wanted = &record["outputs"][0];
    assert_eq!(wanted["prompt"], "detect boat");
    assert_eq!(answer["text"], wanted["text"]);
    assert_eq!(answer["token_ids"], wanted["output_ids"]);
    assert_eq!(answer["stopped"], "eos");
    // <loc0218><loc0612><loc0612><loc0959> of 1024ths of 448 pixels, y before x.
    let first = &answer["detections"][0];
    assert_eq!(first["label"], "boat");
    let corners = [612.0, 218.0, 959.0, 612.0].map(|v: f64| v / 1024.0 * 448.0);
    for (got, wanted) in first["box"].as_array().unwrap().iter().zip(corners) {
        // Quarter pixels here, exact in f32.
        assert_eq!(got.as_f64().unwrap(), wanted);
    }
    assert_eq!(answer["detections"].as_array().unwrap().len(), 2);
    for stage in [
        "load_ms",
        "vision_ms",
        "prefill_ms",
        "decode_ms",
        "tokens_per_second",
    ] {
        assert!(answer["timings"][stage].as_f64().unwrap() > 0.0, "{stage}");
    }
    assert!(!answer["adapter"]["name"].as_str().unwrap().is_empty());
}

#[test]
fn ids_in_place_of_a_prompt_and_a_token_limit() {
    let record = std::fs::read(root("web/demo/samples/scene01.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let ids = record["outputs"][0]["prompt_ids"].as_array().unwrap();
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let answer = demo(&["--prompt-ids", &ids.join(","), "--max-new-tokens", "5"]);
    let wanted = record["outputs"][0]["output_ids"].as_array().unwrap();
    assert_eq!(answer["token_ids"].as_array().unwrap()[..], wanted[..5]);
    assert_eq!(answer["stopped"], "length");
}

/// One position more than a step of the cache, so that the sum of both would wrap around.
#[test]
fn a_limit_beyond_every_number_is_the_context() {
    let config = std::fs::read(root("web/demo/model/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let image_token = config["image_token_index"].to_string();
    let mut ids = vec![image_token; 64];
    ids.resize(257, "2".to_owned());
    let most = usize::MAX.to_string();
    let answer = demo(&["--prompt-ids", &ids.join(","), "--max-new-tokens", &most]);
    let count = answer["token_ids"].as_array().unwrap().len();
    assert!(count <= 1024 - 257 + 1, "{count}");
}

#[test]
fn several_images_are_several_images() {
    let folder = root("tests/fixtures/pg2_odd");
    let cases = std::fs::read(folder.join("cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&cases).unwrap();
    let case = &cases["cases"]["multi"];
    let images = case["images"][0].as_array().unwrap();
    let images: Vec<_> = images
        .iter()
        .map(|file| folder.join("images").join(file.as_str().unwrap()))
        .collect();
    let model = folder.join("model");
    let answer = json(&[
        "run",
        "--model",
        path(&model),
        "--image",
        path(&images[0]),
        "--image",
        path(&images[1]),
        "--prompt",
        case["text"].as_str().unwrap(),
        "--max-new-tokens",
        "40",
        "--json",
    ]);
    assert_eq!(answer["text"], case["generated_text"]);
}

#[test]
fn forward_writes_the_tensors_of_the_fixtures() {
    let folder = root("tests/fixtures/pg2_gqa");
    let out = scratch("forward").join("out.safetensors");
    let (model, image) = (folder.join("model"), folder.join("images/image_a.png"));
    let output = paligemma(&[
        "forward",
        "--model",
        path(&model),
        "--image",
        path(&image),
        "--prompt",
        "answer en what is the color of the car?",
        "--out",
        path(&out),
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let got = std::fs::read(&out).unwrap();
    let got = SafeTensors::deserialize(&got).unwrap();
    let wanted = std::fs::read(folder.join("expected/single.safetensors")).unwrap();
    let wanted = SafeTensors::deserialize(&wanted).unwrap();
    // 3 inputs, 3 + 2 of vision, features, 2 + 4 of text, logits, keys and values of 4 layers.
    assert_eq!(got.len(), 3 + 4 + 1 + 6 + 1 + 8);
    for (name, tensor) in got.tensors() {
        let expected = wanted.tensor(&name).unwrap();
        assert_eq!(tensor.shape(), expected.shape(), "{name}");
        assert_eq!(tensor.dtype(), expected.dtype(), "{name}");
        if tensor.dtype() == Dtype::I64 || name == "pixel_values" {
            assert_eq!(tensor.data(), expected.data(), "{name}");
        }
    }
}

#[test]
fn forward_writes_labels_loss_and_attentions() {
    let folder = root("tests/fixtures/pg2_odd");
    let out = scratch("forward_more").join("out.safetensors");
    let (model, image) = (folder.join("model"), folder.join("images/image_b.png"));
    let output = paligemma(&[
        "forward",
        "--model",
        path(&model),
        "--image",
        path(&image),
        "--prompt",
        "caption en",
        "--suffix",
        "A cow is standing on the beach\n",
        "--attentions",
        "--logits-to-keep",
        "3",
        "--out",
        path(&out),
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let got = std::fs::read(&out).unwrap();
    let got = SafeTensors::deserialize(&got).unwrap();
    let wanted = std::fs::read(folder.join("expected/suffix.safetensors")).unwrap();
    let wanted = SafeTensors::deserialize(&wanted).unwrap();
    for name in ["input_ids", "token_type_ids", "labels"] {
        let (got, wanted) = (got.tensor(name).unwrap(), wanted.tensor(name).unwrap());
        assert_eq!(got.shape(), wanted.shape(), "{name}");
        assert_eq!(got.data(), wanted.data(), "{name}");
    }
    let number = |file: &SafeTensors<'_>| {
        let tensor = file.tensor("loss").unwrap();
        assert_eq!((tensor.shape(), tensor.dtype()), (&[1][..], Dtype::F32));
        f32::from_le_bytes(tensor.data().try_into().unwrap())
    };
    // Twice what rounding does to logits, see the tests against transformers.
    assert!((number(&got) - number(&wanted)).abs() <= 4e-4);
    let tokens = wanted.tensor("input_ids").unwrap().shape()[1];
    let logits = got.tensor("logits").unwrap();
    assert_eq!(logits.shape()[..2], [1, 3]);
    let single = std::fs::read(folder.join("expected/single.safetensors")).unwrap();
    let single = SafeTensors::deserialize(&single).unwrap();
    let mut attentions = 0;
    for name in single.names() {
        if !name.contains(".attentions.") {
            continue;
        }
        let (got, wanted) = (got.tensor(name).unwrap(), single.tensor(name).unwrap());
        assert_eq!(got.shape()[..2], wanted.shape()[..2], "{name}");
        if name.starts_with("text.") {
            assert_eq!(got.shape()[2..], [tokens, tokens], "{name}");
        } else {
            assert_eq!(got.shape(), wanted.shape(), "{name}");
        }
        attentions += 1;
    }
    assert!(attentions >= 4, "{attentions}");
}

#[test]
fn attention_lists_tokens_and_draws_where_one_looked() {
    let (model, image) = (root("web/demo/model"), root("web/demo/samples/scene01.png"));
    let attention = |more: &[&str]| {
        let input = [
            "attention",
            "--model",
            path(&model),
            "--image",
            path(&image),
        ];
        paligemma(&[&input[..], &["--prompt", "detect boat"], more].concat())
    };
    let listed = attention(&[]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.starts_with("0\t\"<loc0218>\"\n"), "{listed}");
    assert!(listed.contains("4\t\" boat\"\n"), "{listed}");

    let out = scratch("attention").join("heat.png");
    let drawn = attention(&["--token", "3", "--layer", "2", "--out", path(&out)]);
    let said = String::from_utf8(drawn.stdout).unwrap();
    assert!(
        said.contains("<loc0959>") && said.contains("1 layers"),
        "{said}"
    );
    let heat = image::open(&out).unwrap();
    assert_eq!((heat.width(), heat.height()), (448, 448));
    let original = image::open(&image).unwrap();
    assert_ne!(heat.to_rgb8(), original.to_rgb8());

    for (more, part) in [
        (["--token", "99", "--out", path(&out)], "token 99"),
        (
            ["--token", "0", "--out", "absent-folder/x.png"],
            "absent-folder",
        ),
    ] {
        let refused = attention(&more);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
    for more in [["--layer", "99"], ["--head", "99"], ["--picture", "1"]] {
        let wanted = [&["--token", "0", "--out", path(&out)], &more[..]].concat();
        assert_eq!(attention(&wanted).status.code(), Some(2));
    }
}

/// 8 bits move the corners of the demo model's boxes by a few 1024ths at most; its labels stay.
#[test]
fn weights_are_packed_as_the_recipe_says() {
    let run = |recipe: &str| demo(&["--prompt", "detect boat", "--recipe", recipe]);
    let stored = run("as-stored");
    for recipe in ["f16", "q8", "q4", "q4-small", "int4-g128"] {
        let packed = run(recipe);
        let found = packed["detections"].as_array().unwrap();
        let wanted = stored["detections"].as_array().unwrap();
        assert_eq!(found.len(), wanted.len(), "{recipe}: {packed}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!(found["label"], wanted["label"], "{recipe}");
            let corners = |value: &serde_json::Value| -> Vec<f64> {
                serde_json::from_value(value["box"].clone()).unwrap()
            };
            for (a, b) in corners(found).into_iter().zip(corners(wanted)) {
                assert!((a - b).abs() < 448.0 / 32.0, "{recipe}: {a} for {b}");
            }
        }
    }
    let refused = paligemma(&["inspect", path(&root("web/demo/model")), "--recipe", "q5"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("q4-small"));
}

#[test]
fn a_configuration_alone_can_be_inspected() {
    let folder = scratch("configuration");
    let config = root("web/demo/model/config.json");
    std::fs::copy(config, folder.join("config.json")).unwrap();
    let output = paligemma(&["inspect", path(&folder)]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "5124544",
        "not here",
        "q4-small",
        "decoder q4-g32 (4.5 bits)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn inspect_says_what_a_checkpoint_is() {
    let output = paligemma(&["inspect", path(&root("web/demo/model"))]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "PaliGemma 2",
        "5124544",
        "bf16",
        "112×112, 64 tokens",
        "vocabulary 1984",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// Packed once, it answers as when it is packed on every load, and says what it is.
#[test]
fn a_converted_model_is_read_like_the_original() {
    let out = scratch("converted");
    let model = root("web/demo/model");
    let convert = |recipe: &str, out: &Path| {
        paligemma(&[
            "convert",
            "--model",
            path(&model),
            "--recipe",
            recipe,
            "--out",
            path(out),
            "--repository",
            "example/demo",
        ])
    };
    let done = convert("q4", &out);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let picture = root("web/demo/samples/scene01.png");
    let run = |model: &Path, more: &[&str]| {
        let prompt = ["run", "--json", "--prompt", "detect boat"];
        let inputs = ["--model", path(model), "--image", path(&picture)];
        paligemma(&[&prompt[..], &inputs, more].concat())
    };
    let ids = |output: &Output| -> Value {
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["token_ids"].clone()
    };
    let wanted = ids(&run(&model, &["--recipe", "q4"]));
    assert!(wanted.as_array().unwrap().len() > 4);
    assert_eq!(ids(&run(&out, &[])), wanted);
    assert_eq!(ids(&run(&out, &["--recipe", "q4"])), wanted);

    let refused = run(&out, &["--recipe", "q8"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("recipe q4 and not by q8"), "{said}");

    let inspected = paligemma(&["inspect", path(&out)]);
    let text = String::from_utf8(inspected.stdout).unwrap();
    for part in ["recipe q4", "example/demo", "q4-g32", "q8-g64", "numbers"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }

    // Again: nothing to do. By another recipe, or onto the original: refused.
    assert!(convert("q4", &out).status.success());
    for out in [&out, &model] {
        let refused = convert("q8", out);
        assert_eq!(refused.status.code(), Some(2));
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("choose an"), "{said}");
    }
    let refused = paligemma(&[
        "convert",
        "--model",
        path(&out),
        "--out",
        path(&scratch("again")),
    ]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("packed already"));

    // A later version of the format.
    let manifest = std::fs::read_to_string(out.join("manifest.json")).unwrap();
    let later = manifest.replacen("\"version\":1", "\"version\":9", 1);
    std::fs::write(out.join("manifest.json"), later).unwrap();
    let refused = run(&out, &[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("version 9") && said.contains("newer"),
        "{said}"
    );
}
