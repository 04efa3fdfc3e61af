//! `pixel_values` of every case, to the bit, and `preprocessor_config.json`.

mod common;

use common::{MODELS, fixtures, geometry, json, processor, read, tensor};
use paligemma_processor::{ImageProcessor, Picture, PixelSteps, Processor, ProcessorError};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// The names in a case's `images`, which may be nested.
fn names(images: &Value) -> Vec<String> {
    match images {
        Value::String(name) => vec![name.clone()],
        Value::Array(list) => list.iter().flat_map(names).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn every_case_is_bit_exact() {
    let mut compared = 0;
    for model in MODELS {
        let folder = fixtures().join(model);
        let processor = processor(model);
        let (size, ..) = geometry(model);
        for (case, entry) in json(folder.join("cases.json"))["cases"]
            .as_object()
            .expect("cases")
        {
            let path = folder.join(format!("expected/{case}.safetensors"));
            if !path.exists() {
                assert_eq!(case, "eos", "{model}: only this case stores no tensors");
                continue;
            }
            let bytes = read(path);
            let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
            let (shape, expected) = tensor(&file, "pixel_values");
            let images = names(&entry["images"]);
            assert_eq!(shape, [images.len(), 3, size, size], "{model} {case}");
            let values: Vec<u8> = images
                .iter()
                .map(|name| Picture::decode(&read(folder.join("images").join(name))))
                .flat_map(|picture| processor.pixel_values(&picture.expect("a PNG")))
                .flat_map(f32::to_le_bytes)
                .collect();
            assert!(values == expected, "{model} {case}");
            compared += 1;
        }
    }
    assert_eq!(compared, 25);
}

#[test]
fn a_missing_file_means_siglip_defaults() {
    let picture = Picture::decode(&read(fixtures().join("pg2_odd/images/image_a.png")));
    let picture = picture.expect("a PNG");
    let (size, tokens, image) = geometry("pg2_odd");
    let tokenizer = common::tokenizer_json("pg2_odd");
    let default = Processor::new(&tokenizer, None, size, tokens, image).expect("a processor");
    let stored = processor("pg2_odd");
    assert_eq!(
        default.pixel_values(&picture),
        stored.pixel_values(&picture)
    );
}

#[test]
fn all_values_lie_within_one() {
    let ramp = (0..=255).flat_map(|level| [level; 3]).collect();
    let ramp = Picture::from_rgb(16, 16, ramp).expect("a picture");
    let values = ImageProcessor::siglip(16)
        .expect("a size")
        .pixel_values(&ramp);
    assert_eq!(values.len(), 3 * 256);
    assert_eq!((values[0], values[255], values[256]), (-1.0, 1.0, -1.0));
    assert!(values[..256].is_sorted());
}

fn reason(config: &Value, size: usize) -> String {
    let error = ImageProcessor::from_json(config.to_string().as_bytes(), size);
    let error = error.expect_err("a config that cannot be used");
    assert!(matches!(error, ProcessorError::PreprocessorConfig { .. }));
    error.to_string()
}

#[test]
fn configs_that_ask_for_something_else_are_errors() {
    let size = |height: usize, width: usize| json!({"size": {"height": height, "width": width}});
    assert!(reason(&size(448, 448), 224).contains("448 x 448 where config.json has 224"));
    assert!(reason(&size(224, 448), 224).contains("448 x 224"));
    assert!(reason(&json!({"resample": 2}), 224).contains("resample is 2"));
    assert!(reason(&json!({"do_resize": false}), 224).contains("do_resize is false"));
    assert!(reason(&json!({"image_std": [0.5, 0.0, 0.5]}), 224).contains("finite"));
    assert!(reason(&json!({"image_mean": [0.5, 0.5]}), 224).contains("length 2"));
    assert!(reason(&json!({"size": {"shortest_edge": 224}}), 224).contains("height"));
    assert!(reason(&json!([]), 224).contains("length 0"));
    assert!(reason(&json!({}), 0).contains("image size of 0"));
    assert!(reason(&json!({}), 1_000_000).contains("1000000"));
    assert!(ImageProcessor::from_json(b"{", 224).is_err());

    let defaults = json!({"do_convert_rgb": null, "do_resize": true, "size": null, "resample": 3});
    assert!(ImageProcessor::from_json(defaults.to_string().as_bytes(), 224).is_ok());
}

/// By the file, or by the call.
#[test]
fn steps_can_be_left_out() {
    let picture = Picture::from_rgb(1, 1, vec![0, 102, 255]).expect("a picture");
    let plain = ImageProcessor::siglip(1).expect("a size");
    for (do_rescale, do_normalize, wanted) in [
        (true, true, [-1.0, -0.2, 1.0]),
        (false, true, [-1.0, 203.0, 509.0]),
        (true, false, [0.0, 0.4, 1.0]),
        (false, false, [0.0, 102.0, 255.0]),
    ] {
        let steps = PixelSteps {
            do_rescale,
            do_normalize,
        };
        let called = plain.pixel_values_by(&picture, steps);
        for (got, wanted) in called.iter().zip(wanted) {
            assert!((got - wanted).abs() < 1e-6, "{steps:?}: {called:?}");
        }
        let config = json!({"do_rescale": do_rescale, "do_normalize": do_normalize});
        let filed = ImageProcessor::from_json(config.to_string().as_bytes(), 1).expect("a config");
        assert_eq!(filed.steps(), steps);
        assert_eq!(filed.pixel_values(&picture), called);
    }
}

#[test]
fn mean_and_deviation_are_the_files_own() {
    let config = json!({
        "image_mean": [0.0, 0.5, 1.0], "image_std": [1.0, 0.5, 2.0], "rescale_factor": 0.5
    });
    let processor = ImageProcessor::from_json(config.to_string().as_bytes(), 1).expect("a config");
    let picture = Picture::from_rgb(1, 1, vec![2, 4, 6]).expect("a picture");
    assert_eq!(processor.pixel_values(&picture), [1.0, 3.0, 1.0]);
}
