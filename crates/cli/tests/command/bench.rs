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
    for condition in ["machine", "date", "command"] {
        assert!(report["conditions"][condition].is_string(), "{condition}");
    }
    let command = report["conditions"]["command"].as_str().unwrap();
    assert!(command.starts_with("paligemma bench --model "), "{command}");
    let typed = "--runs 1 --tokens 2 --positions 300,5 --profile --json";
    assert!(command.ends_with(typed), "{command}");
    assert_eq!(report["model"]["name"], "model");
    assert_eq!(report["model"]["made_up"], false);
    assert!(report["adapter"]["name"].is_string());
    let number = |path: &str| {
        let value = report.pointer(path).and_then(serde_json::Value::as_f64);
        value.unwrap_or_else(|| panic!("{path} of {report}"))
    };
    for path in [
        "/adapter/max_workgroup_bytes",
        "/adapter/max_workgroup_invocations",
        "/adapter/max_storage_buffers",
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
        "/first_token_share_of_f32_peak",
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
    // Vision, prefill and each position, by timestamps or by repeating.
    let profile = report["profile"].as_array().unwrap();
    assert_eq!(profile.len(), 4);
    for stage in profile {
        assert!(stage["picking_share"].is_number(), "{stage}");
        for kernel in stage["kernels"].as_array().unwrap() {
            assert!(kernel["share_of_limit"].is_number(), "{kernel}");
            let by = kernel["limited_by"].as_str().unwrap();
            assert!(["copy", "f32"].contains(&by), "{kernel}");
        }
    }
}

/// Bytes of a step of PaliGemma 2 3B with one layer in q4 that sees so many positions, by hand
/// from the published dimensions.
fn bytes_of_a_step(positions: u64) -> u64 {
    // A scale of two bytes for 64 weights of 8 bits, and for 32 of 4.
    let q8 = |columns: u64| columns + columns / 64 * 2;
    let q4 = |columns: u64| columns / 2 + columns / 32 * 2;
    let projections = (2048 + 2 * 1024) * q4(2304) + 2304 * q4(2048);
    let mlp = 2 * 9216 * q4(2304) + 2304 * q4(9216);
    // Four of the layer, and the last one.
    let norms = 5 * 2304 * 4;
    // Keys and values of four heads in 16 bits.
    let cache = 2 * 4 * 256 * 2 * positions;
    projections + mlp + norms + cache + (257_216 + 1) * q8(2304)
}

#[test]
fn bench_makes_a_published_shape_up() {
    let line = "bench --shape paligemma2-3b-224 --recipe q4 --layers 1 --runs 1 --tokens 2 \
                --positions 8 --no-tuning --json";
    let output = paligemma(&line.split_whitespace().collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["conditions"]["command"], format!("paligemma {line}"));
    let model = &report["model"];
    assert_eq!(model["name"], "paligemma2-3b-224");
    assert_eq!(model["recipe"], "q4");
    assert_eq!(model["made_up"], true);
    assert_eq!(model["layers"], serde_json::json!([1, 1]));
    assert_eq!(model["layers_in_full"], serde_json::json!([27, 26]));

    let decode = &report["decode"][0];
    // The mean of two tokens after 8, its own position included.
    assert_eq!(decode["bytes_per_token"], bytes_of_a_step(8 + 1 + 1));
    // Seven of a layer and six besides, where nothing is too large for a binding.
    let dispatches = decode["dispatches_per_token"].as_u64().unwrap();
    assert!(dispatches >= 7 + 6, "{dispatches}");

    let number = |path: &str| {
        let value = report.pointer(path).and_then(serde_json::Value::as_f64);
        value.unwrap_or_else(|| panic!("{path} of {report}"))
    };
    // The limits are measured while other tests run, so a share may well be above 1; ten times
    // that it is only where it is counted wrongly, in percent say.
    let share = |path: &str, rate: f64, limit: &str| {
        let (share, limit) = (number(path), number(limit));
        assert!(share > 0.0 && share < 10.0, "{path}: {share}");
        assert!((share * limit / rate - 1.0).abs() < 1e-9, "{path}: {share}");
    };
    let peak = "/limits/f32_gflop_per_second";
    let operations = ["vision", "prefill"].map(|stage| {
        let operations = 2.0 * number(&format!("/{stage}/multiply_adds"));
        let rate = operations / number(&format!("/{stage}/ms/median")) / 1e6;
        share(&format!("/{stage}/share_of_f32_peak"), rate, peak);
        operations
    });
    let both = operations.iter().sum::<f64>() / number("/first_token_ms/median") / 1e6;
    share("/first_token_share_of_f32_peak", both, peak);
    let read = number("/decode/0/bytes_per_token") / number("/decode/0/ms_per_token/median") / 1e6;
    let copy = "/limits/copy_gb_per_second";
    share("/decode/0/share_of_copy", read, copy);
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
        "vision and prefill, ",
        "command    paligemma bench --model ",
        "workgroups of",
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
