use super::plan;
use crate::support::{SINGLE, folder, open, says};
use paligemma_checkpoint::{Config, Digest, Folder, Manifest, Recipe};
use serde_json::{Value, json};

fn sound() -> (Config, Value) {
    let checkpoint = open(Folder::new(folder(SINGLE)));
    let plan = plan(&checkpoint, &Recipe::Q4);
    let digests = (0..plan.pieces()).map(|index| Digest::of(&[index as u8]));
    let manifest = Manifest {
        digests: digests.collect(),
        plan,
    };
    let text = manifest.to_json();
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
    let config = checkpoint.config().clone();
    manifest.check_tensors(&config).unwrap();
    (config, serde_json::from_str(&text).unwrap())
}

#[test]
fn what_the_format_promises_is_there() {
    let (_, json) = sound();
    assert_eq!(json["format"], "paligemma-packed");
    assert_eq!(json["version"], 1);
    assert_eq!(json["recipe"], "q4");
    assert_eq!(json["pieces"][1]["file"], "pieces/00001.bin");
    assert_eq!(json["pieces"][1]["offset"], json["piece_bytes"]);
    assert_eq!(json["pieces"][0]["bytes"], json["piece_bytes"]);
    assert_eq!(json["pieces"][0]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(json["files"][0]["path"], "config.json");
    let storages = json["tensors"].as_array().unwrap().iter();
    let mut storages: Vec<&str> = storages.map(|t| t["storage"].as_str().unwrap()).collect();
    storages.sort_unstable();
    storages.dedup();
    assert_eq!(storages, ["f32", "numbers", "q4-g32", "q8-g64"]);
}

#[test]
fn another_version_says_which_software_reads_it() {
    let (_, mut json) = sound();
    json["version"] = json!(2);
    let error = Manifest::parse(json.to_string().as_bytes()).unwrap_err();
    says(&error.to_string(), &["version 2", "version 1", "newer"]);
    // Also when nothing else is as it was.
    let other = json!({"format": "paligemma-packed", "version": 3, "pieces": "elsewhere"});
    let error = Manifest::parse(other.to_string().as_bytes()).unwrap_err();
    says(&error.to_string(), &["version 3", "newer"]);
}

/// One change each, and each is refused with words that say where.
#[test]
fn a_manifest_that_cannot_be_right_is_refused() {
    type Change = fn(&mut Value);
    let changes: &[(&str, Change)] = &[
        ("packed model", |m| m["format"] = json!("gguf")),
        ("damaged", |m| m["recipe"] = json!(7)),
        ("pieces of 24", |m| m["piece_bytes"] = json!(24)),
        ("pieces of", |m| m["piece_bytes"] = json!(1u64 << 40)),
        ("names a file", |m| {
            m["files"][0]["path"] = json!("../config.json")
        }),
        ("lists", |m| {
            m["pieces"].as_array_mut().unwrap().pop();
        }),
        ("piece 0", |m| {
            m["pieces"][0]["file"] = json!("../../etc/passwd")
        }),
        ("piece 1", |m| m["pieces"][1]["offset"] = json!(0)),
        ("damaged", |m| m["pieces"][0]["sha256"] = json!("00")),
        ("outside", |m| {
            m["tensors"][0]["spans"][0]["weights"] = json!(1u64 << 40)
        }),
        ("outside", |m| {
            m["tensors"][0]["spans"][0]["rows"] = json!(usize::MAX)
        }),
        ("outside", |m| {
            m["tensors"][0]["spans"][0]["piece"] = json!(1_000_000)
        }),
        ("outside", |m| {
            m["tensors"][0]["spans"][0]["weights"] = json!(2)
        }),
        ("missing", |m| m["tensors"][0]["spans"] = json!([])),
        ("damaged", |m| m["tensors"][0]["storage"] = json!("q5")),
        ("of 100000000 bytes", |m| {
            m["files"][0]["bytes"] = json!(100_000_000)
        }),
        ("out of order", |m| {
            m["tensors"].as_array_mut().unwrap().reverse()
        }),
        ("lists", |m| m["bytes"] = json!(u64::MAX)),
        ("outside", |m| m["bytes"] = json!(1)),
    ];
    for (part, change) in changes {
        let (_, mut json) = sound();
        change(&mut json);
        match Manifest::parse(json.to_string().as_bytes()) {
            Ok(_) => panic!("{part}: a broken manifest was read"),
            Err(error) => says(&error.to_string(), &["manifest.json", part]),
        }
    }
}

#[test]
fn tensors_are_those_of_the_configuration() {
    let (config, json) = sound();
    let check = |change: fn(&mut Vec<Value>)| {
        let mut json = json.clone();
        change(json["tensors"].as_array_mut().unwrap());
        let manifest = Manifest::parse(json.to_string().as_bytes()).unwrap();
        manifest.check_tensors(&config).unwrap_err().to_string()
    };
    says(&check(|tensors| drop(tensors.pop())), &["lacks the tensor"]);
    let renamed = check(|tensors| tensors[0]["name"] = json!("language_model.secret"));
    says(&renamed, &["language_model.secret"]);
}
