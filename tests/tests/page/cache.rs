//! Keys and values in 8 bits: chosen once, in force at once and at the next visit.

use serde_json::json;

use crate::browser::{Page, WebGpu};
use crate::models::DESKTOP;
use crate::truth::recalled;

/// Notes how each load is to keep keys and values; `null`: as usual.
const NOTE_LOADS: &str = "
    window.loads = [];
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, ...more) {
      if (['load', 'load-kept'].includes(message?.type)) window.loads.push(message.options?.cache ?? null);
      return post.call(this, message, ...more);
    };
";

/// Opens the dialog, clicks the switch, and waits for the model to be loaded once more.
async fn switch(page: &Page) {
    page.click("#models-open").await;
    page.click("#cache-int8").await;
    page.until("window.loads.length === 2").await;
    page.until_answers("Demo model").await;
    page.script("document.querySelector('dialog#models').close()")
        .await;
}

#[tokio::test]
async fn keys_and_values_in_8_bits_are_chosen_once() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.before_every_document(NOTE_LOADS).await;
    page.go("/").await;
    page.until_answers("Demo model").await;
    page.click("#models-open").await;
    page.until("document.querySelector('#cache-int8').checked === false")
        .await;
    page.until("document.querySelector('#cache-about').textContent.includes('loaded again')")
        .await;
    page.screenshot("models-cache").await;
    page.script("document.querySelector('dialog#models').close()")
        .await;
    switch(&page).await;
    assert_eq!(
        page.script("return window.loads").await,
        json!([null, "int8"])
    );

    // It answers as before.
    page.click(".samples .strip li:nth-child(2) button").await;
    page.until("document.querySelector('#ground-truth').textContent.includes('boat')")
        .await;
    page.answer("detect boat").await;
    let (found, truth) = (page.detections().await, page.truth().await);
    assert_eq!(recalled(&truth, &found, 0.7), 2, "{found:?} {truth:?}");

    // The worker does as it was told.
    page.click("#measure").await;
    page.until("document.querySelector('#speed-table')").await;
    let facts = page
        .script("return document.querySelector('#speed-facts').innerText")
        .await;
    let facts = facts.as_str().unwrap();
    assert!(facts.contains("keys and values int8"), "{facts}");

    // The next visit begins with it, and it can be undone.
    page.go("/").await;
    page.until_answers("Demo model").await;
    page.until("document.querySelector('#cache-int8').checked")
        .await;
    switch(&page).await;
    assert_eq!(
        page.script("return window.loads").await,
        json!(["int8", null])
    );
    page.close().await;
}
