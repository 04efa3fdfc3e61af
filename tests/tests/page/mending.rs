//! What is kept is checked and mended when a person wants it, and whether the browser keeps it is
//! asked before anything is fetched.

use std::time::Duration;

use paligemma_checkpoint::Manifest;
use paligemma_tests::server::{Content, Server};
use serde_json::{Value, json};

use crate::browser::{Page, WebGpu};
use crate::models::{DESKTOP, site};
use crate::sources::{FLIP, HEADER, demo, pack};

/// Holds the browser's answer to whether it keeps what is stored.
const ASKED: &str = "
window.asked = 0;
StorageManager.prototype.persist = () => {
  window.asked += 1;
  return new Promise((resolve) => { window.answer = resolve; });
};";

/// Path and length of each answer about the model that had a body.
fn sent(server: &Server) -> Vec<(String, u64)> {
    let requests = server.requests().into_iter();
    let requests = requests.filter(|it| it.path.starts_with("/m/mine/") && it.sent > 0);
    let sent = requests.map(|it| (it.path.replace("/m/mine/", ""), it.sent));
    sent.collect()
}

#[tokio::test]
async fn a_complete_offer_can_be_checked_and_repaired() {
    let (server, address) = site();
    let folder = pack(&demo(), "q8", 1 << 20);
    server.put_folder("/m/mine", folder.path());
    let query = format!("/?model={}", server.url("/m/mine"));
    let page = Page::open_at(address, &query, DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    page.offer().await;
    page.click("#fetch").await;
    page.until_answers("mine").await;

    let length = page.tamper("pieces", json!(2), FLIP).await;
    let offer = page.offer().await;
    assert!(offer.contains("kept here in full"), "{offer}");
    page.screenshot("models-complete-offer").await;
    server.reset();
    page.click("#repair-offered").await;
    page.until("!document.querySelector('#offer') && !document.querySelector('#fetching')")
        .await;
    let mut sent = sent(&server);
    sent.retain(|(path, _)| path != "manifest.json");
    assert_eq!(sent, [(Manifest::piece_file(2), length)]);

    // It is sound: nothing is said of damage when it is loaded again.
    page.go("/").await;
    page.until_answers("mine").await;
    page.sees_boats().await;
    page.close().await;
}

/// A checkpoint in a folder states no digest: what was stored first says what is right.
#[tokio::test]
async fn a_side_file_without_a_digest_is_mended_or_its_change_is_told() {
    let (server, address) = site();
    server.put_folder("/m/mine", &demo());
    let query = format!("/?model={}", server.url("/m/mine"));
    let page = Page::open_at(address, &query, DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    page.offer().await;
    page.click("#fetch").await;
    page.until_answers("mine").await;

    let tokenizer = std::fs::read(demo().join("tokenizer.json")).unwrap();
    let damaged = "document.querySelector('.notice')?.dataset.kind === 'damaged'";
    let at = json!("tokenizer.json");
    let length = page.tamper("files", at.clone(), FLIP).await;
    assert_eq!(length, tokenizer.len() as u64);
    server.reset();
    page.go("/").await;
    page.until(damaged).await;
    page.click("#repair").await;
    page.until_answers("mine").await;
    let sent = sent(&server);
    let of = |file: &str| -> u64 {
        let parts = sent.iter().filter(|(path, _)| path == file);
        parts.map(|(_, bytes)| bytes).sum()
    };
    assert_eq!(of("tokenizer.json"), length);
    assert!(of("model.safetensors") <= HEADER, "{sent:?}");
    assert_eq!(of("tokenizer_config.json"), 0, "{sent:?}");

    // The server has another one by now, as long as the first.
    page.tamper("files", at, FLIP).await;
    let text = String::from_utf8(tokenizer).unwrap();
    // White space moved: it is as long, and the same tokenizer.
    let other = text.replacen(": ", " :", 1);
    assert!(other != text && other.len() == text.len());
    server.put("/m/mine/tokenizer.json", Content::from(other.into_bytes()));
    page.go("/").await;
    page.until(damaged).await;
    page.click("#repair").await;
    page.until("document.querySelector('#models-error')?.dataset.kind === 'changed'")
        .await;
    let says = page
        .script("return document.querySelector('#models-error').innerText")
        .await;
    assert!(says.as_str().unwrap().contains("tokenizer.json"), "{says}");
    page.close().await;
}

#[tokio::test]
async fn whether_it_is_kept_is_asked_before_anything_is_fetched() {
    let (server, address) = site();
    let folder = pack(&demo(), "q8", 1 << 20);
    server.put_folder("/m/mine", folder.path());
    server.put("/empty.html", "<!doctype html><title>Nothing</title>");
    let page = Page::open_at(address, "/empty.html", DESKTOP, WebGpu::Software).await;
    page.before_every_document(ASKED).await;
    page.go(&format!("/?model={}", server.url("/m/mine"))).await;
    page.until_answers("Demo model").await;
    page.offer().await;
    assert_eq!(
        page.script("return window.asked").await,
        0,
        "not before consent"
    );
    server.reset();
    page.click("#fetch").await;
    page.until("window.asked === 1").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(sent(&server).is_empty(), "{:?}", sent(&server));
    let fetching = "return !!document.querySelector('#fetching')";
    assert_eq!(page.script(fetching).await, Value::Bool(false));

    page.script("window.answer(false)").await;
    page.until_answers("mine").await;
    let room = page
        .script("return document.querySelector('.room').innerText")
        .await;
    let room = room.as_str().unwrap();
    assert!(
        room.contains("was asked to keep it and did not promise"),
        "{room}"
    );
    assert_eq!(page.script("return window.asked").await, 1);
    page.close().await;
}
