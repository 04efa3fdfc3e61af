//! "How fast is this machine?": one click, and figures that can be copied.

use serde_json::Value;

use crate::browser::{Page, WebGpu};

const DESKTOP: (u32, u32) = (1280, 1300);

async fn text(page: &Page, css: &str) -> String {
    let script = format!("return document.querySelector('{css}')?.innerText ?? ''");
    page.script(&script).await.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_click_measures_the_loaded_model() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    // What is copied is looked at, not kept.
    page.script(
        "window.copied = []; \
         navigator.clipboard.writeText = (text) => { window.copied.push(text); return Promise.resolve(); };",
    )
    .await;
    page.until_state("ready").await;
    page.click("#measure").await;
    page.until("document.querySelector('#speed-stage')?.textContent.includes('of')")
        .await;
    assert!(!text(&page, "#stop-measuring").await.is_empty());
    page.until("document.querySelector('#speed-table')").await;

    let table = text(&page, "#speed-table").await;
    for part in [
        "vision, 64 patches",
        "prefill, 72 tokens",
        "first token",
        "decode at 300",
    ] {
        assert!(table.contains(part), "{part} in {table}");
    }
    for part in [
        "GB/s",
        "GFLOP/s",
        "% of the f32 peak",
        "% of a copy's",
        "dispatches",
    ] {
        assert!(table.contains(part), "{part} in {table}");
    }
    let facts = text(&page, "#speed-facts").await;
    for part in [
        "browser",
        "Chrome/",
        "adapter",
        "SwiftShader",
        "limits",
        "features",
        "kernels",
        "date",
    ] {
        assert!(
            facts.to_lowercase().contains(&part.to_lowercase()),
            "{part} in {facts}"
        );
    }
    page.script("document.querySelector('.speed').scrollIntoView()")
        .await;
    let wide = "document.querySelector('.speed').scrollWidth > document.querySelector('.speed').clientWidth";
    assert_eq!(page.script(&format!("return {wide}")).await, false);
    page.screenshot("speed").await;

    page.click(".speed-copy button:nth-child(1)").await;
    page.click(".speed-copy button:nth-child(2)").await;
    page.until("window.copied.length === 2").await;
    let copied = page.script("return window.copied").await;
    assert!(copied[0].as_str().unwrap().contains("decode at 300"));
    let json: Value = serde_json::from_str(copied[1].as_str().unwrap()).unwrap();
    assert_eq!(json["decode"][0]["position"], 300);
    assert!(
        json["decode"][0]["tokens_per_second"]["median"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert!(
        json["conditions"]["browser"]
            .as_str()
            .unwrap()
            .contains("Chrome/")
    );

    // The model still answers, and another measurement can be stopped.
    page.answer("caption en").await;
    page.click("#measure").await;
    page.until("document.querySelector('#stop-measuring')")
        .await;
    page.click("#stop-measuring").await;
    page.until(
        "!document.querySelector('#speed-stage') && !document.querySelector('#measure').disabled",
    )
    .await;
    assert_eq!(text(&page, "#speed-problem").await, "");
    page.close().await;
}
