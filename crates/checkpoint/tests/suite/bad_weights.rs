//! Weight files that cannot be believed, and what a person is told.

use crate::support::{
    SINGLE, Weights, assemble, memory, open, refusal, says, single_with, with_config,
};
use paligemma_checkpoint::{Checkpoint, MemorySource, Source, SourceError};
use serde_json::json;
use std::ops::Range;

const FILE: &str = "model.safetensors";
const EMBEDDING: &str = "language_model.model.embed_tokens.weight";
const NORM: &str = "language_model.model.norm.weight";
const PROJECTOR: &str = "multi_modal_projector.linear.weight";

fn with_file(bytes: Vec<u8>) -> MemorySource {
    let mut source = memory(SINGLE);
    source.insert(FILE, bytes);
    source
}

fn file() -> Vec<u8> {
    memory(SINGLE).get(FILE).unwrap().to_vec()
}

fn broken(change: impl FnOnce(&mut Weights)) -> String {
    refusal(single_with(change))
}

#[test]
fn a_truncated_file_says_how_much_is_missing() {
    let whole = file();
    for cut in [1, 1000, 2_000_000] {
        let message = refusal(with_file(whole[..whole.len() - cut].to_vec()));
        let missing = format!("{FILE} is truncated, {cut} bytes are missing at its end");
        says(&message, &[&missing, ": download it again"]);
    }
}

#[test]
fn a_file_cut_within_its_header_is_refused() {
    let message = refusal(with_file(file()[..5000].to_vec()));
    says(
        &message,
        &[
            FILE,
            "its header has 10440 bytes, but only 4992 follow",
            ": download it",
        ],
    );
    for size in 0..8 {
        let message = refusal(with_file(file()[..size].to_vec()));
        says(
            &message,
            &[
                FILE,
                &format!("has only {size} bytes"),
                ": download it again",
            ],
        );
    }
}

#[test]
fn a_header_larger_than_the_file_is_not_allocated() {
    for length in [3_000_000, 99_999_999, 100_000_001, u64::MAX - 7, u64::MAX] {
        let mut bytes = file();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        let message = refusal(with_file(bytes));
        let stated = format!("its header has {length} bytes, but only");
        says(&message, &[FILE, &stated, ": download it again"]);
    }
}

/// A source that says a file is larger than it is.
struct Inflated(MemorySource);

impl Source for Inflated {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        Ok(match self.0.size(path).await? {
            Some(_) if path == FILE => Some(1 << 40),
            size => size,
        })
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        self.0.read(path, range).await
    }
}

#[test]
fn a_header_above_the_limit_is_not_allocated() {
    let mut bytes = file();
    bytes[..8].copy_from_slice(&100_000_001u64.to_le_bytes());
    let message = refusal(Inflated(with_file(bytes)));
    says(
        &message,
        &[
            FILE,
            "100000001 bytes, above the limit of 100000000",
            ": download",
        ],
    );
}

/// A source that delivers less than it was asked for.
struct Stingy(MemorySource);

impl Source for Stingy {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        self.0.size(path).await
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let mut bytes = self.0.read(path, range).await?;
        if path == FILE {
            bytes.pop();
        }
        Ok(bytes)
    }
}

#[test]
fn a_source_that_breaks_its_promise_is_caught() {
    let message = refusal(Stingy(memory(SINGLE)));
    says(
        &message,
        &[
            FILE,
            "gave 131071 bytes where 131072 were asked for",
            ": check",
        ],
    );
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let message = refusal(with_file(assemble(b"[]", &[])));
    says(
        &message,
        &[FILE, "is not a safetensors file", ": download it again"],
    );
    for header in [
        "{",
        "{\"a\":1}",
        "{\"a\":{}} x",
        "{\"a\":{\"dtype\":\"F32\"}}",
    ] {
        let message = refusal(with_file(assemble(header.as_bytes(), &[])));
        says(
            &message,
            &[FILE, "has a malformed header", ": download it again"],
        );
    }
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    says(
        &refusal(with_file(assemble(deep.as_bytes(), &[]))),
        &["malformed header"],
    );
    let deep = format!("{{\"__metadata__\":{}", "[".repeat(100_000));
    says(
        &refusal(with_file(assemble(deep.as_bytes(), &[]))),
        &["malformed header"],
    );
    let page = b"<!DOCTYPE html><html><body>Not found</body></html>".to_vec();
    says(&refusal(with_file(page)), &[FILE, ": download it again"]);
}

#[test]
fn a_git_lfs_pointer_is_recognised() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2373424\n";
    let message = refusal(with_file(pointer.as_bytes().to_vec()));
    says(
        &message,
        &[
            FILE,
            "is a Git LFS pointer",
            ": fetch the weights with `git lfs pull`",
        ],
    );
}

#[test]
fn overlapping_tensors_are_refused() {
    let message = broken(|weights| {
        let (begin, end) = weights.offsets(NORM);
        weights.tensor(NORM)["data_offsets"] = json!([begin - 4, end - 4]);
    });
    says(
        &message,
        &[
            FILE,
            NORM,
            "overlaps `",
            "by 4 bytes",
            ": download it again",
        ],
    );
    // The same bytes twice.
    let message = broken(|weights| {
        let (begin, end) = weights.offsets(EMBEDDING);
        let copy = json!({"dtype": "F32", "shape": [3776, 80], "data_offsets": [begin, end]});
        weights.header.insert("lm_head.weight".into(), copy);
    });
    says(&message, &[FILE, "overlaps `", "lm_head.weight"]);
}

#[test]
fn gaps_are_refused() {
    let message = broken(|weights| {
        let (begin, end) = weights.offsets(NORM);
        weights.tensor(NORM)["data_offsets"] = json!([begin + 4, end + 4]);
    });
    says(
        &message,
        &[
            FILE,
            NORM,
            "begins 4 bytes after the one before it",
            ": download it again",
        ],
    );
    // Before the first tensor.
    let message = broken(|weights| {
        weights.header.remove(EMBEDDING).unwrap();
    });
    says(&message, &[FILE, "begins 1208320 bytes after"]);
    // After the last.
    let message = broken(|weights| weights.data.extend([0; 12]));
    says(
        &message,
        &[
            FILE,
            "has 12 bytes after its last tensor",
            ": download it again",
        ],
    );
}

#[test]
fn bytes_must_match_format_and_shape() {
    let message = broken(|weights| weights.tensor(NORM)["shape"] = json!([81]));
    says(
        &message,
        &[
            FILE,
            NORM,
            "has 320 bytes where [81] of F32 takes 324",
            ": download",
        ],
    );
    let message = broken(|weights| weights.tensor(NORM)["dtype"] = json!("BF16"));
    says(
        &message,
        &[FILE, NORM, "has 320 bytes where [80] of BF16 takes 160"],
    );
    let message = broken(|weights| {
        let (begin, end) = weights.offsets(NORM);
        weights.tensor(NORM)["data_offsets"] = json!([end, begin]);
    });
    says(&message, &[FILE, NORM, "before it begins"]);
}

#[test]
fn shapes_cannot_overflow() {
    for shape in [
        json!([1u64 << 63, 4]),
        json!([1u64 << 62, 1]),
        json!([u64::MAX, u64::MAX]),
        json!([1u64 << 32, 1u64 << 32, 0]),
    ] {
        let message = broken(|weights| weights.tensor(NORM)["shape"] = shape);
        says(
            &message,
            &[
                FILE,
                NORM,
                "has the impossible shape [",
                ": download it again",
            ],
        );
    }
    // A part of a byte.
    let message = broken(|weights| weights.append("odd", "F4", &[3], &[0, 0]));
    says(&message, &["`odd` has the impossible shape [3]"]);
    let message = broken(|weights| {
        weights.tensor(NORM)["data_offsets"] = json!([u64::MAX - 320, u64::MAX]);
    });
    says(&message, &[FILE, ": download it again"]);
    for shape in [json!([-80]), json!([1.5]), json!("80"), json!(vec![1; 65])] {
        let message = broken(|weights| weights.tensor(NORM)["shape"] = shape);
        says(&message, &[FILE, "has a malformed header"]);
    }
}

#[test]
fn a_name_may_be_there_once() {
    let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                     "a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    let message = refusal(with_file(assemble(header.as_bytes(), &[1, 2])));
    says(
        &message,
        &[FILE, "`a` is there twice", ": download it again"],
    );
}

#[test]
fn a_weight_may_be_there_once() {
    let message = broken(|weights| {
        weights.append("model.language_model.norm.weight", "F32", &[80], &[0; 320]);
    });
    says(
        &message,
        &[
            FILE,
            "`model.language_model.norm.weight` is the same weight",
            ": download",
        ],
    );
}

#[test]
fn missing_tensors_are_named() {
    let message = broken(|weights| {
        weights.rename(|name| {
            if name == NORM {
                "norm".into()
            } else {
                name.into()
            }
        });
    });
    says(
        &message,
        &[
            FILE,
            &format!("`{NORM}` is missing: use weights and config.json"),
        ],
    );
    let message = refusal(with_config(memory(SINGLE), |config| {
        config["text_config"]["num_hidden_layers"] = json!(4);
    }));
    says(
        &message,
        &[
            FILE,
            "`language_model.model.layers.3.",
            "is missing, and 8 others",
        ],
    );
    // Another model altogether.
    let message = broken(|weights| weights.rename(|name| format!("bert.{name}")));
    says(
        &message,
        &[FILE, "is missing, and 83 others are missing: use weights"],
    );
}

#[test]
fn wrong_shapes_are_named() {
    let message = broken(|weights| weights.tensor(PROJECTOR)["shape"] = json!([48, 80]));
    says(
        &message,
        &[
            FILE,
            PROJECTOR,
            "has the shape [48, 80] where config.json asks for [80, 48]",
            ": use weights and config.json of one checkpoint",
        ],
    );
    let message = refusal(with_config(memory(SINGLE), |config| {
        config["vision_config"]["image_size"] = json!(224);
    }));
    says(
        &message,
        &["position_embedding.weight", "[16, 48]", "[256, 48]"],
    );
    let message = refusal(with_config(memory(SINGLE), |config| {
        config["text_config"]["vocab_size"] = json!(3777);
    }));
    says(&message, &[EMBEDDING, "[3776, 80]", "[3777, 80]"]);
}

#[test]
fn formats_that_are_not_supported_are_named() {
    let message = broken(|weights| {
        weights.tensor(NORM)["shape"] = json!([40]);
        weights.tensor(NORM)["dtype"] = json!("F64");
    });
    says(
        &message,
        &[
            FILE,
            NORM,
            "is stored as F64, which is not supported",
            ": use a PaliGemma",
        ],
    );
    let message = broken(|weights| {
        weights.tensor(PROJECTOR)["shape"] = json!([80, 192]);
        weights.tensor(PROJECTOR)["dtype"] = json!("I8");
    });
    says(&message, &[FILE, PROJECTOR, "is stored as I8"]);
    let message = broken(|weights| weights.tensor(NORM)["dtype"] = json!("F7"));
    says(
        &message,
        &[FILE, NORM, "has the unknown number format \"F7\""],
    );
}

#[test]
fn a_head_that_is_not_tied_must_be_there() {
    let message = refusal(with_config(memory(SINGLE), |config| {
        config["tie_word_embeddings"] = json!(false);
    }));
    says(
        &message,
        &[
            FILE,
            "`language_model.lm_head.weight` is missing",
            ": use weights",
        ],
    );
}

#[test]
fn a_folder_without_weights_is_explained() {
    let mut source = memory(SINGLE);
    source.remove(FILE);
    source.insert("pytorch_model.bin", "");
    says(
        &refusal(source),
        &[
            "model.safetensors is missing",
            "index.json",
            "other formats",
        ],
    );
}

#[test]
fn hostile_names_stay_short_and_printable() {
    let name = "\u{1b}[2J\n".repeat(10_000);
    let message = broken(|weights| weights.append(&name, "F7", &[1], &[0; 4]));
    assert!(message.len() < 500, "{} bytes", message.len());
    assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
}

#[test]
fn damage_anywhere_in_the_header_never_panics() {
    // A sequence of the usual linear congruential kind, the same on every run.
    let mut state = 0x2545_f491_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    let sound = file();
    let header = 8 + 10_440;
    let alphabet = b"0123456789-.eE\"{}[],:\\ \0\xff";
    let mut refused = 0;
    for _ in 0..400 {
        let mut bytes = sound.clone();
        for _ in 0..=random(3) {
            bytes[random(header)] = alphabet[random(alphabet.len())];
        }
        refused += i32::from(pollster::block_on(Checkpoint::open(with_file(bytes))).is_err());
    }
    // Some damage only renames a tensor's metadata or repeats what was there.
    assert!(refused > 300, "{refused} of 400");
    open(with_file(sound));
}
