//! Greedy generation, token for token.

use paligemma_engine::{CancelToken, Engine, GpuOptions, Prompt, RunRequest};

use crate::expected::{Expected, MODELS, engine, engine_of_a_gpu, fixture, load, request};

pub(crate) fn generate(engine: &mut Engine, expected: &Expected, count: usize) -> Vec<u32> {
    let ids = expected.ids("input_ids");
    let pixels = expected.pixels();
    request(&ids, pixels.len(), count, |request| {
        pollster::block_on(engine.generate_pixels(request, &pixels))
    })
    .unwrap()
}

#[test]
fn generated_ids_are_those_of_transformers() {
    for model in MODELS {
        let mut engine = engine(model);
        for case in ["single", "multi", "special"] {
            let expected = Expected::read(model, case);
            let wanted = expected.ids("generated_ids");
            assert_eq!(
                generate(&mut engine, &expected, wanted.len()),
                wanted,
                "{model} {case}"
            );
        }
    }
}

/// The same by the kernels that GPUs get, which share rows, keys and sums out differently.
#[test]
fn kernels_of_gpus_find_the_ids_of_transformers() {
    find_the_ids(None);
}

/// The same with the norms of a step inside the products that follow them.
#[test]
fn norms_inside_products_find_the_ids_of_transformers() {
    find_the_ids(Some("tiled fours=16384 norms"));
}

fn find_the_ids(kernels: Option<&str>) {
    for model in MODELS {
        let mut engine = engine_of_a_gpu(model, kernels);
        for case in ["single", "multi", "special"] {
            let expected = Expected::read(model, case);
            let wanted = expected.ids("generated_ids");
            let ids = generate(&mut engine, &expected, wanted.len());
            assert_eq!(ids, wanted, "{model} {case}");
        }
    }
}

/// The same where steps are encoded beneath wgpu's tracking, as by default they are on a GPU.
#[test]
fn replayed_steps_find_the_ids_of_transformers() {
    for model in MODELS {
        let options = GpuOptions {
            baseline_limits: true,
            replays: Some(true),
            ..GpuOptions::default()
        };
        let mut engine = load(model, options, true);
        for case in ["single", "multi", "special"] {
            let expected = Expected::read(model, case);
            let wanted = expected.ids("generated_ids");
            let before = engine.replayed();
            let ids = generate(&mut engine, &expected, wanted.len());
            assert_eq!(ids, wanted, "{model} {case}");
            // Every step but the first, besides what keeps the tokens of steps submitted at once.
            let replayed = engine.replayed() - before;
            let least = match engine.adapter().backend.as_str() {
                "vulkan" => wanted.len() as u64 - 2,
                _ => 0,
            };
            assert!(replayed >= least, "{replayed} of {} steps", wanted.len());
        }
    }
}

/// All that a token needs is there before the first: an answer of forty makes as many buffers and bind
/// groups as one of eight.
#[test]
fn a_token_allocates_nothing_on_the_gpu() {
    for replays in [false, true] {
        let options = GpuOptions {
            baseline_limits: true,
            replays: Some(replays),
            ..GpuOptions::default()
        };
        let mut engine = load("pg2_gqa", options, true);
        let expected = Expected::read("pg2_gqa", "single");
        let made = [8, 40].map(|count| {
            let before = engine.allocations();
            let ids = generate(&mut engine, &expected, count);
            assert_eq!(ids, expected.ids("generated_ids")[..count]);
            engine.allocations() - before
        });
        assert!(made[0] > 0);
        assert_eq!(made[0], made[1]);
    }
}

/// The same from picture files and prompts, through the whole engine.
#[test]
fn answers_to_files_and_prompts_are_those_of_transformers() {
    for model in MODELS {
        let mut engine = engine(model);
        let cases = std::fs::read(fixture(model).join("cases.json")).unwrap();
        let cases: serde_json::Value = serde_json::from_slice(&cases).unwrap();
        for case in ["single", "multi", "special"] {
            let expected = Expected::read(model, case).ids("generated_ids");
            let case = &cases["cases"][case];
            let files = case["images"].as_array().unwrap().iter();
            let pictures: Vec<_> = files
                .flat_map(|one| one.as_array().cloned().unwrap_or_else(|| vec![one.clone()]))
                .map(|file| {
                    let path = fixture(model).join("images").join(file.as_str().unwrap());
                    paligemma_engine::Picture::decode(&std::fs::read(path).unwrap()).unwrap()
                })
                .collect();
            let prompt = case["text"].as_str().unwrap();
            let answer = pollster::block_on(engine.run(
                &RunRequest {
                    pictures: &pictures,
                    prompt: Prompt::Text(prompt),
                    max_new_tokens: expected.len(),
                },
                &CancelToken::default(),
                &mut |_| (),
            ))
            .unwrap();
            assert_eq!(answer.token_ids, expected, "{model} {prompt}");
            let text = case["generated_text"].as_str().unwrap();
            assert_eq!(answer.text, text, "{model} {prompt}");
        }
    }
}

/// Here the answer runs past the window of nine: `sensitivity.json` says that without it the second
/// token differs.
#[test]
fn the_window_can_be_switched_off() {
    let expected = Expected::read("pg2_odd", "single");
    let wanted = expected.ids("generated_ids");
    let options = GpuOptions {
        baseline_limits: true,
        ..GpuOptions::default()
    };
    let mut engine = load("pg2_odd", options, false);
    let got = generate(&mut engine, &expected, wanted.len());
    assert_eq!(got[0], wanted[0], "the prefix is bidirectional either way");
    assert_ne!(got[1], wanted[1]);
}
