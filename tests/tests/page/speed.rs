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
    // Of another adapter, say before the machine was docked.
    page.script(
        "localStorage.setItem('tuned-kernels', \
           '[{\"adapter\":\"another\",\"browser\":\"b\",\"variants\":\"tiled lanes=2\"}]')",
    )
    .await;
    page.click("#measure").await;
    page.until("document.querySelector('#speed-stage')?.textContent.includes('of')")
        .await;
    assert!(!text(&page, "#stop-measuring").await.is_empty());
    page.script(
        "window.drawn = 0; \
         new MutationObserver(() => { \
           const number = +(document.querySelector('.speed-stage small')?.textContent ?? 0); \
           window.drawn = Math.max(window.drawn, number); \
         }).observe(document.querySelector('.speed'), { subtree: true, childList: true, characterData: true });",
    )
    .await;
    page.until("document.querySelector('#speed-table')").await;

    let table = text(&page, "#speed-table").await;
    for part in [
        "vision, 64 patches",
        "prefill, 72 tokens",
        "first token",
        "decode at 300",
        "the page's frames",
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
        "keys and values f32",
        "date",
    ] {
        assert!(
            facts.to_lowercase().contains(&part.to_lowercase()),
            "{part} in {facts}"
        );
    }
    page.click("#speed-kernels summary").await;
    let kernels = text(&page, "#speed-kernels pre").await;
    for part in ["vision: ", "decode at 300: ", "% copy", "to pick the token"] {
        assert!(kernels.contains(part), "{part} in {kernels}");
    }
    page.script("document.querySelector('.speed').scrollIntoView()")
        .await;
    let wide = "document.querySelector('.speed').scrollWidth > document.querySelector('.speed').clientWidth";
    assert_eq!(page.script(&format!("return {wide}")).await, false);
    page.screenshot("speed").await;

    // What suits the adapter was measured, and is kept beside what suits the other.
    let kept = page
        .script("return localStorage.getItem('tuned-kernels')")
        .await;
    let kept: Value = serde_json::from_str(kept.as_str().unwrap()).unwrap();
    let variants = kept[0]["variants"].as_str().unwrap();
    assert!(
        facts.contains(&format!("{variants} (measured)")),
        "{kept} in {facts}"
    );
    assert_eq!(kept[1]["adapter"], "another");

    page.click(".speed-copy button:nth-child(1)").await;
    page.click(".speed-copy button:nth-child(2)").await;
    page.until("window.copied.length === 2").await;
    let copied = page.script("return window.copied").await;
    let copied_text = copied[0].as_str().unwrap();
    assert!(copied_text.contains("decode at 300"));
    assert!(copied_text.contains("apart during answers"));
    let json: Value = serde_json::from_str(copied[1].as_str().unwrap()).unwrap();
    assert_eq!(json["decode"][0]["position"], 300);
    assert!(
        json["decode"][0]["tokens_per_second"]["median"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    // Two seconds of answers, or more, in which each frame drew its number; without any frame the wait for
    // the first one is the only one.
    let count = json["frames"]["count"].as_u64().unwrap();
    let drawn = page.script("return window.drawn").await.as_u64().unwrap();
    assert!(count > 1 && drawn > 1 && drawn <= count, "{drawn}, {count}");
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

/// The kernels that the model on the page computes with.
async fn kernels(page: &Page) -> String {
    page.until_state("ready").await;
    let script = "return document.querySelector('#adapter').title";
    page.script(script).await.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_was_measured_is_used_at_the_next_visit() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    let usual = kernels(&page).await;
    assert!(usual.contains("(the usual choice)"), "{usual}");
    page.click("#measure").await;
    page.until("localStorage.getItem('tuned-kernels')").await;
    // A choice that no run would make here, in place of the one that was made: behind that of
    // another adapter, and by itself as earlier versions of the page kept it.
    page.script(
        "const [kept] = JSON.parse(localStorage.getItem('tuned-kernels')); \
         kept.variants = 'tiled lanes=2'; \
         const other = { ...kept, adapter: 'another', variants: 'tiled lanes=4' }; \
         localStorage.setItem('tuned-kernels', JSON.stringify([other, kept]));",
    )
    .await;
    for alone in [false, true] {
        if alone {
            page.script(
                "const [, kept] = JSON.parse(localStorage.getItem('tuned-kernels')); \
                 localStorage.setItem('tuned-kernels', JSON.stringify(kept));",
            )
            .await;
        }
        page.go("/").await;
        let known = kernels(&page).await;
        assert!(
            known.contains("tiled lanes=2 (measured earlier)"),
            "{known}"
        );
    }
    page.answer("caption en").await;

    for spoilt in [
        "{",
        "[]",
        "[7, null, {}]",
        r#"{"adapter":1}"#,
        r#"{"adapter":"","browser":"","variants":"tiled lanes=3"}"#,
    ] {
        page.script(&format!(
            "localStorage.setItem('tuned-kernels', '{spoilt}')"
        ))
        .await;
        page.go("/").await;
        assert_eq!(kernels(&page).await, usual, "{spoilt}");
    }
    page.close().await;
}
