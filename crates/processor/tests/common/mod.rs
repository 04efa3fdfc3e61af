//! What the tests share: the fixtures, and random numbers.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use paligemma_processor::Processor;
use safetensors::SafeTensors;
use serde_json::Value;

/// The model folders that transformers ran.
pub(crate) const MODELS: [&str; 5] = ["pg1_mqa", "pg1_gqa_bf16", "pg2_gqa", "pg2_odd", "pg2_q128"];

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&read(path)).expect("a fixture is JSON")
}

pub(crate) fn tokenizer_json(model: &str) -> Vec<u8> {
    read(fixtures().join(model).join("model/tokenizer.json"))
}

pub(crate) fn usize_of(value: &Value) -> usize {
    value
        .as_u64()
        .and_then(|v| v.try_into().ok())
        .unwrap_or_else(|| panic!("{value} is no size"))
}

/// Side, tokens a picture and the id of `<image>`, from `config.json`.
pub(crate) fn geometry(model: &str) -> (usize, usize, u32) {
    let config = json(fixtures().join(model).join("model/config.json"));
    let vision = &config["vision_config"];
    let size = usize_of(&vision["image_size"]);
    let side = size / usize_of(&vision["patch_size"]);
    let image = usize_of(&config["image_token_index"]) as u32;
    (size, side * side, image)
}

pub(crate) fn processor(model: &str) -> Processor {
    let folder = fixtures().join(model).join("model");
    let preprocessor = read(folder.join("preprocessor_config.json"));
    let (size, tokens, image) = geometry(model);
    Processor::new(
        tokenizer_json(model),
        Some(&preprocessor),
        size,
        tokens,
        image,
    )
    .unwrap_or_else(|error| panic!("{model}: {error}"))
}

/// A tensor's shape and bytes.
pub(crate) fn tensor<'a>(file: &SafeTensors<'a>, name: &str) -> (Vec<usize>, &'a [u8]) {
    let tensor = file
        .tensor(name)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    (tensor.shape().to_vec(), tensor.data())
}

/// A tensor of 64-bit integers, row by row.
pub(crate) fn rows(file: &SafeTensors<'_>, name: &str) -> Vec<Vec<u32>> {
    let (shape, data) = tensor(file, name);
    let (numbers, rest) = data.as_chunks::<8>();
    assert!(rest.is_empty() && shape.len() == 2, "{name}: {shape:?}");
    let numbers: Vec<u32> = numbers
        .iter()
        .map(|&bytes| u32::try_from(i64::from_le_bytes(bytes)).expect("an id"))
        .collect();
    numbers.chunks(shape[1]).map(<[u32]>::to_vec).collect()
}

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}
