//! The demo model on its sample pictures: 84 prompts whose ids transformers generated in f32.

use std::path::PathBuf;

use paligemma_engine::{
    CancelToken, Engine, Event, Folder, GpuOptions, LoadOptions, Picture, Prompt, RunRequest,
    Stopped,
};

pub(crate) fn demo(path: &str) -> PathBuf {
    paligemma_tests::folder().join("../web/demo").join(path)
}

pub(crate) fn engine() -> Engine {
    let options = LoadOptions {
        gpu: GpuOptions {
            baseline_limits: true,
            ..GpuOptions::default()
        },
        ..LoadOptions::default()
    };
    pollster::block_on(Engine::load(
        Folder::new(demo("model")),
        &options,
        &mut |_| (),
    ))
    .unwrap()
}

/// What is known of a sample picture, and the picture.
pub(crate) fn sample(scene: usize) -> (serde_json::Value, Picture) {
    let record = std::fs::read(demo(&format!("samples/scene{scene:02}.json"))).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let file = demo("samples").join(record["image"].as_str().unwrap());
    let picture = Picture::decode(&std::fs::read(file).unwrap()).unwrap();
    (record, picture)
}

/// Answers a prompt in full.
pub(crate) fn run_prompt(
    engine: &mut Engine,
    picture: &Picture,
    prompt: &str,
    on_event: &mut dyn FnMut(Event),
) -> paligemma_engine::Answer {
    let cancel = CancelToken::default();
    run(engine, picture, prompt, 256, &cancel, on_event)
}

/// A sample picture by its name, `scene03`.
pub(crate) fn picture(scene: &str) -> Picture {
    let file = demo(&format!("samples/{scene}.png"));
    Picture::decode(&std::fs::read(file).unwrap()).unwrap()
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    let all = value.as_array().unwrap().iter();
    all.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

#[test]
fn every_sample_prompt_is_answered_as_by_transformers() {
    let mut engine = engine();
    let mut prompts = 0;
    for scene in 0..12 {
        let (record, picture) = sample(scene);
        for output in record["outputs"].as_array().unwrap() {
            let prompt = output["prompt"].as_str().unwrap();
            let answer = run(
                &mut engine,
                &picture,
                prompt,
                128,
                &CancelToken::default(),
                &mut |_| (),
            );
            assert_eq!(
                answer.token_ids,
                ids(&output["output_ids"]),
                "scene {scene}: {prompt}"
            );
            assert_eq!(answer.text, output["text"].as_str().unwrap());
            assert_eq!(answer.stopped, Stopped::Eos);
            prompts += 1;
        }
    }
    assert_eq!(prompts, 84);
}

fn run(
    engine: &mut Engine,
    picture: &Picture,
    prompt: &str,
    max_new_tokens: usize,
    cancel: &CancelToken,
    on_event: &mut dyn FnMut(Event),
) -> paligemma_engine::Answer {
    let request = RunRequest {
        pictures: std::slice::from_ref(picture),
        prompt: Prompt::Text(prompt),
        max_new_tokens,
    };
    pollster::block_on(engine.run(&request, cancel, on_event)).unwrap()
}

#[test]
fn events_tell_the_story_and_a_second_prompt_does_not_encode_again() {
    let mut engine = engine();
    let picture = Picture::decode(&std::fs::read(demo("samples/scene01.png")).unwrap()).unwrap();
    let mut story = Vec::new();
    let mut boxes = Vec::new();
    let answer = run(
        &mut engine,
        &picture,
        "detect boat",
        64,
        &CancelToken::default(),
        &mut |event| {
            story.push(match event {
                Event::EncodingImage { .. } => 'e',
                Event::Prefill { tokens } => {
                    assert_eq!(tokens, 64 + 4);
                    'p'
                }
                Event::Token { detections, .. } => {
                    boxes.push(detections.len());
                    't'
                }
                Event::Done { .. } => 'd',
                Event::Loading { .. } => 'l',
                Event::Warning { .. } => 'w',
            });
        },
    );
    let tokens = "t".repeat(answer.token_ids.len());
    assert_eq!(story.iter().collect::<String>(), format!("ep{tokens}d"));
    // A box is there at its fourth location, before its label.
    assert_eq!(&boxes[..4], [0, 0, 0, 1]);
    assert_eq!(boxes.last(), Some(&2));
    assert_eq!(answer.detections.len(), 2);

    let mut encoded = false;
    run(
        &mut engine,
        &picture,
        "caption en",
        64,
        &CancelToken::default(),
        &mut |event| {
            encoded |= matches!(event, Event::EncodingImage { .. });
        },
    );
    assert!(!encoded);
}

#[test]
fn a_run_stops_between_tokens_and_the_next_one_is_right() {
    let mut engine = engine();
    let picture = Picture::decode(&std::fs::read(demo("samples/scene01.png")).unwrap()).unwrap();
    let cancel = CancelToken::default();
    let asked = cancel.clone();
    let answer = run(
        &mut engine,
        &picture,
        "detect boat",
        64,
        &cancel,
        &mut |event| {
            if matches!(event, Event::Token { count: 5, .. }) {
                asked.cancel();
            }
        },
    );
    assert_eq!(answer.stopped, Stopped::Cancelled);
    assert_eq!(answer.token_ids.len(), 5);
    assert_eq!(answer.detections.len(), 1);

    let short = run(
        &mut engine,
        &picture,
        "detect boat",
        3,
        &CancelToken::default(),
        &mut |_| (),
    );
    assert_eq!((short.stopped, short.token_ids.len()), (Stopped::Length, 3));
    let whole = run(
        &mut engine,
        &picture,
        "detect boat",
        64,
        &CancelToken::default(),
        &mut |_| (),
    );
    assert_eq!(whole.stopped, Stopped::Eos);
    assert_eq!(whole.token_ids[..5], answer.token_ids[..]);
}
