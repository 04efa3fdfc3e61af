//! The demo checkpoint and its sample pictures, part of the test itself.

use paligemma_checkpoint::MemorySource;

macro_rules! demo {
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
pub fn model() -> MemorySource {
    [
        ("config.json", demo!("model/config.json")),
        (
            "generation_config.json",
            demo!("model/generation_config.json"),
        ),
        ("model.safetensors", demo!("model/model.safetensors")),
        (
            "preprocessor_config.json",
            demo!("model/preprocessor_config.json"),
        ),
        ("tokenizer.json", demo!("model/tokenizer.json")),
    ]
    .into_iter()
    .collect()
}

/// A sample picture with what transformers generates for it in f32.
pub struct Scene {
    pub png: &'static [u8],
    samples: serde_json::Value,
}

/// A prompt and its stored ids.
pub struct Sample {
    pub prompt: String,
    pub prompt_ids: Vec<u32>,
    pub output_ids: Vec<u32>,
    pub text: String,
}

/// A picture with one kind of thing in it.
pub fn pigs() -> Scene {
    scene(demo!("samples/scene10.png"), demo!("samples/scene10.json"))
}

/// A picture with several.
pub fn banana_cats_flower() -> Scene {
    scene(demo!("samples/scene03.png"), demo!("samples/scene03.json"))
}

fn scene(png: &'static [u8], json: &'static [u8]) -> Scene {
    Scene {
        png,
        samples: serde_json::from_slice(json).unwrap(),
    }
}

impl Scene {
    /// The sample with this prompt.
    pub fn sample(&self, prompt: &str) -> Sample {
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
