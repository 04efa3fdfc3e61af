//! What the page says when something is wrong.

use fantoccini::Locator;

use crate::browser::{Page, WebGpu};

const WINDOW: (u32, u32) = (1000, 800);

/// The alert's words and its case.
async fn alert(page: &Page) -> (String, String) {
    page.until("document.querySelector('[role=alert]')?.textContent.trim()")
        .await;
    let words = page
        .script("return document.querySelector('[role=alert]').innerText")
        .await;
    let kind = page
        .script("return document.querySelector('[role=alert]').dataset.kind")
        .await;
    (
        words.as_str().unwrap().to_lowercase(),
        kind.as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn a_file_that_is_no_picture() {
    let page = Page::open("/", WINDOW, WebGpu::Software).await;
    page.until_state("ready").await;
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("holiday.png");
    std::fs::write(&broken, b"this is not a picture").unwrap();
    let input = page.client.find(Locator::Css("#file")).await.unwrap();
    input.send_keys(broken.to_str().unwrap()).await.unwrap();
    let (words, _) = alert(&page).await;
    assert!(
        words.contains("picture") && words.contains("png"),
        "{words}"
    );
    page.screenshot("broken-picture").await;

    // The page is as usable as before.
    page.click(".samples .strip li:nth-child(2) button").await;
    page.until("document.querySelector('#ground-truth').textContent.includes('boat')")
        .await;
    page.answer("detect boat").await;
    assert_eq!(page.detections().await.len(), 2);
    page.close().await;
}

#[tokio::test]
async fn a_browser_without_an_adapter() {
    let page = Page::open("/", WINDOW, WebGpu::NoAdapter).await;
    let (words, kind) = alert(&page).await;
    assert_eq!(kind, "no-adapter", "{words}");
    page.screenshot("no-adapter").await;
    page.close().await;
}

#[tokio::test]
async fn a_browser_without_webgpu() {
    let page = Page::open("/", WINDOW, WebGpu::None).await;
    let (words, kind) = alert(&page).await;
    assert_eq!(kind, "no-web-gpu", "{words}");
    assert!(words.contains("webgpu"), "{words}");
    page.screenshot("no-webgpu").await;
    page.close().await;
}
