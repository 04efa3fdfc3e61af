//! Questions about several pictures, and where the model looked.

use std::path::Path;

use fantoccini::Locator;

use crate::browser::{Page, WebGpu};

const DESKTOP: (u32, u32) = (1280, 1100);

/// A sample as a file on this machine.
fn sample(name: &str) -> String {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/demo/samples");
    let path = samples.join(name).canonicalize().unwrap();
    path.to_str().unwrap().to_owned()
}

async fn choose(page: &Page, input: &str, files: &[&str]) {
    let found = page.client.find(Locator::Css(input)).await.unwrap();
    let paths: Vec<String> = files.iter().map(|file| sample(file)).collect();
    found.send_keys(&paths.join("\n")).await.unwrap();
}

async fn text(page: &Page, css: &str) -> String {
    let script = format!("return document.querySelector('{css}')?.textContent ?? ''");
    page.script(&script).await.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn several_pictures_are_one_question() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    // Three at once: one on the stage, two beside it.
    let three = ["scene01.png", "scene02.png", "scene04.png"];
    choose(&page, "#file", &three).await;
    page.until("document.querySelector('.picture-name').textContent.includes('scene01')")
        .await;
    page.until("document.querySelectorAll('#film li').length === 2")
        .await;
    assert_eq!(text(&page, "#film li:nth-child(2) .film-number").await, "3");
    page.answer("caption en").await;
    assert_eq!(text(&page, ".results h2").await, "Caption");
    assert!(!text(&page, ".said").await.is_empty());

    page.click(".looked summary").await;
    page.until("document.querySelectorAll('#looked-tokens button').length > 0")
        .await;
    // Eight patches a side, on each of the three.
    page.until(
        "[...document.querySelectorAll('canvas.heat')].filter(it => it.width === 8).length === 3",
    )
    .await;
    assert_eq!(text(&page, "#looked-share").await.matches('%').count(), 3);
    page.screenshot("several").await;

    // Without one of them it is another question.
    page.click("#film li:nth-child(1) button").await;
    page.until("document.querySelectorAll('#film li').length === 1")
        .await;
    assert_eq!(text(&page, "#answer").await, "");
    assert_eq!(text(&page, "#film .film-number").await, "2");
    choose(&page, "#add-file", &["scene05.png"]).await;
    page.until("document.querySelectorAll('#film li').length === 2")
        .await;
    page.answer("caption en").await;
    // Another picture on the stage begins anew.
    page.click(".samples .strip li:nth-child(1) button").await;
    page.until("document.querySelector('#film') === null").await;
    page.close().await;
}

#[tokio::test]
async fn the_picture_shows_where_a_token_came_from() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    page.click(".samples .strip li:nth-child(2) button").await;
    page.until("document.querySelector('#ground-truth').textContent.includes('boat')")
        .await;
    page.answer("detect boat").await;
    page.click(".looked summary").await;
    page.until("document.querySelectorAll('#looked-tokens button').length === 12")
        .await;
    let painted = "document.querySelector('.frame canvas.heat').toDataURL()";
    page.until("document.querySelector('.frame canvas.heat').width === 8")
        .await;
    let first = page.script(&format!("return {painted}")).await;
    page.click("#looked-tokens button:nth-child(4)").await;
    page.until(&format!("{painted} !== {first}")).await;
    let pressed = page
        .script(
            "return [...document.querySelectorAll('#looked-tokens button')]\
                 .findIndex(it => it.getAttribute('aria-pressed') === 'true')",
        )
        .await;
    assert_eq!(pressed, 3);
    let mean = page.script(&format!("return {painted}")).await;
    let layer = Locator::Css("#looked-layer");
    let layer = page.client.find(layer).await.unwrap();
    layer.select_by_value("1").await.unwrap();
    page.until(&format!("{painted} !== {mean}")).await;
    assert!(
        text(&page, "#looked-share")
            .await
            .contains("on the picture")
    );
    page.screenshot("looked").await;

    // The next answer is looked up as well, while the panel is open.
    page.answer("caption en").await;
    page.until("document.querySelectorAll('#looked-tokens button').length > 0")
        .await;
    // Closed, the picture is as it was.
    page.click(".looked summary").await;
    page.until(
        "getComputedStyle(document.querySelector('.frame canvas.heat')).visibility === 'hidden'",
    )
    .await;
    page.close().await;
}
