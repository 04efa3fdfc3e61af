//! Sound checkpoints: every layout, one file and shards, tied and untied.

use crate::support::{
    FIXTURES, Recording, SHARDED, SINGLE, Weights, folder, memory, open, single_with, with_config,
};
use paligemma_checkpoint::{
    Checkpoint, Dtype, Folder, MemorySource, Source, canonical_name, expected_tensors,
};
use serde_json::json;
use std::collections::BTreeMap;

/// Each tensor's format, shape and bytes, by canonical name, as this crate
/// finds them.
fn found<S: Source>(checkpoint: &Checkpoint<S>) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let tensors = checkpoint.tensors().iter().map(|info| {
        let read = checkpoint.source().read(&info.file, info.range.clone());
        let bytes = pollster::block_on(read).unwrap();
        (info.name.clone(), (info.dtype, info.shape.clone(), bytes))
    });
    tensors.collect()
}

/// The same, as the safetensors crate finds them.
fn reference(source: &MemorySource) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let mut tensors = BTreeMap::new();
    // Beside the model there may be a mask decoder.
    let model = |path: &&str| path.starts_with("model") && path.ends_with(".safetensors");
    for file in source.paths().filter(model) {
        let file = safetensors::SafeTensors::deserialize(source.get(file).unwrap()).unwrap();
        for (name, view) in file.iter() {
            let dtype = match view.dtype() {
                safetensors::Dtype::F32 => Dtype::F32,
                safetensors::Dtype::F16 => Dtype::F16,
                safetensors::Dtype::BF16 => Dtype::BF16,
                other => panic!("{other}"),
            };
            let tensor = (dtype, view.shape().to_vec(), view.data().to_vec());
            tensors.insert(canonical_name(name).unwrap(), tensor);
        }
    }
    tensors
}

#[test]
fn every_checkpoint_opens_and_has_what_the_safetensors_crate_reads() {
    for fixture in FIXTURES {
        let checkpoint = open(Folder::new(folder(fixture)));
        let reference = reference(&memory(fixture));
        assert_eq!(found(&checkpoint), reference, "{fixture}");
        assert!(checkpoint.ignored().is_empty(), "{fixture}");
        let bytes: usize = reference.values().map(|(_, _, bytes)| bytes.len()).sum();
        assert_eq!(checkpoint.total_bytes(), bytes as u64, "{fixture}");

        let mut expected = expected_tensors(checkpoint.config());
        expected.sort();
        let shapes = reference
            .into_iter()
            .map(|(name, (_, shape, _))| (name, shape));
        assert_eq!(expected, shapes.collect::<Vec<_>>(), "{fixture}");
    }
}

#[test]
fn tensors_come_in_the_order_of_files_and_offsets() {
    for fixture in FIXTURES {
        let checkpoint = open(memory(fixture));
        let places: Vec<_> = checkpoint
            .tensors()
            .iter()
            .map(|info| (info.file.clone(), info.range.start))
            .collect();
        assert!(places.is_sorted(), "{fixture}");
    }
}

/// A canonical name as layout B, C or D has it.
fn renamed(name: &str, layout: char) -> String {
    let mut name = name.to_owned();
    if layout != 'B' {
        name = name.replace("vision_tower.vision_model.", "vision_tower.");
    }
    if layout != 'C' {
        name = name.replace("language_model.model.", "language_model.");
        name = match name.strip_prefix("language_model.lm_head.") {
            Some(rest) => format!("lm_head.{rest}"),
            None => format!("model.{name}"),
        };
    }
    name
}

#[test]
fn all_layouts_hold_the_same_model() {
    let untied = |weights: &mut Weights| {
        let bytes: Vec<u8> = (0..3776 * 80 * 4).map(|i| (i % 251) as u8).collect();
        weights.append("language_model.lm_head.weight", "F32", &[3776, 80], &bytes);
    };
    let untie = |config: &mut serde_json::Value| config["tie_word_embeddings"] = json!(false);
    let a = open(with_config(single_with(untied), untie));
    let expected = found(&a);
    assert!(expected.contains_key("language_model.lm_head.weight"));
    for layout in ['B', 'C', 'D'] {
        let source = single_with(|weights| {
            untied(weights);
            weights.rename(|name| renamed(name, layout));
        });
        let checkpoint = open(with_config(source, untie));
        assert_eq!(found(&checkpoint), expected, "layout {layout}");
        for info in checkpoint.tensors() {
            assert_eq!(info.stored_name, renamed(&info.name, layout));
        }
    }
}

#[test]
fn shards_may_be_renamed_too() {
    let expected = found(&open(memory(SHARDED)));
    for layout in ['B', 'C', 'D'] {
        let mut source = memory(SHARDED);
        let mut map = BTreeMap::new();
        let shards: Vec<String> = source.paths().map(str::to_owned).collect();
        for shard in shards.iter().filter(|path| path.ends_with(".safetensors")) {
            let mut weights = Weights::of(&source, shard);
            weights.rename(|name| renamed(name, layout));
            for name in weights.header.keys().filter(|name| *name != "__metadata__") {
                map.insert(name.clone(), shard.clone());
            }
            source.insert(shard.clone(), weights.bytes());
        }
        let index = json!({"metadata": {"total_size": -1}, "weight_map": map});
        source.insert("model.safetensors.index.json", index.to_string());
        assert_eq!(found(&open(source)), expected, "layout {layout}");
    }
}

#[test]
fn a_tied_head_is_left_out() {
    let source = single_with(|weights| weights.append("lm_head.weight", "F32", &[2], &[1; 8]));
    let checkpoint = open(source);
    assert_eq!(checkpoint.ignored(), ["lm_head.weight"]);
    assert_eq!(found(&checkpoint), found(&open(memory(SINGLE))));
}

#[test]
fn tensors_the_model_does_not_need_are_listed_whatever_they_are() {
    let head = "vision_tower.vision_model.head.probe";
    let source = single_with(|weights| {
        weights.append(head, "F64", &[2, 3], &[0; 48]);
        weights.append("quantization.state", "F4", &[3, 2], &[0; 3]);
        weights.append("empty", "I8", &[0, 7], &[]);
    });
    let checkpoint = open(source);
    let mut ignored = checkpoint.ignored().to_vec();
    ignored.sort();
    assert_eq!(ignored, ["empty", "quantization.state", head]);
}

#[test]
fn one_file_goes_before_an_index() {
    let mut source = memory(SINGLE);
    source.insert("model.safetensors.index.json", "not read");
    open(source);
}

#[test]
fn opening_reads_no_more_than_headers() {
    let source = Recording::new(memory("web/demo/model"));
    let checkpoint = open(&source);
    let weights: u64 = source
        .reads
        .borrow()
        .iter()
        .filter(|(path, _)| path.ends_with(".safetensors"))
        .map(|(_, range)| range.end - range.start)
        .sum();
    assert!(weights <= 128 * 1024, "{weights} bytes");
    assert!(checkpoint.total_bytes() > 9_000_000);
}

#[test]
fn a_header_longer_than_the_first_read_is_read_on() {
    let source = single_with(|weights| {
        for i in 0..3000 {
            weights.append(
                &format!("unneeded.{i}.{}", "x".repeat(40)),
                "U8",
                &[1],
                &[7],
            );
        }
    });
    let source = Recording::new(source);
    let checkpoint = open(&source);
    assert_eq!(checkpoint.ignored().len(), 3000);
    assert_eq!(found(&checkpoint), found(&open(memory(SINGLE))));
    let reads = source.reads.borrow();
    let second = reads
        .iter()
        .find(|(path, r)| path == "model.safetensors" && r.start != 0);
    assert_eq!(second.unwrap().1.start, 128 * 1024);
}

#[test]
fn side_files_are_read_whole_or_not_at_all() {
    let checkpoint = open(memory(SINGLE));
    let read = |name: &str| pollster::block_on(checkpoint.file(name));
    let tokenizer = read("tokenizer.json").unwrap().unwrap();
    assert_eq!(Some(&*tokenizer), checkpoint.source().get("tokenizer.json"));
    assert_eq!(read("added_tokens.json").unwrap(), None);
    assert!(read("../config.json").is_err());

    let mut source = memory(SINGLE);
    source.insert("tokenizer.json", vec![b' '; (64 << 20) + 1]);
    source.insert("empty.json", "");
    let checkpoint = open(source);
    let error = pollster::block_on(checkpoint.file("tokenizer.json")).unwrap_err();
    crate::support::says(
        &error.to_string(),
        &["tokenizer.json has 67108865 bytes, above the limit of 67108864"],
    );
    let empty = pollster::block_on(checkpoint.file("empty.json")).unwrap();
    assert_eq!(empty, Some(Vec::new()));
}
