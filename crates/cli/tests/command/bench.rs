//! `paligemma bench`: what scripts read from it, and what it says of a wrong use.

use crate::{paligemma, path, root};

fn bench(more: &[&str]) -> std::process::Output {
    let model = root("web/demo/model");
    let fixed = [
        "bench",
        "--model",
        path(&model),
        "--runs",
        "1",
        "--tokens",
        "2",
    ];
    paligemma(&[&fixed, more].concat())
}

#[test]
fn bench_prints_one_object_with_every_promised_field() {
    let output = bench(&["--positions", "300,5", "--profile", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for condition in ["machine", "date"] {
        assert!(report["conditions"][condition].is_string(), "{condition}");
    }
    assert_eq!(report["model"]["name"], "model");
    assert_eq!(report["model"]["made_up"], false);
    assert!(report["adapter"]["name"].is_string());
    let number = |path: &str| {
        let value = report.pointer(path).and_then(serde_json::Value::as_f64);
        value.unwrap_or_else(|| panic!("{path} of {report}"))
    };
    for path in [
        "/limits/copy_gb_per_second",
        "/limits/f32_gflop_per_second",
        "/load_ms",
        "/vision/rows",
        "/vision/first_ms",
        "/vision/ms/median",
        "/vision/multiply_adds",
        "/vision/gflop_per_second",
        "/vision/share_of_f32_peak",
        "/prefill/ms/min",
        "/first_token_ms/max",
        "/decode/0/tokens_per_second/median",
        "/decode/0/ms_per_token/median",
        "/decode/0/host_ms_per_token/median",
        "/decode/0/dispatches_per_token",
        "/decode/0/bytes_per_token",
        "/decode/0/gb_per_second",
        "/decode/0/share_of_copy",
    ] {
        assert!(number(path) > 0.0, "{path}");
    }
    assert_eq!(number("/decode/0/position"), 300.0);
    assert_eq!(number("/decode/1/position"), 5.0);
    let timed = report["adapter"]["features"].as_array().unwrap();
    assert_eq!(report["profile"].is_array(), !timed.is_empty());
}

#[test]
fn bench_prints_a_table() {
    let output = bench(&["--positions", "7"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "model: PaliGemma 2",
        "machine",
        "vision",
        "prefill",
        "decode at 7",
        "GB/s",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_wrong_measurement_is_explained() {
    let refused = |args: &[&str], parts: &[&str]| {
        let output = paligemma(&[&["bench"], args].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(output.stdout.is_empty());
        for part in parts {
            assert!(said.contains(part), "{part} in {said}");
        }
    };
    let shapes = ["paligemma2-5b", "paligemma-3b-224", "paligemma2-28b-896"];
    refused(&["--shape", "paligemma2-5b"], &shapes);
    refused(&[], &["--shape", "--model"]);
    refused(
        &["--shape", "paligemma2-3b-224", "--layers", "0"],
        &["--layers", "0"],
    );
    refused(
        &["--shape", "paligemma2-3b-224", "--recipe", "q3"],
        &["q3", "q4-small"],
    );
    refused(
        &["--shape", "paligemma2-3b-224", "--adapter", "Voodoo 2"],
        &["Voodoo 2", "vulkan"],
    );
    let (demo, absent) = (root("web/demo/model"), root("web/demo/absent"));
    refused(&["--model", path(&absent)], &["absent"]);
    refused(
        &["--model", path(&demo), "--positions", "5,99999"],
        &["99999", "1024"],
    );
    refused(
        &["--model", path(&demo), "--tune", "--no-tuning"],
        &["--tune", "--no-tuning"],
    );
    refused(&["--model", path(&demo), "--runs", "0"], &["runs"]);
    refused(&["--model", path(&demo), "--tokens", "0"], &["tokens"]);
}
