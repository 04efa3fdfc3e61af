//! Packed models that are damaged, half-way or newer: exit code 2 and the right next step.

use std::path::{Path, PathBuf};

use crate::{paligemma, path, root, scratch};

fn convert(out: &Path, more: &[&str]) -> (Option<i32>, String) {
    let model = root("web/demo/model");
    let files = ["convert", "--model", path(&model), "--out", path(out)];
    said(&[&files[..], more].concat())
}

fn run(model: &Path) -> (Option<i32>, String) {
    let picture = root("web/demo/samples/scene01.png");
    let files = ["run", "--model", path(model), "--image", path(&picture)];
    said(&[&files[..], &["--prompt", "detect boat"]].concat())
}

fn said(args: &[&str]) -> (Option<i32>, String) {
    let output = paligemma(args);
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

fn packed(name: &str) -> PathBuf {
    let out = scratch(name);
    let (code, said) = convert(&out, &[]);
    assert_eq!(code, Some(0), "{said}");
    out
}

fn refused((code, said): (Option<i32>, String), parts: &[&str], never: &[&str]) {
    assert_eq!(code, Some(2), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} in {said:?}");
    }
    for part in never {
        assert!(!said.contains(part), "{part:?} in {said:?}");
    }
}

fn flip(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_flipped_byte_is_named_and_mended() {
    let out = packed("flipped");
    for file in ["pieces/00000.bin", "tokenizer.json", "vae-oid.safetensors"] {
        flip(&out.join(file));
        refused(
            run(&out),
            &[
                file,
                "is damaged",
                "download it again",
                "convert the model again",
            ],
            &["repair"],
        );
        // What the sentence says helps.
        let (code, said) = convert(&out, &[]);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = run(&out);
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn manifests_of_another_version_or_damaged_say_so() {
    let out = packed("manifests");
    let manifest = out.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let newer = text.replacen("\"version\":1", "\"version\":99", 1);
    assert_ne!(newer, text);
    std::fs::write(&manifest, newer).unwrap();
    let version = format!("paligemma-web {}", env!("CARGO_PKG_VERSION"));
    let parts = [
        "format version 99",
        &version,
        "reads version 1",
        "newer",
        "empty folder",
    ];
    refused(convert(&out, &[]), &parts, &["damaged", "fetch"]);
    refused(run(&out), &parts, &["damaged", "fetch"]);

    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    let parts = ["manifest.json is damaged", "into an empty folder"];
    refused(convert(&out, &[]), &parts, &["delete the model", "fetch"]);
}

#[test]
fn a_conversion_that_was_cut_is_to_be_run_again() {
    let out = packed("cut");
    // As a conversion leaves it that is ended before its last step.
    std::fs::rename(out.join("manifest.json"), out.join("partial.json")).unwrap();
    let again = format!("paligemma convert … --out {}", path(&out));
    let parts = ["the conversion was not finished", &again];
    refused(run(&out), &parts, &["model.safetensors"]);
    refused(said(&["inspect", path(&out)]), &parts, &[]);
}

#[test]
fn a_place_that_cannot_be_written_has_one_next_step() {
    let out = packed("places");
    let other = convert(&out, &["--recipe", "q8"]);
    let never = ["try again", "restart"];
    refused(
        other,
        &["holds another packed model", "choose an empty folder"],
        &never,
    );
    let file = out.join("config.json");
    refused(
        convert(&file, &[]),
        &["is not a folder", "choose another place"],
        &never,
    );
    refused(
        convert(&file.join("x"), &[]),
        &["is a file", "choose another folder"],
        &never,
    );
}
