//! Measurements: that they measure what they say. Nothing is said about how fast anything is.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use paligemma_checkpoint::Config;
use paligemma_engine::{
    Bench, BenchError, BenchOptions, BenchProgress, BenchReport, CancelToken, EngineError,
    GpuOptions, Recipe, Tune, TuningOptions,
};
use pollster::block_on;
use serde_json::json;

/// Two layers of Gemma 2 and one of SigLIP, small enough for any machine; 512 positions.
fn tiny() -> Config {
    tiny_of(512)
}

fn tiny_of(positions: usize) -> Config {
    let config = json!({
        "model_type": "paligemma", "image_token_index": 1000,
        "text_config": {
            "model_type": "gemma2", "vocab_size": 1000, "hidden_size": 64,
            "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": positions
        },
        "vision_config": {
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14, "image_size": 28
        }
    });
    Config::from_json(config.to_string().as_bytes(), None).unwrap()
}

fn made_up(profile: bool) -> Bench {
    let gpu = GpuOptions {
        timestamps: profile,
        ..GpuOptions::default()
    };
    made_up_of(tiny(), &gpu)
}

fn made_up_of(config: Config, gpu: &GpuOptions) -> Bench {
    let mut heard = (0, 0);
    let progress = &mut |done, total| heard = (done, total);
    let bench = block_on(Bench::of_config(
        "tiny",
        config,
        &Recipe::Q4,
        None,
        gpu,
        progress,
    ))
    .unwrap();
    assert!(heard.0 > 0 && heard.0 == heard.1, "{heard:?}");
    bench
}

fn measure(bench: &Bench, options: &BenchOptions) -> Result<BenchReport, EngineError> {
    let conditions = BTreeMap::from([("machine".to_owned(), "this one".to_owned())]);
    let cancel = CancelToken::default();
    block_on(bench.run(options, conditions, &cancel, &mut |_| ()))
}

fn options(positions: &[usize]) -> BenchOptions {
    BenchOptions {
        runs: 2,
        tokens: 3,
        positions: Some(positions.to_vec()),
        profile: true,
        tune: false,
        answers: false,
    }
}

/// Bytes of a step at a position, by hand from the configuration: 4.5 bits a weight in the
/// decoder, whose scales are whole words, and 8 bits with a scale a row in the vocabulary.
fn bytes(position: usize) -> usize {
    let (row, inner_row) = (32 + 4, 64 + 8);
    let projections = (128 + 2 * 64) * row + 64 * inner_row;
    let mlp = 2 * 128 * row + 64 * inner_row;
    let norms = 4 * 64 * 4;
    let vocabulary_row = 64 + 4;
    // Keys and values of two heads, in 16 bits beside weights of 4.
    let cache = 2 * 2 * 32 * 2 * (position + 1);
    2 * (projections + mlp + norms + cache) + 64 * 4 + (1000 + 1) * vocabulary_row
}

#[test]
fn counts_are_those_of_the_configuration() {
    let bench = made_up(true);
    let report = measure(&bench, &options(&[0, 300])).unwrap();
    assert_eq!(report.model.layers, [1, 2]);
    assert!(report.model.made_up);
    assert_eq!(report.model.recipe.as_deref(), Some("q4"));
    assert_eq!(
        report.model.weight_bytes,
        Recipe::Q4.bytes(&tiny(), paligemma_checkpoint::Dtype::BF16)
    );
    assert_eq!(report.vision.rows, 4);
    assert_eq!(report.prefill.rows, 4 + 8);
    assert_eq!(report.conditions["machine"], "this one");
    let positions: Vec<usize> = report.decode.iter().map(|at| at.position).collect();
    assert_eq!(positions, [0, 300]);
    for decode in &report.decode {
        // In the middle of the three tokens.
        assert_eq!(decode.bytes_per_token, bytes(decode.position + 1) as u64);
        // Seven a layer; look-up, norm and head; two for the highest logit and the sum for its
        // probability, one for that. A GPU shares keys out, and puts together what was found.
        let of_a_layer = if report.adapter.is_software { 7 } else { 8 };
        assert_eq!(decode.dispatches_per_token, of_a_layer * 2 + 6);
    }
}

/// A step that is encoded beneath wgpu's tracking is the same step.
#[test]
fn steps_are_replayed_where_that_is_wanted() {
    for replays in [true, false] {
        let gpu = GpuOptions {
            replays: Some(replays),
            ..GpuOptions::default()
        };
        let bench = made_up_of(tiny_of(2048), &gpu);
        let report = measure(&bench, &options(&[0, 300])).unwrap();
        let of_a_layer = if report.adapter.is_software { 7 } else { 8 };
        for decode in &report.decode {
            assert_eq!(
                decode.replayed,
                replays && report.adapter.backend == "vulkan"
            );
            assert_eq!(decode.dispatches_per_token, of_a_layer * 2 + 6);
        }
    }
}

/// Whoever writes a row packs it, where keys are shared out, as on a GPU they always are.
#[test]
fn a_step_has_as_many_dispatches_as_its_kernels_say() {
    for (kernels, packs, norms) in [
        ("tiled fours=1024", false, false),
        ("tiled fours=1024 norms", false, true),
        ("tiled fours=1024 bytes", true, false),
    ] {
        let gpu = GpuOptions {
            tuning: TuningOptions {
                known: Vec::new(),
                tune: Tune::Given(kernels.parse().unwrap()),
            },
            timestamps: true,
            ..GpuOptions::default()
        };
        let bench = made_up_of(tiny_of(2048), &gpu);
        assert_eq!(bench.choice().variants.to_string(), kernels);
        let options = BenchOptions {
            runs: 1,
            ..options(&[1200])
        };
        let report = measure(&bench, &options).unwrap();
        // Eight a layer, or six without its norms; embedding, last norm, head and picking.
        let per_layer = if norms { 6 } else { 8 };
        assert_eq!(report.decode[0].dispatches_per_token, per_layer * 2 + 6);
        // Who they were, where that can be seen.
        let profile = report.profile.unwrap();
        let step = profile.last().unwrap();
        let used = |name: &str| step.kernels.iter().any(|kernel| kernel.name == name);
        for name in [
            "matvec_fours_q4_wide_bytes",
            "matvec_geglu_fours_q4_wide_bytes_packs",
            "rms_norm_twice_packs",
            "merge_attention_packs",
        ] {
            assert_eq!(used(name), packs, "{kernels}: {name}");
        }
        for name in [
            "matvec_fours_q4_wide_norms",
            "matvec_geglu_fours_q4_wide_norms",
        ] {
            assert_eq!(used(name), norms, "{kernels}: {name}");
        }
        assert!(!used("pack_row"), "{kernels}");
    }
}

/// The profile has every dispatch of a step, and every rate is a number.
#[test]
fn a_profile_names_every_dispatch() {
    for timestamps in [true, false] {
        let bench = made_up(timestamps);
        profile_of(&measure(&bench, &options(&[300])).unwrap());
    }
}

fn profile_of(report: &BenchReport) {
    let has_timestamps = report
        .adapter
        .features
        .iter()
        .any(|it| it == "timestamp-query");
    let by = if has_timestamps {
        "timestamps"
    } else {
        "repeating"
    };
    let profile = report.profile.as_ref().unwrap();
    assert!(profile.iter().all(|stage| stage.timed_by == by));
    let stages: Vec<&str> = profile.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(stages, ["vision", "prefill", "decode at 300"]);
    let count: f64 = profile[2].kernels.iter().map(|kernel| kernel.count).sum();
    assert_eq!(count, report.decode[0].dispatches_per_token as f64);
    // After the head: two for the highest logit and the sum for its probability, one for that.
    assert_eq!(profile[0].picking_share, 0.0);
    let pick = ["log_sum_exp_best", "argmax", "log_probs"];
    let picking = profile[2].kernels.iter();
    let suffix = if report.adapter.is_software {
        "_serial"
    } else {
        ""
    };
    let is_one = |name: &str| {
        name.strip_suffix(suffix)
            .is_some_and(|it| pick.contains(&it))
    };
    let picking = picking.filter(|kernel| is_one(&kernel.name));
    let (count, share) = picking.fold((0.0, 0.0), |(count, share), kernel| {
        (count + kernel.count, share + kernel.share)
    });
    assert_eq!(count, 3.0);
    assert!((profile[2].picking_share - share).abs() < 1e-9, "{share}");
    for stage in profile {
        assert!(!stage.kernels.is_empty());
        let share: f64 = stage.kernels.iter().map(|kernel| kernel.share).sum();
        assert!((share - 1.0).abs() < 1e-9 || share == 0.0, "{share}");
        for kernel in &stage.kernels {
            assert!(!kernel.name.is_empty() && kernel.bytes > 0);
            assert!(kernel.gb_per_second.is_finite());
            let copy = kernel.gb_per_second / report.limits.copy_gb_per_second;
            let peak = report.limits.f32_gflop_per_second;
            let peak = kernel.gflop_per_second.map_or(0.0, |rate| rate / peak);
            assert_eq!(kernel.share_of_limit, copy.max(peak), "{kernel:?}");
            let of = if peak > copy { "f32" } else { "copy" };
            assert_eq!(kernel.limited_by, of);
        }
    }
}

#[test]
fn a_report_is_data_and_text() {
    let bench = made_up(true);
    let report = measure(&bench, &options(&[300])).unwrap();
    let json = serde_json::to_string(&report).unwrap();
    let back: BenchReport = serde_json::from_str(&json).unwrap();
    assert_eq!(back.decode.len(), 1);
    let text = report.to_string();
    for part in [
        "tiny",
        "q4",
        "this one",
        "f32 peak",
        "decode at 300",
        &report.adapter.name,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for part in ["to pick the token", "% copy\n", "of limit"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("FEWER LAYERS"));
    let fewer = BenchReport {
        model: paligemma_engine::Subject {
            layers_in_full: Some([27, 26]),
            ..report.model.clone()
        },
        ..report
    };
    assert!(fewer.to_string().contains("FEWER LAYERS"));
}

#[test]
fn kernels_are_tried_when_somebody_asks() {
    let bench = made_up(false);
    let asked = |tune| BenchOptions {
        tune,
        profile: false,
        ..options(&[5])
    };
    let report = measure(&bench, &asked(true)).unwrap();
    let chosen = bench.tuned().unwrap().variants;
    assert_eq!(bench.choice().variants, chosen);
    let said = &report.adapter.kernels;
    assert!(said.starts_with(&format!("{chosen} (measured)")), "{said}");
    // Three for many rows and five for one, and what an adapter's features add.
    let has = |feature: &str| report.adapter.features.iter().any(|it| it == feature);
    let of = |part: &str| {
        let tried = report.tried.iter();
        tried.filter(|tried| tried.kernel.contains(part)).count()
    };
    assert_eq!(of("half"), usize::from(has("shader-f16")));
    assert_eq!(of("subgroups") > 0, has("subgroups"));
    assert_eq!(report.tried.len(), 3 + 5 + of("half") + of("subgroups"));
    let names = report.tried.iter().filter(|tried| tried.chosen);
    let names: Vec<&str> = names.map(|tried| tried.kernel.as_str()).collect();
    assert_eq!(names.join(" "), chosen.to_string());
    let text = report.to_string();
    for part in ["kernels tried", "one row, lanes=", "in force"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json = serde_json::to_string(&report).unwrap();
    let back: BenchReport = serde_json::from_str(&json).unwrap();
    let shown = |report: &BenchReport| -> Vec<(String, bool)> {
        let tried = report.tried.iter();
        // Not the times: a JSON parser may miss the last bit of an f64.
        tried.map(|it| (it.kernel.clone(), it.chosen)).collect()
    };
    assert_eq!(shown(&back), shown(&report));
}

#[test]
fn what_cannot_be_measured_is_said() {
    let bench = made_up(false);
    let refused = |options: &BenchOptions| match measure(&bench, options) {
        Err(EngineError::Bench(error)) => error,
        other => panic!("{other:?}"),
    };
    let beyond = refused(&options(&[300, 510]));
    assert_eq!(
        beyond,
        BenchError::Beyond {
            position: 510,
            tokens: 3,
            context: 512
        }
    );
    assert!(beyond.to_string().contains("510") && beyond.to_string().contains("512"));
    let none = BenchOptions {
        runs: 0,
        ..options(&[1])
    };
    assert!(matches!(refused(&none), BenchError::Nothing(_)));
    let none = BenchOptions {
        tokens: 0,
        ..options(&[1])
    };
    assert!(matches!(refused(&none), BenchError::Nothing(_)));

    // Positions that nobody asked for are left out where the model does not have them.
    let default = BenchOptions {
        positions: None,
        profile: false,
        ..options(&[])
    };
    let report = measure(&bench, &default).unwrap();
    let positions: Vec<usize> = report.decode.iter().map(|at| at.position).collect();
    assert_eq!(positions, [300]);
    // Nobody asked for single kernels.
    assert!(report.profile.is_none());

    let cancel = CancelToken::default();
    cancel.cancel();
    let (options, progress) = (options(&[1]), &mut |_| ());
    let stopped = block_on(bench.run(&options, BTreeMap::new(), &cancel, progress));
    let Err(EngineError::Bench(BenchError::Cancelled)) = stopped else {
        panic!("it went on");
    };
}

/// Whoever stops while single kernels are timed waits for one of them at most, and the next measurement is as any.
#[test]
fn a_profile_is_stopped_between_kernels() {
    let bench = made_up(false);
    let cancel = CancelToken::default();
    let mut stages = Vec::new();
    let mut progress = |now: BenchProgress| {
        if now.stage.starts_with("single kernels") {
            cancel.cancel();
        }
        stages.push(now.stage);
    };
    let asked = options(&[5]);
    let stopped = block_on(bench.run(&asked, BTreeMap::new(), &cancel, &mut progress));
    let Err(EngineError::Bench(BenchError::Cancelled)) = stopped else {
        panic!("it went on");
    };
    let of_kernels = stages.iter().filter(|it| it.starts_with("single kernels"));
    assert_eq!(of_kernels.count(), 1, "{stages:?}");
    let report = measure(&bench, &asked).unwrap();
    let profile = report.profile.unwrap();
    let count: f64 = profile[2].kernels.iter().map(|kernel| kernel.count).sum();
    assert_eq!(count, report.decode[0].dispatches_per_token as f64);
}

/// They come last and are no figures, which are there for whoever stops them.
#[test]
fn answers_come_last_and_can_be_stopped() {
    let bench = made_up(false);
    let asked = BenchOptions {
        profile: false,
        answers: true,
        ..options(&[5])
    };
    for stop in [false, true] {
        let cancel = CancelToken::default();
        let mut stages = Vec::new();
        let mut progress = |now: BenchProgress| {
            if now.answering && stop {
                cancel.cancel();
            }
            stages.push((now.done, now.answering));
        };
        let report = block_on(bench.run(&asked, BTreeMap::new(), &cancel, &mut progress)).unwrap();
        assert_eq!(stages, [(0, false), (1, false), (2, false), (3, true)]);
        assert_eq!(report.decode.len(), 1);
    }
}
