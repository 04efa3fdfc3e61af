//! What a person does on the page.

use crate::browser::{Page, WebGpu};
use crate::truth::recalled;

const DESKTOP: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (360, 740);

#[tokio::test]
async fn a_sample_picture_shows_its_boxes() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    page.click(".samples .strip li:nth-child(2) button").await;
    page.until("document.querySelector('#ground-truth').textContent.includes('boat')")
        .await;
    page.answer("detect boat").await;
    let (found, truth) = (page.detections().await, page.truth().await);
    assert_eq!(truth.len(), 2);
    assert_eq!(
        recalled(&truth, &found, 0.7),
        truth.len(),
        "{found:?} {truth:?}"
    );
    let raw = page
        .script("return document.querySelector('#answer').textContent")
        .await;
    assert!(
        raw.as_str()
            .unwrap()
            .contains("<loc0218><loc0612><loc0612><loc0959> boat"),
        "{raw}"
    );
    let drawn = page
        .script("return document.querySelectorAll('svg rect, svg [data-box]').length")
        .await;
    assert!(drawn.as_u64().unwrap() >= 2);
    let scores =
        "return [...document.querySelectorAll('#detections .sure')].map(it => it.innerText)";
    let scores: Vec<String> = serde_json::from_value(page.script(scores).await).unwrap();
    let scores: Vec<f64> = scores.iter().map(|it| it.parse().unwrap()).collect();
    assert_eq!(scores.len(), 2);
    // The model is right about both, and never certain.
    assert!(
        scores.iter().all(|it| (0.3..=0.99).contains(it)),
        "{scores:?}"
    );
    let adapter = page
        .script("return document.querySelector('#adapter').textContent")
        .await;
    assert!(!adapter.as_str().unwrap().trim().is_empty());
    page.screenshot("sample").await;

    // Another task on the same picture.
    page.answer("answer en how many boats are there?").await;
    let raw = page
        .script("return document.querySelector('#answer').textContent")
        .await;
    assert!(raw.as_str().unwrap().contains('2'), "{raw}");
    assert!(page.detections().await.is_empty());
    page.close().await;
}

#[tokio::test]
async fn ten_new_scenes_are_recalled() {
    let page = Page::open("/?seed=1", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    let (mut all, mut right) = (0, 0);
    for seed in 1..=10 {
        if seed > 1 {
            page.click("#new-scene").await;
        }
        page.until(&format!(
            "JSON.parse(document.querySelector('#ground-truth').textContent || 'null')?.seed === {seed}"
        ))
        .await;
        let truth = page.truth().await;
        let mut labels: Vec<&str> = truth.iter().map(|object| object.label.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        page.answer(&format!("detect {}", labels.join(" ; "))).await;
        let found = page.detections().await;
        let here = recalled(&truth, &found, 0.7);
        println!(
            "scene {seed}: {here} of {} ({})",
            truth.len(),
            labels.join(", ")
        );
        all += truth.len();
        right += here;
        if seed == 3 {
            page.screenshot("new-scene").await;
        }
    }
    assert!(all >= 10);
    assert!(right * 10 >= all * 9, "{right} of {all}");
    page.close().await;
}

#[tokio::test]
async fn the_last_click_is_what_is_shown() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    // A new scene takes longer to make than a sample to fetch.
    page.script(
        "document.querySelector('#new-scene').click(); \
         const samples = document.querySelectorAll('.samples .strip button'); \
         samples[3].click(); samples[5].click(); samples[1].click();",
    )
    .await;
    page.until("!document.querySelector('#new-scene').disabled")
        .await;
    page.until("document.querySelector('.picture-name').textContent.includes('Sample 2')")
        .await;
    let truth = page.truth().await;
    assert!(
        truth.iter().all(|object| object.label == "boat"),
        "{truth:?}"
    );
    page.close().await;
}

#[tokio::test]
async fn escape_stops_and_the_page_goes_on() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    page.click(".samples .strip li:nth-child(4) button").await;
    page.until(
        "JSON.parse(document.querySelector('#ground-truth').textContent)?.objects.length === 4",
    )
    .await;
    // Segmentation answers are long: there is time to stop one.
    page.ask("segment cat ; dog ; tree ; car ; boat ; bus ; star ; moon")
        .await;
    page.until_state("running").await;
    page.press("\u{e00c}").await;
    page.until("document.querySelector('#status').textContent.startsWith('Stopped after')")
        .await;

    // The button does the same.
    page.ask("segment cat ; dog ; tree ; car ; boat ; bus ; star ; moon")
        .await;
    page.until_state("running").await;
    page.click("#stop").await;
    page.until("document.querySelector('#status').textContent.startsWith('Stopped after')")
        .await;
    page.answer("caption en").await;
    let raw = page
        .script("return document.querySelector('#answer').textContent")
        .await;
    assert!(!raw.as_str().unwrap().trim().is_empty());
    page.close().await;
}

#[tokio::test]
async fn nothing_is_wider_than_a_phone() {
    let page = Page::open("/?seed=3", PHONE, WebGpu::Software).await;
    page.until_state("ready").await;
    let truth = page.truth().await;
    page.answer(&format!("detect {}", truth[0].label)).await;
    let wide = page
        .script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]",
        )
        .await;
    assert!(wide[0].as_u64() <= wide[1].as_u64(), "{wide}");
    page.screenshot("phone").await;
    page.close().await;
}
