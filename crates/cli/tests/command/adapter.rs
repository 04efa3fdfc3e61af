//! `--adapter`: a LoRA adapter in PEFT's format, in each command that takes one.

use std::path::PathBuf;
use std::process::Output;

use safetensors::SafeTensors;

use crate::{paligemma, path, root, scratch};

fn base() -> PathBuf {
    root("tests/fixtures/pg1_mqa/model")
}

fn lora(name: &str) -> PathBuf {
    root("tests/fixtures/lora").join(name)
}

fn told(output: &Output) -> String {
    let said = if output.status.success() {
        &output.stdout
    } else {
        &output.stderr
    };
    String::from_utf8(said.clone()).unwrap()
}

/// Logits of the last token, as `forward` writes them.
fn logits(model: &str, more: &[&str], file: &str) -> Vec<u8> {
    let out = scratch(file).join("tensors.safetensors");
    let image = root("tests/fixtures/pg1_mqa/images/image_a.png");
    let args = ["forward", "--model", model, "--image", path(&image)];
    let rest = ["--prompt", "caption en", "--out", path(&out)];
    let output = paligemma(&[&args[..], &rest, more].concat());
    assert!(output.status.success(), "{}", told(&output));
    let tensors = std::fs::read(out).unwrap();
    let tensors = SafeTensors::deserialize(&tensors).unwrap();
    tensors.tensor("logits").unwrap().data().to_vec()
}

#[test]
fn a_converted_adapter_is_the_one_that_is_merged_while_loading() {
    let (base, lora) = (base(), lora("pg1_mqa"));
    let adapter = ["--adapter", path(&lora)];
    let merged = logits(
        path(&base),
        &[&adapter[..], &["--recipe", "q8"]].concat(),
        "merged",
    );
    let out = scratch("packed_with_adapter");
    let args = ["convert", "--model", path(&base), "--recipe", "q8"];
    let output = paligemma(&[&args[..], &adapter, &["--out", path(&out)]].concat());
    assert!(output.status.success(), "{}", told(&output));
    assert!(logits(path(&out), &[], "packed") == merged);
    assert!(logits(path(&base), &["--recipe", "q8"], "bare") != merged);

    let output = paligemma(&["inspect", path(&out)]);
    assert!(
        told(&output).contains("with the adapter"),
        "{}",
        told(&output)
    );
}

#[test]
fn inspect_says_what_an_adapter_is_and_whether_it_fits() {
    let (base, fitting, other) = (base(), lora("pg1_mqa"), lora("pg2_gqa"));
    let output = paligemma(&["inspect", path(&base), "--adapter", path(&fitting)]);
    let said = told(&output);
    for part in ["lora", "rank 2", "40 layers", "fixtures/pg1_mqa"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let output = paligemma(&["inspect", path(&base), "--adapter", path(&other)]);
    assert_eq!(output.status.code(), Some(2));
    let said = told(&output);
    assert!(said.contains("fixtures/pg2_gqa"), "{said}");
}

#[test]
fn adapters_that_are_none_are_named() {
    let (base, absent) = (base(), root("tests/fixtures/absent"));
    let image = root("tests/fixtures/pg1_mqa/images/image_a.png");
    let args = ["run", "--model", path(&base), "--image", path(&image)];
    for (adapter, part) in [(&absent, "absent"), (&base, "adapter_config.json")] {
        let more = ["--prompt", "x", "--adapter", path(adapter)];
        let output = paligemma(&[&args[..], &more].concat());
        assert_eq!(output.status.code(), Some(2));
        let said = told(&output);
        assert!(said.contains(part), "{part:?} in {said}");
    }
}
