//! Kernels that are known to suit the adapter are used as they are; none are looked for on a
//! software adapter unless somebody asks.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use paligemma_engine::{
    CancelToken, ChosenBy, Engine, Folder, Gpu, GpuOptions, LoadOptions, ModelOptions, Picture,
    Prompt, Recipe, RunRequest, Tune, Tuned, TuningOptions, Variants,
};
use pollster::block_on;

fn demo(file: &str) -> std::path::PathBuf {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/demo");
    demo.join(file)
}

fn load(tune: Tune, known: &[Tuned]) -> Engine {
    let options = LoadOptions {
        gpu: GpuOptions {
            tuning: TuningOptions {
                known: known.to_vec(),
                tune,
            },
            ..GpuOptions::default()
        },
        ..LoadOptions::default()
    };
    block_on(Engine::load(
        Folder::new(demo("model")),
        &options,
        &mut |_| (),
    ))
    .unwrap()
}

/// The first tokens of an answer.
fn answer(engine: &mut Engine) -> Vec<u32> {
    let picture = std::fs::read(demo("samples/scene01.png")).unwrap();
    let request = RunRequest {
        pictures: &[Picture::decode(&picture).unwrap()],
        prompt: Prompt::Text("detect boat"),
        max_new_tokens: 8,
    };
    let answer = block_on(engine.run(&request, &CancelToken::default(), &mut |_| ()));
    answer.unwrap().token_ids
}

#[test]
fn known_variants_are_used_without_a_run() {
    let key = block_on(Gpu::open(&GpuOptions::default()))
        .unwrap()
        .adapter_key();
    let mut usual = load(Tune::Never, &[]);
    let wanted = answer(&mut usual);
    for text in ["tiled lanes=2", "registers lanes=16"] {
        let variants: Variants = text.parse().unwrap();
        let known = Tuned {
            adapter: key.clone(),
            variants,
        };
        let mut engine = load(Tune::Unknown, &[known]);
        assert_eq!(engine.choice().variants, variants);
        assert_eq!(engine.choice().origin, ChosenBy::Known);
        assert_eq!(engine.tuned(), None);
        assert_eq!(answer(&mut engine), wanted);
    }
}

/// Products of a step in bytes need quantized weights. Rounding may turn an answer; of a demo model
/// that is sure of its own, the first tokens it does not.
#[test]
fn a_step_in_bytes_answers_the_same() {
    let load = |text: &str| {
        let options = LoadOptions {
            gpu: GpuOptions {
                tuning: TuningOptions {
                    known: Vec::new(),
                    tune: Tune::Given(text.parse().unwrap()),
                },
                ..GpuOptions::default()
            },
            model: ModelOptions {
                recipe: Some(Recipe::Q8),
                ..ModelOptions::default()
            },
            ..LoadOptions::default()
        };
        let source = Folder::new(demo("model"));
        block_on(Engine::load(source, &options, &mut |_| ())).unwrap()
    };
    let mut exact = load("tiled fours=1024");
    let mut bytes = load("tiled fours=1024 bytes");
    assert_eq!(
        bytes.choice().variants.to_string(),
        "tiled fours=1024 bytes"
    );
    assert_eq!(answer(&mut bytes), answer(&mut exact));
}

#[test]
fn an_unknown_software_adapter_gets_the_usual_kernels() {
    let known = Tuned {
        adapter: "another adapter".to_owned(),
        variants: "tiled lanes=2".parse().unwrap(),
    };
    let engine = load(Tune::Unknown, &[known]);
    let choice = engine.choice();
    if engine.adapter().is_software {
        assert_eq!(choice.origin, ChosenBy::Usual);
        assert_eq!(
            choice.variants,
            Variants::usual(engine.adapter().is_software)
        );
        assert_eq!(engine.tuned(), None);
    } else {
        assert!(matches!(choice.origin, ChosenBy::Measured(_)), "{choice:?}");
        assert_eq!(engine.tuned().unwrap().variants, choice.variants);
    }
}
