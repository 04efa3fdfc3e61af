//! Masks: as runs in `--json`, as PNGs with `--masks`, and where there are none.

use paligemma_engine::{BinaryMask, DecodedPicture, Rle};

use crate::{paligemma, path, root, scratch};

/// `run` of `segment moon` on the sample picture with two moons.
fn segment(model: &std::path::Path, more: &[&str]) -> std::process::Output {
    let image = root("web/demo/samples/scene05.png");
    let prompt = ["--image", path(&image), "--prompt", "segment moon"];
    paligemma(&[&["run", "--model", path(model)], &prompt[..], more].concat())
}

/// The demo model without its mask decoder.
fn without_decoder(name: &str) -> std::path::PathBuf {
    let folder = scratch(name);
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(root("web/demo/model").join(file), folder.join(file)).unwrap();
    }
    folder
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn masks_are_runs_in_json_and_grey_pictures_in_a_folder() {
    let out = scratch("masks").join("new");
    let output = segment(&root("web/demo/model"), &["--json", "--masks", path(&out)]);
    assert!(output.status.success(), "{}", stderr(&output));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = answer["detections"].as_array().unwrap();
    assert_eq!(found.len(), 2);

    let truth = std::fs::read(root("tests/fixtures/demo_masks/scene05_masks.png")).unwrap();
    let truth = DecodedPicture::decode(&truth).unwrap();
    for (index, found) in found.iter().enumerate() {
        let runs: Rle = serde_json::from_value(found["mask"].clone()).unwrap();
        assert_eq!(runs.size, [448, 448]);
        let mask = runs.mask().unwrap();
        let object = index as u8 + 1;
        let inside = |x: u32, y: u32| truth.rgb()[(y as usize * 448 + x as usize) * 3] == object;
        let overlap = mask.iou(&BinaryMask::new(448, 448, inside).unwrap());
        assert!(overlap >= 0.7, "{index}: {overlap}");

        let file = out.join(format!("mask_{index:02}.png"));
        assert_eq!(found["mask_png"], path(&file));
        let picture = DecodedPicture::decode(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (448, 448));
        // The same object, whose box lies up to a pixel aside.
        let level = |x: u32, y: u32| picture.rgb()[(y as usize * 448 + x as usize) * 3];
        let soft = BinaryMask::new(448, 448, |x, y| level(x, y) > 127).unwrap();
        assert!(mask.iou(&soft) > 0.9, "{index}: {}", mask.iou(&soft));
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2);
}

#[test]
fn without_a_mask_decoder_there_are_boxes_and_a_word_on_it() {
    let model = without_decoder("without_masks");
    let output = segment(&model, &["--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["detections"].as_array().unwrap().len(), 2);
    assert!(answer["detections"][0].get("mask").is_none());

    let output = segment(&model, &[]);
    assert!(output.status.success());
    assert!(
        stderr(&output).contains("--mask-decoder"),
        "{}",
        stderr(&output)
    );

    let out = scratch("no_masks");
    let output = segment(&model, &["--masks", path(&out)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("vae-oid.npz"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_mask_decoder_can_be_named() {
    let model = without_decoder("named_masks");
    let decoder = root("web/demo/model/vae-oid.safetensors");
    let output = segment(&model, &["--json", "--mask-decoder", path(&decoder)]);
    assert!(output.status.success(), "{}", stderr(&output));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["detections"][1]["mask"]["counts"].is_string());

    for (file, part) in [
        (root("Cargo.toml"), "Cargo.toml"),
        (model.join("absent.npz"), "absent.npz"),
    ] {
        let output = segment(&model, &["--mask-decoder", path(&file)]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
    // A damaged one beside the model is no reason to go without.
    std::fs::write(model.join("vae-oid.npz"), b"PK").unwrap();
    let output = segment(&model, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("vae-oid.npz"),
        "{}",
        stderr(&output)
    );
}

/// A packed model carries the mask decoder along.
#[test]
fn a_converted_model_has_masks() {
    let out = scratch("converted_masks");
    let model = root("web/demo/model");
    let convert = [
        "convert",
        "--model",
        path(&model),
        "--out",
        path(&out),
        "--recipe",
        "f16",
    ];
    let done = paligemma(&convert);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(out.join("vae-oid.safetensors").is_file());
    let output = segment(&out, &["--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        answer["detections"][0]["mask"]["counts"].is_string(),
        "{answer}"
    );
}
