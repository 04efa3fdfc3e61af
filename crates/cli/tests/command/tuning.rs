//! The choice of kernels is kept in the user's cache directory, and what lies there stops nothing.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::{paligemma_in, path, root, scratch};

/// A short `bench --json` of the demo model with this cache directory.
fn bench(cache: &Path, more: &[&str]) -> Value {
    let model = root("web/demo/model");
    let fixed = ["bench", "--json", "--model", path(&model), "--runs", "1"];
    let few = ["--tokens", "1", "--positions", "5"];
    let output = paligemma_in(cache, &[&fixed[..], &few, more].concat());
    succeeded(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn succeeded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn kernels(report: &Value) -> &str {
    report["adapter"]["kernels"].as_str().unwrap()
}

#[test]
fn a_tuning_run_is_kept_and_used() {
    let cache = scratch("tuned");
    let file = cache.join("paligemma/tuning.json");
    let report = bench(&cache, &["--tune"]);
    let tried = report["tried"].as_array().unwrap();
    // Three for many rows and five for one, and what an adapter's features add.
    let optional = |it: &&Value| {
        let kernel = it["kernel"].as_str().unwrap();
        kernel == "half" || kernel.ends_with(" subgroups")
    };
    assert_eq!(tried.len(), 3 + 5 + tried.iter().filter(optional).count());
    let chosen: Vec<_> = tried.iter().filter(|it| it["chosen"] == true).collect();
    assert_eq!(chosen.len(), 2, "{report}");
    for candidate in tried {
        assert!(candidate["ms"].as_f64().unwrap() > 0.0, "{candidate}");
    }
    let names = chosen.iter().map(|it| it["kernel"].as_str().unwrap());
    let variants = names.collect::<Vec<_>>().join(" ");
    let said = kernels(&report);
    assert!(said.starts_with(&variants), "{variants} in {said}");
    assert!(said.contains("(measured)"), "{said}");

    let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let adapters = kept["adapters"].as_object().unwrap().clone();
    assert_eq!(adapters.len(), 1);
    let (key, value) = adapters.iter().next().unwrap();
    assert_eq!(value, &variants);
    let name = report["adapter"]["name"].as_str().unwrap();
    assert!(key.contains(name), "{key}");
    // Nothing unfinished is left.
    assert_eq!(fs::read_dir(cache.join("paligemma")).unwrap().count(), 1);

    // What is kept is used, without a run: a choice that no run and no adapter would make.
    kept["adapters"][key] = json!("tiled lanes=2");
    kept["adapters"]["another adapter"] = json!("registers lanes=64");
    fs::write(&file, kept.to_string()).unwrap();
    let report = bench(&cache, &[]);
    let said = kernels(&report);
    assert!(
        said.starts_with("tiled lanes=2 (measured earlier)"),
        "{said}"
    );
    assert_eq!(report["tried"], json!([]));
    let image = root("web/demo/samples/scene01.png");
    let model = root("web/demo/model");
    let run = |more: &[&str]| {
        let prompt = ["--prompt", "detect boat", "--max-new-tokens", "3"];
        let files = ["run", "--model", path(&model), "--image", path(&image)];
        let output = paligemma_in(&cache, &[&files[..], &prompt, more].concat());
        succeeded(&output);
        output.stdout
    };
    assert_eq!(run(&[]), run(&["--no-tuning"]));
    let usual = bench(&cache, &["--no-tuning"]);
    let said = kernels(&usual);
    assert!(said.contains("(the usual choice)"), "{said}");

    // Another run goes beside what is kept of other adapters.
    bench(&cache, &["--tune"]);
    let kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["adapters"]["another adapter"], "registers lanes=64");
    assert_eq!(kept["adapters"].as_object().unwrap().len(), 2);
}

#[test]
fn what_lies_in_the_cache_stops_nothing() {
    let cache = scratch("spoilt");
    let file = cache.join("paligemma/tuning.json");
    fs::create_dir_all(cache.join("paligemma")).unwrap();
    fs::write(&file, "{").unwrap();
    let report = bench(&cache, &[]);
    // An adapter that is new is measured if it is a GPU.
    let software = report["adapter"]["is_software"] == true;
    let origin = if software {
        "(the usual choice)"
    } else {
        "(measured)"
    };
    assert!(kernels(&report).contains(origin), "{report}");
    // A folder in the file's place is said, and no reason to fail.
    let _ = fs::remove_file(&file);
    fs::create_dir(&file).unwrap();
    fs::write(file.join("x"), "").unwrap();
    bench(&cache, &["--tune"]);
}
