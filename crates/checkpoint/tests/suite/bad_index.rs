//! Shards and indexes that contradict each other, and what a person is told.

use crate::support::{SHARDED, Weights, memory, refusal, says};
use paligemma_checkpoint::MemorySource;
use serde_json::{Value, json};

const INDEX: &str = "model.safetensors.index.json";
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";
const EMBEDDING: &str = "language_model.model.embed_tokens.weight";
const NORM: &str = "language_model.model.norm.weight";

fn with_index(change: impl FnOnce(&mut Value)) -> MemorySource {
    let mut source = memory(SHARDED);
    let mut index = serde_json::from_slice(source.get(INDEX).unwrap()).unwrap();
    change(&mut index);
    source.insert(INDEX, index.to_string());
    source
}

#[test]
fn a_shard_that_is_not_there_is_asked_for() {
    for shard in [FIRST, SECOND] {
        let mut source = memory(SHARDED);
        source.remove(shard);
        says(
            &refusal(source),
            &[&format!("{shard} is missing"), ": download it too"],
        );
    }
}

#[test]
fn what_the_index_promises_must_be_there() {
    let message = refusal(with_index(|index| {
        index["weight_map"]["extra"] = json!(SECOND)
    }));
    says(
        &message,
        &[
            SECOND,
            "`extra` is not there, although",
            INDEX,
            ": download the weights",
        ],
    );
    // Promised in the wrong shard.
    let message = refusal(with_index(|index| index["weight_map"][NORM] = json!(FIRST)));
    says(&message, &[FIRST, NORM, "is not there"]);
}

#[test]
fn a_shard_that_is_not_listed_is_missing() {
    let message = refusal(with_index(|index| {
        index["weight_map"]
            .as_object_mut()
            .unwrap()
            .remove(EMBEDDING);
    }));
    says(
        &message,
        &[INDEX, &format!("`{EMBEDDING}` is missing"), ": use weights"],
    );
}

#[test]
fn a_weight_in_two_shards_is_refused() {
    for name in [NORM, "model.language_model.norm.weight"] {
        let mut source = memory(SHARDED);
        let mut weights = Weights::of(&source, FIRST);
        weights.append(name, "F32", &[54], &[0; 216]);
        source.insert(FIRST, weights.bytes());
        let message = refusal(source);
        says(
            &message,
            &[
                SECOND,
                NORM,
                "the same weight as one in",
                FIRST,
                ": download",
            ],
        );
    }
}

#[test]
fn file_names_that_lead_elsewhere_are_refused() {
    for path in [
        "../model-00002-of-00002.safetensors",
        "..",
        "/etc/passwd",
        "//host/share.safetensors",
        "a/../../b.safetensors",
        "..\\b.safetensors",
        "C:\\b.safetensors",
        "https://example.org/b.safetensors",
        "%2e%2e/b.safetensors",
        "b.safetensors?x=.safetensors",
        "b.safetensors#.safetensors",
        "",
        ".",
        "a//b.safetensors",
        "b\0.safetensors",
    ] {
        let message = refusal(with_index(|index| index["weight_map"][NORM] = json!(path)));
        says(
            &message,
            &[
                "is refused, it ",
                ": use a checkpoint whose files lie in its own",
            ],
        );
    }
    for path in ["shards/b.safetensors", "pytorch_model.bin", "config.json"] {
        let message = refusal(with_index(|index| index["weight_map"][NORM] = json!(path)));
        says(
            &message,
            &[
                INDEX,
                path,
                NORM,
                "no .safetensors file beside it",
                ": download",
            ],
        );
    }
}

#[test]
fn a_malformed_index_is_refused() {
    for index in [
        "",
        "[]",
        "{}",
        "{\"weight_map\": []}",
        "{\"weight_map\": {\"a\": 1}}",
        "{\"weight_map\": {\"a\": \"b.safetensors\"}",
    ] {
        let mut source = memory(SHARDED);
        source.insert(INDEX, index);
        says(
            &refusal(source),
            &[INDEX, "is malformed", ": download it again"],
        );
    }
    let message = refusal(with_index(|index| index["weight_map"] = json!({})));
    says(&message, &[INDEX, "lists no tensors"]);
}

#[test]
fn a_truncated_shard_is_named() {
    let mut source = memory(SHARDED);
    let mut bytes = source.get(SECOND).unwrap().to_vec();
    bytes.truncate(bytes.len() - 77);
    source.insert(SECOND, bytes);
    says(
        &refusal(source),
        &[SECOND, "77 bytes are missing", ": download it again"],
    );
}
