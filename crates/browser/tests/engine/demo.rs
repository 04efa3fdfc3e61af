//! The demo checkpoint and its sample pictures, part of the test itself.

use paligemma_checkpoint::MemorySource;

macro_rules! bytes_of {
    ($path:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../web/demo/",
            $path
        ))
        .as_slice()
    };
}

/// The demo checkpoint's folder.
pub(crate) fn model() -> MemorySource {
    [
        ("config.json", bytes_of!("model/config.json")),
        (
            "generation_config.json",
            bytes_of!("model/generation_config.json"),
        ),
        ("model.safetensors", bytes_of!("model/model.safetensors")),
        (
            "preprocessor_config.json",
            bytes_of!("model/preprocessor_config.json"),
        ),
        ("tokenizer.json", bytes_of!("model/tokenizer.json")),
    ]
    .into_iter()
    .collect()
}

/// A sample picture with what transformers generates for it in f32.
pub(crate) struct Scene {
    pub(crate) png: &'static [u8],
    samples: serde_json::Value,
}

/// A prompt and its stored ids.
pub(crate) struct Sample {
    pub(crate) prompt: String,
    pub(crate) prompt_ids: Vec<u32>,
    pub(crate) output_ids: Vec<u32>,
    pub(crate) text: String,
}

/// A picture with one kind of thing in it.
pub(crate) fn pigs() -> Scene {
    scene(
        bytes_of!("samples/scene10.png"),
        bytes_of!("samples/scene10.json"),
    )
}

/// A picture with several.
pub(crate) fn banana_cats_flower() -> Scene {
    scene(
        bytes_of!("samples/scene03.png"),
        bytes_of!("samples/scene03.json"),
    )
}

fn scene(png: &'static [u8], json: &'static [u8]) -> Scene {
    Scene {
        png,
        samples: serde_json::from_slice(json).unwrap(),
    }
}

impl Scene {
    /// The sample with this prompt.
    pub(crate) fn sample(&self, prompt: &str) -> Sample {
        let outputs = self.samples["outputs"].as_array().unwrap();
        let sample = outputs.iter().find(|sample| sample["prompt"] == prompt);
        let sample = sample.unwrap_or_else(|| panic!("no sample has the prompt {prompt:?}"));
        let ids = |field: &str| serde_json::from_value(sample[field].clone()).unwrap();
        Sample {
            prompt: prompt.to_owned(),
            prompt_ids: ids("prompt_ids"),
            output_ids: ids("output_ids"),
            text: sample["text"].as_str().unwrap().to_owned(),
        }
    }
}
