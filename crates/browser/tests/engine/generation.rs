//! A seed draws in a browser what it draws natively: the same golden numbers and answers.

use paligemma_engine::{
    CancelToken, Engine, Generation, LoadOptions, Picture, Prompt, RunRequest, Sampling,
    random_number,
};
use serde_json::Value;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::demo;

macro_rules! golden {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/generation/",
            $name
        )))
        .unwrap()
    };
}

#[wasm_bindgen_test]
fn random_numbers_are_those_of_the_reference() {
    let numbers = golden!("numbers.json");
    for entry in numbers.as_array().unwrap() {
        let small = |name: &str| entry[name].as_u64().unwrap() as u32;
        let seed = entry["seed"].as_str().unwrap().parse().unwrap();
        let number = random_number(seed, small("attempt"), small("step"));
        // A JSON parser may miss the last bit of an f64; these are f32.
        assert_eq!(number, entry["number"].as_f64().unwrap() as f32);
    }
}

#[wasm_bindgen_test]
async fn a_seed_draws_what_it_draws_natively() {
    let options = LoadOptions::default();
    let mut engine = Engine::load(demo::model(), &options, &mut |_| ())
        .await
        .unwrap();
    let requests = golden!("demo.json");
    let mut drawn = 0;
    for request in requests.as_array().unwrap() {
        if request["sampled"].as_array().unwrap().is_empty() {
            continue;
        }
        let scene = match request["scene"].as_str().unwrap() {
            "scene10" => demo::pigs(),
            "scene03" => demo::banana_cats_flower(),
            other => panic!("{other}"),
        };
        let picture = Picture::decode(scene.png).unwrap();
        for entry in request["sampled"].as_array().unwrap() {
            let sampling = Sampling {
                temperature: entry["temperature"].as_f64().unwrap() as f32,
                top_p: entry["top_p"].as_f64().unwrap_or(1.0) as f32,
                seed: entry["seed"].as_u64().unwrap(),
                ..Sampling::default()
            };
            let generation = Generation {
                sampling: Some(sampling),
                ..Generation::default()
            };
            let asked = RunRequest {
                pictures: std::slice::from_ref(&picture),
                prompt: Prompt::Text(request["text"].as_str().unwrap()),
                max_new_tokens: 64,
            };
            let never = CancelToken::default();
            let mut unheard = |_| ();
            let answer = engine.generate(&asked, &generation, &never, &mut unheard);
            let answer = answer.await.unwrap();
            let mut wanted: Vec<u32> = serde_json::from_value(entry["ids"].clone()).unwrap();
            wanted.retain(|id| *id != 1);
            assert_eq!(answer.token_ids, wanted, "{entry}");
            drawn += 1;
        }
    }
    assert_eq!(drawn, 3);
}
