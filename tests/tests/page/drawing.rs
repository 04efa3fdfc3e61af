//! Options of generation on the page: a seed draws there what it draws natively.

use std::path::Path;

use fantoccini::Locator;
use paligemma_processor::Tokenizer;
use serde_json::Value;

use crate::browser::{Page, WebGpu};

const DESKTOP: (u32, u32) = (1280, 1100);

fn read(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// How an answer was drawn with transformers' probabilities, and its text.
fn golden() -> (Value, String) {
    let all: Value = serde_json::from_slice(&read("fixtures/generation/demo.json")).unwrap();
    let request = &all[0];
    assert_eq!(
        (&request["scene"], &request["text"]),
        (&"scene10".into(), &"detect pig".into())
    );
    let entry = request["sampled"][0].clone();
    let ids: Vec<u32> = serde_json::from_value(entry["ids"].clone()).unwrap();
    let tokenizer = Tokenizer::from_json(read("../web/demo/model/tokenizer.json")).unwrap();
    let text = tokenizer.decode(&ids, true).unwrap();
    (entry, text)
}

async fn said(page: &Page) -> String {
    let raw = "return document.querySelector('#answer').textContent";
    page.script(raw).await.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_seed_draws_what_it_draws_natively() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    page.click(".samples .strip li:nth-child(11) button").await;
    page.until("document.querySelector('#ground-truth').textContent.includes('pig')")
        .await;
    page.answer("detect pig").await;
    let greedy = said(&page).await;

    let (how, drawn) = golden();
    page.click("#generation summary").await;
    page.click("#generation [name=draws]").await;
    for (name, value) in [("temperature", &how["temperature"]), ("seed", &how["seed"])] {
        let css = format!("#generation [name={name}]");
        let field = page.client.find(Locator::Css(&css)).await.unwrap();
        field.send_keys(&value.to_string()).await.unwrap();
    }
    page.answer("detect pig").await;
    assert_eq!(said(&page).await.trim(), drawn.trim());
    assert_ne!(drawn, greedy);
    let summary = page
        .script("return document.querySelector('#generation summary').innerText")
        .await;
    let seed = format!("drawn, seed {}", how["seed"]);
    assert!(summary.as_str().unwrap().contains(&seed), "{summary}");
    page.screenshot("generation").await;

    // Without drawing it is as it was.
    page.click("#generation [name=draws]").await;
    page.answer("detect pig").await;
    assert_eq!(said(&page).await, greedy);
    page.close().await;
}
