//! The demo checkpoint on the browser's WebGPU gives what transformers gives, id by id.

use paligemma_engine::{
    CancelToken, Engine, LoadOptions, Picture, Prompt, RunRequest, Stopped, TraceOptions,
};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::demo;

async fn load() -> Engine {
    Engine::load(demo::model(), &LoadOptions::default(), &mut |_| ())
        .await
        .unwrap()
}

async fn compare(engine: &mut Engine, scene: &demo::Scene, prompts: &[&str]) {
    let pictures = [Picture::decode(scene.png).unwrap()];
    for prompt in prompts {
        let sample = scene.sample(prompt);
        let request = RunRequest {
            pictures: &pictures,
            prompt: Prompt::Text(&sample.prompt),
            max_new_tokens: 128,
        };
        let options = TraceOptions::default();
        let prompt_ids = engine.trace(&request, &options).await.unwrap().input_ids;
        assert_eq!(prompt_ids, sample.prompt_ids, "the ids of {prompt:?}");
        let answer = engine
            .run(&request, &CancelToken::default(), &mut |_| ())
            .await
            .unwrap();
        assert_eq!(
            answer.token_ids, sample.output_ids,
            "the answer to {prompt:?}"
        );
        assert_eq!(answer.text, sample.text, "the answer to {prompt:?}");
        assert_eq!(answer.stopped, Stopped::Eos, "the answer to {prompt:?}");
    }
}

#[wasm_bindgen_test]
async fn the_adapter_is_webgpu() {
    let engine = load().await;
    let adapter = engine.adapter();
    assert_eq!(adapter.backend, "webgpu", "{adapter:?}");
    assert!(adapter.max_buffer_bytes > 0, "{adapter:?}");
}

/// One prompt of each task at least.
#[wasm_bindgen_test]
async fn answers_are_those_of_transformers() {
    let mut engine = load().await;
    let tasks = [
        "detect pig",
        "segment pig",
        "caption en",
        "answer en how many pigs are there?",
        "answer en is there a pig?",
        // Not in the picture: an empty answer.
        "detect cat",
    ];
    compare(&mut engine, &demo::pigs(), &tasks).await;
    let tasks = ["detect banana ; cat ; flower", "detect cat", "caption en"];
    compare(&mut engine, &demo::banana_cats_flower(), &tasks).await;
}
