//! LoRA adapters: merged as PEFT merges them, in every layout, and refused where they do not fit.
//!
//! `tests/fixtures/lora` holds adapters that PEFT saved and rows of what its `merge_and_unload`
//! made of them (`tests/oracle/oracle/lora.py`). Their numbers are multiples of 1/64, so that the
//! sums in B·A are exact in f32 and the merged weights have to be the same to the bit.

use crate::packed::plan;
use crate::packed::shelf::Shelf;
use crate::support::{SINGLE, Weights, memory, open, says};
use paligemma_checkpoint::{
    Checkpoint, CheckpointError, FolderStore, Ingest, LoraAdapter, Manifest, MemorySource, Origin,
    PackedSource, Pieces, Recipe,
};
use pollster::block_on;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The fixtures that have an adapter.
const ADAPTED: [&str; 3] = ["pg2_gqa", "pg2_odd", "pg1_mqa"];
const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

fn base(name: &str) -> MemorySource {
    memory(&format!("tests/fixtures/{name}/model"))
}

fn files(name: &str) -> MemorySource {
    let folder = crate::support::folder(&format!("tests/fixtures/lora/{name}"));
    let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
    [CONFIG, WEIGHTS]
        .map(|file| (file, read(file)))
        .into_iter()
        .collect()
}

fn adapter(files: MemorySource) -> Result<LoraAdapter<MemorySource>, CheckpointError> {
    block_on(LoraAdapter::open(files, Origin::default()))
}

fn merged(name: &str, files: MemorySource) -> Checkpoint<MemorySource> {
    let checkpoint = open(base(name));
    checkpoint.with_adapter(adapter(files).unwrap()).unwrap()
}

/// Every tensor as it is delivered, by canonical name.
fn delivered(checkpoint: &Checkpoint<MemorySource>, max_bytes: usize) -> BTreeMap<String, Vec<u8>> {
    let mut tensors: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut slices = checkpoint.slices(max_bytes);
    while let Some(slice) = block_on(slices.next()).unwrap() {
        let name = checkpoint.tensors()[slice.tensor].name.clone();
        tensors.entry(name).or_default().extend(slice.bytes);
    }
    tensors
}

#[test]
fn merged_rows_are_those_of_peft_to_the_bit() {
    for name in ADAPTED {
        let expected = crate::support::folder(&format!(
            "tests/fixtures/lora/{name}/expected/merged.safetensors"
        ));
        let expected = std::fs::read(expected).unwrap();
        let expected = safetensors::SafeTensors::deserialize(&expected).unwrap();
        let untouched = delivered(&open(base(name)), usize::MAX);
        let whole = delivered(&merged(name, files(name)), usize::MAX);
        let mut changed = 0;
        for (tensor, rows) in expected.iter() {
            let Some(tensor) = tensor.strip_prefix("rows.") else {
                continue;
            };
            let bytes = rows.data();
            assert_eq!(whole[tensor][..bytes.len()], *bytes, "{name} {tensor}");
            changed += usize::from(untouched[tensor][..bytes.len()] != *bytes);
        }
        // Of each fixture most of the rows that were kept belong to layers with an adapter.
        assert!(changed >= 3, "{name}: {changed}");
        // A row, a few, and all of a tensor at a time come to the same.
        for max_bytes in [1, 1000, 100_000] {
            assert!(
                delivered(&merged(name, files(name)), max_bytes) == whole,
                "{name}"
            );
        }
    }
}

/// The adapter's tensors under other names.
fn renamed(mut files: MemorySource, new: impl Fn(&str) -> String) -> MemorySource {
    let mut weights = Weights::of(&files, WEIGHTS);
    weights.rename(new);
    files.insert(WEIGHTS, weights.bytes());
    files
}

#[test]
fn every_layout_of_names_is_understood() {
    let wanted = delivered(&merged("pg2_gqa", files("pg2_gqa")), usize::MAX);
    let older = |name: &str| {
        name.replace("model.model.language_model.", "model.language_model.model.")
            .replace(
                "model.model.vision_tower.",
                "model.vision_tower.vision_model.",
            )
            .replace("model.model.multi_modal", "model.multi_modal")
    };
    let between = |name: &str| name.replace("vision_tower.", "vision_tower.vision_model.");
    let with_name = |name: &str| name.replace(".weight", ".default.weight");
    let bare = |name: &str| name.replace("base_model.model.", "");
    let layouts: [&dyn Fn(&str) -> String; 4] = [&older, &between, &with_name, &bare];
    for layout in layouts {
        let other = renamed(files("pg2_gqa"), layout);
        assert!(delivered(&merged("pg2_gqa", other), usize::MAX) == wanted);
    }
}

#[test]
fn what_an_adapter_is_can_be_told() {
    let summary = adapter(files("pg2_odd")).unwrap().summary();
    assert_eq!(summary.base.as_deref(), Some("fixtures/pg2_odd"));
    assert_eq!(summary.ranks, (2, 5));
    let bytes = files("pg2_odd");
    let bytes = safetensors::SafeTensors::deserialize(bytes.get(WEIGHTS).unwrap()).unwrap();
    let numbers: usize = bytes.iter().map(|(_, view)| view.data().len() / 2).sum();
    assert_eq!(summary.parameters, numbers as u64);
    assert_eq!(summary.modules, bytes.len() / 2);
}

/// A checkpoint of the merged weights, under the base's names and in one file.
fn saved(name: &str) -> MemorySource {
    let checkpoint = merged(name, files(name));
    let tensors = delivered(&checkpoint, usize::MAX);
    let views = checkpoint.tensors().iter().map(|info| {
        let dtype = match info.dtype {
            paligemma_checkpoint::Dtype::F32 => safetensors::Dtype::F32,
            paligemma_checkpoint::Dtype::F16 => safetensors::Dtype::F16,
            paligemma_checkpoint::Dtype::BF16 => safetensors::Dtype::BF16,
        };
        let view = TensorView::new(dtype, info.shape.clone(), &tensors[&info.name]).unwrap();
        (info.name.as_str(), view)
    });
    let weights = safetensors::serialize(views, None).unwrap();
    let mut source = base(name);
    let shards: Vec<String> = source
        .paths()
        .filter(|path| path.starts_with("model"))
        .map(str::to_owned)
        .collect();
    for shard in shards {
        source.remove(&shard);
    }
    source.insert("model.safetensors", weights);
    source
}

fn packed(checkpoint: &Checkpoint<MemorySource>, recipe: &Recipe) -> Manifest {
    let shelf = Shelf::default();
    let ingest = Ingest::quantize(checkpoint, plan(checkpoint, recipe), &shelf);
    block_on(ingest.run(&mut |_| ())).unwrap()
}

#[test]
fn a_merged_model_is_packed_like_one_that_was_saved_merged() {
    for recipe in [Recipe::AS_STORED, Recipe::Q4] {
        let ours = packed(&merged("pg1_mqa", files("pg1_mqa")), &recipe);
        let theirs = packed(&open(saved("pg1_mqa")), &recipe);
        assert_eq!(ours.plan.tensors, theirs.plan.tensors, "{recipe}");
        assert_eq!(ours.digests, theirs.digests, "{recipe}");
        let original = packed(&open(base("pg1_mqa")), &recipe);
        assert_ne!(ours.digests, original.digests, "{recipe}");
    }
}

#[test]
fn base_and_each_adapter_are_models_of_their_own() {
    let key = |checkpoint: &Checkpoint<MemorySource>| plan(checkpoint, &Recipe::Q4).key();
    let mut other = files("pg1_mqa");
    let mut weights = Weights::of(&other, WEIGHTS);
    weights.data[0] ^= 1;
    other.insert(WEIGHTS, weights.bytes());
    let mut scaled = files("pg1_mqa");
    change(&mut scaled, |config| config["lora_alpha"] = json!(4));
    let keys = [
        key(&open(base("pg1_mqa"))),
        key(&merged("pg1_mqa", files("pg1_mqa"))),
        key(&merged("pg1_mqa", other)),
        key(&merged("pg1_mqa", scaled)),
    ];
    for (index, one) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(one), "{index}");
    }
    assert_eq!(key(&merged("pg1_mqa", files("pg1_mqa"))), keys[1]);
}

#[test]
fn a_packed_model_says_which_adapter_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = merged("pg1_mqa", files("pg1_mqa"));
    let store = FolderStore::new(folder.path());
    let ingest = Ingest::quantize(&checkpoint, plan(&checkpoint, &Recipe::Q8), &store);
    let manifest = block_on(ingest.run(&mut |_| ())).unwrap();
    let adapter = checkpoint.adapter().unwrap().origin();
    let source = paligemma_checkpoint::Folder::new(folder.path());
    let read = block_on(PackedSource::open(source)).unwrap();
    assert_eq!(read.manifest().plan.adapter.as_ref(), Some(adapter));
    assert_eq!(read.manifest().digests, manifest.digests);
    // Another adapter does not go into the same folder.
    let mut other = files("pg1_mqa");
    change(&mut other, |config| config["use_rslora"] = json!(true));
    let other = merged("pg1_mqa", other);
    let ingest = Ingest::quantize(&other, plan(&other, &Recipe::Q8), &store);
    let error = block_on(ingest.run(&mut |_| ())).unwrap_err();
    assert!(
        error.to_string().contains("another packed model"),
        "{error}"
    );
    // A manifest without one has no word about adapters, as before there were any.
    let plain = packed(&open(base("pg1_mqa")), &Recipe::Q8);
    assert!(!plain.to_json().contains("adapter"));
}

fn change(files: &mut MemorySource, change: impl FnOnce(&mut Value)) {
    let mut config = serde_json::from_slice(files.get(CONFIG).unwrap()).unwrap();
    change(&mut config);
    files.insert(CONFIG, config.to_string());
}

/// What a person is told who opens this adapter.
#[track_caller]
fn refusal(files: MemorySource) -> String {
    match adapter(files) {
        Ok(_) => panic!("an adapter that cannot be merged was opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn other_kinds_of_adapters_are_refused() {
    for (field, value, word) in [
        ("peft_type", json!("IA3"), "IA3"),
        ("peft_type", Value::Null, "missing"),
        ("use_dora", json!(true), "DoRA"),
        ("fan_in_fan_out", json!(true), "transposed"),
        ("bias", json!("lora_only"), "biases"),
        ("lora_bias", json!(true), "bias"),
        ("modules_to_save", json!(["lm_head"]), "modules"),
        ("trainable_token_indices", json!([5]), "embedding"),
        ("target_parameters", json!(["x"]), "parameters"),
        ("alora_invocation_tokens", json!([1]), "activated"),
        ("use_qalora", json!(true), "QALoRA"),
        ("layer_replication", json!([[0, 1]]), "layers"),
        ("init_lora_weights", json!("pissa_niter_4"), "pissa"),
        ("init_lora_weights", json!("olora"), "olora"),
    ] {
        let mut files = files("pg2_gqa");
        change(&mut files, |config| config[field] = value);
        says(&refusal(files), &[CONFIG, field, word]);
    }
    // What means nothing, or nothing else.
    let mut same = files("pg2_gqa");
    change(&mut same, |config| {
        config["modules_to_save"] = json!([]);
        config["init_lora_weights"] = json!("gaussian");
        config["lora_dropout"] = json!(0.5);
        config["exclude_modules"] = json!(["multi_modal_projector.linear"]);
        config.as_object_mut().unwrap().remove("bias");
    });
    let wanted = delivered(&merged("pg2_gqa", files("pg2_gqa")), usize::MAX);
    assert!(delivered(&merged("pg2_gqa", same), usize::MAX) == wanted);
}

#[test]
fn malformed_configurations_are_refused() {
    for (field, value) in [
        ("r", json!(0)),
        ("r", json!(-1)),
        ("r", json!("8")),
        ("lora_alpha", json!("8")),
        ("lora_alpha", json!(1e300)),
        ("use_rslora", json!(1)),
        ("target_modules", json!(5)),
        ("target_modules", json!([5])),
        ("target_modules", json!("(q_proj")),
        // Takes a number of steps that doubles with every letter.
        ("target_modules", json!(r"(?=(\w|\w\w|\w\w\w|\.)+\1!)x")),
        ("rank_pattern", json!([4])),
        ("rank_pattern", json!({"q_proj": 0})),
        ("rank_pattern", json!({"q_proj": 1.5})),
        ("rank_pattern", json!({"q_proj(": 1})),
        ("alpha_pattern", json!({"q_proj": "1"})),
        ("layers_to_transform", json!("0")),
    ] {
        let mut files = files("pg2_gqa");
        change(&mut files, |config| config[field] = value);
        says(&refusal(files), &[CONFIG, field]);
    }
    let mut broken = files("pg2_gqa");
    broken.insert(CONFIG, "{");
    says(&refusal(broken), &[CONFIG, "JSON"]);
    let mut none = files("pg2_gqa");
    none.remove(CONFIG);
    says(&refusal(none), &[CONFIG, "missing"]);
    let mut none = files("pg2_gqa");
    none.remove(WEIGHTS);
    says(&refusal(none), &[WEIGHTS, "missing"]);
    let mut pickled = files("pg2_gqa");
    pickled.remove(WEIGHTS);
    pickled.insert("adapter_model.bin", "x");
    says(&refusal(pickled), &["adapter_model.bin", "PEFT"]);
    let mut large = files("pg2_gqa");
    large.insert(CONFIG, " ".repeat((1 << 20) + 1));
    says(&refusal(large), &[CONFIG, "limit"]);
}

/// The adapter of `pg2_gqa` with its weights changed.
fn with_weights(change: impl FnOnce(&mut Weights)) -> MemorySource {
    let mut files = files("pg2_gqa");
    let mut weights = Weights::of(&files, WEIGHTS);
    change(&mut weights);
    files.insert(WEIGHTS, weights.bytes());
    files
}

const QUERY: &str = "base_model.model.model.language_model.layers.0.self_attn.q_proj";

#[test]
fn tensors_that_do_not_belong_are_refused() {
    let another = |name: &'static str| {
        with_weights(move |weights| weights.append(name, "F32", &[1], &[0; 4]))
    };
    says(
        &refusal(another("something.weight")),
        &["something.weight", "LoRA"],
    );
    let embedding = "base_model.model.model.language_model.embed_tokens.lora_embedding_A";
    says(&refusal(another(embedding)), &["embedding", "PEFT"]);
    let magnitude =
        "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_magnitude_vector";
    says(&refusal(another(magnitude)), &["DoRA"]);
    // A second name for a layer that is there already.
    let twice = with_weights(|weights| {
        let name = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight";
        weights.append(name, "F32", &[4, 96], &[0; 4 * 96 * 4]);
    });
    says(&refusal(twice), &["q_proj", "same layer"]);
    let half = with_weights(|weights| {
        let name = "base_model.model.model.language_model.layers.0.mlp.gate_proj.lora_A.weight";
        weights.rename(|found| found.replace(name, &name.replace("gate_proj", "up_proj")));
    });
    says(&refusal(half), &["other half"]);
    let untargeted = renamed(files("pg2_gqa"), |name| {
        name.replace("gate_proj", "up_proj")
    });
    says(&refusal(untargeted), &["up_proj", CONFIG]);
    let integers = with_weights(|weights| {
        let tensor = weights.tensor(&format!("{QUERY}.lora_A.weight"));
        tensor["dtype"] = json!("I32");
    });
    says(&refusal(integers), &["q_proj", "I32"]);
    let vector = with_weights(|weights| {
        let tensor = weights.tensor(&format!("{QUERY}.lora_A.weight"));
        tensor["shape"] = json!([4 * 96]);
    });
    says(&refusal(vector), &["q_proj", "no matrix"]);
    let mut rank = files("pg2_gqa");
    change(&mut rank, |config| {
        config["rank_pattern"] = json!({"v_proj": 8})
    });
    says(&refusal(rank), &["v_proj", "rank 4", "8"]);
    let nothing = with_weights(|weights| {
        weights.header.retain(|name, _| name == "__metadata__");
        weights.data.clear();
    });
    says(&refusal(nothing), &[WEIGHTS, "no tensors"]);
}

/// What a person is told who lays an adapter over a checkpoint that it is not for.
#[track_caller]
fn misfit(name: &str, files: MemorySource) -> String {
    let adapter = adapter(files).unwrap();
    match open(base(name)).with_adapter(adapter) {
        Ok(_) => panic!("an adapter was laid over another model"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn adapters_for_other_models_are_refused() {
    let message = misfit("pg1_gqa_bf16", files("pg2_gqa"));
    says(
        &message,
        &["adapter_model", "fixtures/pg2_gqa", "trained on"],
    );
    says(&misfit("pg2_odd", files("pg2_gqa")), &["the checkpoint"]);
    assert!(open(memory(SINGLE)).adapter().is_none());

    let deeper = renamed(files("pg2_gqa"), |name| {
        name.replace("layers.3.mlp", "layers.4.mlp")
    });
    says(
        &misfit("pg2_gqa", deeper),
        &["layers.4.mlp", "does not have"],
    );

    // A layer with the name of another: the sizes tell.
    let mut swapped = files("pg2_gqa");
    change(&mut swapped, |config| {
        config["target_modules"] = json!(["q_proj", "v_proj", "down_proj", "fc1"]);
    });
    let swapped = renamed(swapped, |name| name.replace("gate_proj", "down_proj"));
    says(&misfit("pg2_gqa", swapped), &["down_proj", "inputs", "200"]);

    // The head is the embedding here.
    let mut head = files("pg2_gqa");
    change(&mut head, |config| {
        config["target_modules"] = json!(["q_proj", "v_proj", "gate_proj", "fc1", "lm_head"]);
    });
    let head = renamed(head, |name| {
        name.replace("model.language_model.layers.0.mlp.gate_proj", "lm_head")
    });
    says(&misfit("pg2_gqa", head), &["lm_head", "embedding"]);
}

#[test]
fn a_weight_that_becomes_no_number_is_an_error() {
    let broken = with_weights(|weights| {
        let (begin, _) = weights.offsets(&format!("{QUERY}.lora_A.weight"));
        let begin = begin as usize;
        weights.data[begin..begin + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let checkpoint = merged("pg2_gqa", broken);
    let mut slices = checkpoint.slices(1 << 20);
    let error = loop {
        match block_on(slices.next()) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a NaN went unnoticed"),
            Err(error) => break error.to_string(),
        }
    };
    says(&error, &["q_proj", "NaN", "row 0"]);
}
