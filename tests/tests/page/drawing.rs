//! Options of generation on the page: a seed draws there what it draws natively, beams find what
//! transformers' probabilities say, and a field that cannot be read keeps the page from asking.

use std::path::Path;

use fantoccini::Locator;
use paligemma_processor::Tokenizer;
use serde_json::Value;

use crate::browser::{Page, WebGpu};

const DESKTOP: (u32, u32) = (1280, 1100);
const PHONE: (u32, u32) = (360, 800);

fn read(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What was asked with transformers' probabilities about a scene.
fn golden(scene: &str, prompt: &str) -> Value {
    let all: Value = serde_json::from_slice(&read("fixtures/generation/demo.json")).unwrap();
    let all = all.as_array().unwrap();
    let asked = |it: &&Value| it["scene"] == scene && it["text"] == prompt;
    all.iter().find(asked).unwrap().clone()
}

/// The text of an answer.
fn text(entry: &Value) -> String {
    let ids: Vec<u32> = serde_json::from_value(entry["ids"].clone()).unwrap();
    let tokenizer = Tokenizer::from_json(read("../web/demo/model/tokenizer.json")).unwrap();
    tokenizer.decode(&ids, true).unwrap()
}

/// Types into a field of the panel, in place of what it holds.
async fn fill(page: &Page, name: &str, typed: &str) {
    let css = format!("#generation [name={name}]");
    let field = page.client.find(Locator::Css(&css)).await.unwrap();
    field.clear().await.unwrap();
    field.send_keys(typed).await.unwrap();
}

async fn summary(page: &Page) -> String {
    let raw = "return document.querySelector('#generation summary').innerText";
    page.script(raw).await.as_str().unwrap().to_owned()
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

    let how = golden("scene10", "detect pig")["sampled"][0].clone();
    let drawn = text(&how);
    page.click("#generation summary").await;
    page.click("#generation [name=draws]").await;
    for (name, value) in [("temperature", &how["temperature"]), ("seed", &how["seed"])] {
        fill(&page, name, &value.to_string()).await;
    }
    page.answer("detect pig").await;
    assert_eq!(said(&page).await.trim(), drawn.trim());
    assert_ne!(drawn, greedy);
    let seed = format!("drawn, seed {}", how["seed"]);
    assert!(summary(&page).await.contains(&seed));
    page.screenshot("generation").await;

    // Without drawing it is as it was.
    page.click("#generation [name=draws]").await;
    page.answer("detect pig").await;
    assert_eq!(said(&page).await, greedy);
    page.close().await;
}

#[tokio::test]
async fn beams_find_what_they_find_natively() {
    let page = Page::open("/", PHONE, WebGpu::Software).await;
    page.until_state("ready").await;
    page.click(".samples .strip li:nth-child(5) button").await;
    page.until("document.querySelector('.samples .strip li:nth-child(5) [aria-pressed=true]')")
        .await;
    let known = golden("scene04", "caption");
    page.answer("caption").await;
    assert_eq!(said(&page).await.trim(), text(&known["greedy"]).trim());

    let two = &known["beams"][0];
    assert_eq!(two["num_beams"], 2);
    assert_ne!(text(two), text(&known["greedy"]));
    page.click("#generation summary").await;
    page.click("#generation .more summary").await;
    fill(&page, "num-beams", "2").await;
    assert!(summary(&page).await.contains("2 beams"));
    let overflow = "document.documentElement.scrollWidth > innerWidth";
    let overflows = page.script(&format!("return {overflow}")).await;
    assert_eq!(overflows, false, "the panel is too wide for a phone");
    page.answer("caption").await;
    assert_eq!(said(&page).await.trim(), text(two).trim());
    page.screenshot("beams").await;

    // The engine says what does not go together.
    fill(&page, "repetition-penalty", "1,5").await;
    page.ask("caption").await;
    page.until("document.body.innerText.includes('num_beams does not go with')")
        .await;

    // What cannot be read is not asked for, and is marked.
    fill(&page, "num-beams", "two").await;
    page.until("document.querySelector('[name=num-beams]').ariaInvalid === 'true'")
        .await;
    page.ask("caption").await;
    page.until("document.body.innerText.includes('Beams is “two” under Generation')")
        .await;
    page.screenshot("beams_unreadable").await;
    let state = page
        .script("return document.querySelector('#status').dataset.state")
        .await;
    assert_ne!(state, "running");

    // Once it is put right the page answers as before.
    fill(&page, "num-beams", "2").await;
    fill(&page, "repetition-penalty", "1").await;
    page.answer("caption").await;
    assert_eq!(said(&page).await.trim(), text(two).trim());
    page.close().await;
}
