//! `segment …` on the page: masks over the picture that cover what is there, and their switches.

use serde_json::Value;

use paligemma_engine::BinaryMask;

use crate::browser::{Page, WebGpu};

const DESKTOP: (u32, u32) = (1280, 900);

/// Draws every mask alone, where the page has it, and keeps for each the lengths of runs of pixels
/// outside and inside, row by row from the top left.
const READ_MASKS: &str = "
    window.readMasks = null;
    const [, , width, height] = document.querySelector('.overlay svg').getAttribute('viewBox').split(' ').map(Number);
    const read = async (image) => {
      const number = (name) => Number(image.getAttribute(name));
      const picture = new Image();
      picture.src = image.getAttribute('href');
      await picture.decode();
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [width, height];
      const context = canvas.getContext('2d');
      context.drawImage(picture, number('x'), number('y'), number('width'), number('height'));
      const pixels = context.getImageData(0, 0, width, height).data;
      const runs = [0];
      for (let at = 3, inside = false; at < pixels.length; at += 4) {
        if ((pixels[at] > 127) !== inside) { inside = !inside; runs.push(0); }
        runs[runs.length - 1] += 1;
      }
      return runs;
    };
    Promise.all([...document.querySelectorAll('.masks image')].map(read))
      .then((all) => { window.readMasks = { width, height, all }; });
";

fn mask(runs: &Value, width: u32, height: u32) -> BinaryMask {
    let runs: Vec<usize> = serde_json::from_value(runs.clone()).unwrap();
    let mut pixels = Vec::new();
    for (index, run) in runs.into_iter().enumerate() {
        pixels.resize(pixels.len() + run, index % 2 == 1);
    }
    assert_eq!(pixels.len(), width as usize * height as usize);
    BinaryMask::new(width, height, |x, y| pixels[(y * width + x) as usize]).unwrap()
}

/// The true masks of a sample scene.
fn truth(scene: usize) -> Vec<BinaryMask> {
    let file = format!(
        "{}/fixtures/demo_masks/scene{scene:02}_masks.png",
        env!("CARGO_MANIFEST_DIR")
    );
    let levels = image::open(file).unwrap().into_luma8();
    let (width, height) = levels.dimensions();
    let most = levels.pixels().map(|pixel| pixel.0[0]).max().unwrap();
    (1..=most)
        .map(|object| {
            let inside = |x, y| levels.get_pixel(x, y).0[0] == object;
            BinaryMask::new(width, height, inside).unwrap()
        })
        .collect()
}

async fn visible(page: &Page) -> u64 {
    let count = page.script(
        "return [...document.querySelectorAll('.masks .mask')]\
         .filter((it) => getComputedStyle(it).display !== 'none').length",
    );
    count.await.as_u64().unwrap()
}

#[tokio::test]
async fn segment_shows_masks_that_can_be_switched() {
    let page = Page::open("/", DESKTOP, WebGpu::Software).await;
    page.until_state("ready").await;
    let mut overlaps = Vec::new();
    for (scene, kind, count) in [(5, "moon", 2), (7, "frog", 4)] {
        page.click(&format!(
            ".samples .strip li:nth-child({}) button",
            scene + 1
        ))
        .await;
        page.until(&format!(
            "document.querySelector('#ground-truth').textContent.includes('{kind}')"
        ))
        .await;
        page.answer(&format!("segment {kind}")).await;
        page.script(READ_MASKS).await;
        let read = page.until("window.readMasks").await;
        let size = |name: &str| u32::try_from(read[name].as_u64().unwrap()).unwrap();
        assert_eq!((size("width"), size("height")), (448, 448));
        let found = read["all"].as_array().unwrap();
        assert_eq!(found.len(), count);
        let truth = truth(scene);
        for runs in found {
            let mask = mask(runs, 448, 448);
            let best = truth.iter().map(|it| it.iou(&mask)).fold(0.0, f64::max);
            overlaps.push(best);
        }
    }
    println!("mask IoU {overlaps:.3?}");
    assert!(
        overlaps.iter().all(|&overlap| overlap >= 0.7),
        "{overlaps:?}"
    );
    page.screenshot("masks").await;

    assert_eq!(visible(&page).await, 4);
    page.click("#detections li:nth-child(2) .mask-switch").await;
    assert_eq!(visible(&page).await, 3);
    page.click("#mask-controls [data-kind=frog]").await;
    assert_eq!(visible(&page).await, 0);
    page.click("#mask-controls [data-kind=frog]").await;
    assert_eq!(visible(&page).await, 3);
    page.click("#detections li:nth-child(2) .mask-switch").await;
    assert_eq!(visible(&page).await, 4);
    // The slider, as the keyboard moves it.
    page.script(
        "const slider = document.querySelector('#mask-opacity'); slider.value = 80; \
         slider.dispatchEvent(new Event('input', { bubbles: true }));",
    )
    .await;
    let opacity = page
        .until("getComputedStyle(document.querySelector('.mask rect')).fillOpacity === '0.8'")
        .await;
    assert_eq!(opacity, true);

    // Another answer has no masks, and so no switches.
    page.answer("caption en").await;
    let rest = page
        .script("return document.querySelectorAll('.mask, #mask-controls, .mask-switch').length")
        .await;
    assert_eq!(rest, 0);
    page.close().await;
}
