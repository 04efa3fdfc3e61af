//! A network or a server that goes away in the middle of a download: it goes on by itself.

use std::net::SocketAddr;
use std::time::Duration;

use paligemma_tests::server::{Fault, Server, What, When};

use crate::browser::{Page, WebGpu};
use crate::models::{COMMIT, DESKTOP, repository, site};
use crate::sources::HEADER;

/// What may be on its way when a connection breaks, at most: the server sends 64 KiB at a time, and
/// a browser drops what it has not handed over yet.
const UNDERWAY: u64 = 256 << 10;

const STAGE: &str = "document.querySelector('#fetching')?.dataset.stage";

fn weights() -> String {
    format!("mine/resolve/{COMMIT}/model.safetensors")
}

/// A page on which the demo model is on its way from a hub, slowly; and how long its file of
/// weights is. `faults` are on the way.
async fn arriving(server: &Server, address: SocketAddr, faults: Vec<Fault>) -> (Page, u64) {
    server.put_repository(repository());
    let files = repository();
    let mut files = files.files();
    let size = files.find(|(path, _)| *path == "model.safetensors");
    let size = size.unwrap().1.len();
    let query = format!("/?hub=http://{address}&repo=me/mine");
    let page = Page::open_at(address, &query, DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    server.set_pause(Duration::from_millis(60));
    for fault in faults {
        server.fault(fault);
    }
    page.choose("#recipe", "as-stored").await;
    page.click("#examine").await;
    page.click("#fetch").await;
    page.until("Number(document.querySelector('#fetching')?.dataset.fetched) > 2e6")
        .await;
    (page, size)
}

impl Page {
    /// Waits for a stage of the download.
    async fn until_stage(&self, stage: &str) {
        self.until(&format!("{STAGE} === '{stage}'")).await;
    }

    async fn download_says(&self) -> String {
        let says = "return document.querySelector('.fetch')?.innerText ?? ''";
        self.script(says).await.as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_noticed_without_a_click() {
    let (mut server, address) = site();
    let (page, size) = arriving(&server, address, vec![]).await;
    server.stop();
    // The quick attempts have failed.
    page.until_stage("waiting").await;
    let says = page.download_says().await;
    for words in [
        "Waiting for the network",
        "goes on by itself",
        "Try now",
        "Cancel",
    ] {
        assert!(says.contains(words), "{words}: {says}");
    }
    page.screenshot("models-waiting").await;
    let button = page
        .script("return document.querySelector('#models-open').innerText")
        .await;
    assert!(button.as_str().unwrap().contains("waiting"), "{button}");
    // It fails once more, and waits longer.
    page.until("/ in (9|10) s/.test(document.querySelector('.fetch')?.innerText)")
        .await;
    server.set_pause(Duration::ZERO);
    server.start_again();
    page.until_answers("me/mine").await;

    // Each byte came once: not even of the piece in flight does anything come again.
    let sent = server.sent(&weights());
    println!("{sent} of {size} bytes sent");
    assert!(
        (size..=size + 2 * HEADER + UNDERWAY).contains(&sent),
        "{sent} of {size}"
    );
    page.close().await;
}

#[tokio::test]
async fn a_wait_is_cut_short_by_the_network_or_a_click_and_can_be_given_up() {
    let (mut server, address) = site();
    let (page, _) = arriving(&server, address, vec![]).await;
    for cut in [
        "window.dispatchEvent(new Event('online'))",
        "document.querySelector('#hurry').click()",
    ] {
        server.stop();
        page.until("/ in (9|10) s/.test(document.querySelector('.fetch')?.innerText)")
            .await;
        // Whoever waits to the end sees the last second.
        page.script(
            "window.lowest = 99; window.counting?.disconnect(); \
             window.counting = new MutationObserver(() => { \
               const left = / in (\\d+) s/.exec(document.querySelector('.fetch')?.innerText ?? ''); \
               if (left) window.lowest = Math.min(window.lowest, +left[1]); \
             }); \
             window.counting.observe(document.body, { subtree: true, childList: true, characterData: true });",
        )
        .await;
        server.start_again();
        page.script(cut).await;
        page.until_stage("weights").await;
        let lowest = page.script("return window.lowest").await;
        assert!(lowest.as_u64().unwrap() > 1, "{cut}: {lowest} s were left");
    }
    server.stop();
    page.until_stage("waiting").await;
    // Another model can be thrown away meanwhile.
    page.press_in_row("Demo model", "delete").await;
    page.press_in_row("Demo model", "delete").await;
    page.until("document.querySelectorAll('[data-model-key]').length === 1")
        .await;
    assert_eq!(page.script(&format!("return {STAGE}")).await, "waiting");
    page.click("#cancel").await;
    page.click("#cancel").await;
    page.until("document.querySelectorAll('[data-model-key]').length === 0")
        .await;
    page.until("!document.querySelector('#fetching')").await;
    page.close().await;
}

#[tokio::test]
async fn a_server_is_left_alone_as_long_as_it_asks() {
    let (server, address) = site();
    let busy = |seconds: u32| {
        let headers = vec![("retry-after", seconds.to_string())];
        let at = When::Byte(6_500_000);
        Fault::new(&weights(), at, What::Status(429, headers))
    };
    // The file is one answer: it has to break for the next one to be another.
    let cut = Fault::new(&weights(), When::Byte(6_000_000), What::Cut(0));
    let (page, _) = arriving(&server, address, vec![cut, busy(120)]).await;
    page.until_stage("waiting").await;
    page.until("/ in 1 min /.test(document.querySelector('.fetch')?.innerText)")
        .await;
    let says = page.download_says().await;
    for words in ["as the server asked", "429"] {
        assert!(says.contains(words), "{words}: {says}");
    }
    assert!(!says.contains("Try now"), "{says}");
    page.screenshot("models-asked").await;
    // Meanwhile a person may do something else.
    page.click("#pause").await;
    page.until_stage("paused").await;

    // An hour is too long to sit and wait: the message says until when.
    server.fault(busy(3600));
    page.click("#resume").await;
    page.until("document.querySelector('#models-error')?.dataset.kind === 'network'")
        .await;
    let says = page
        .script("return document.querySelector('#models-error').innerText")
        .await;
    let says = says.as_str().unwrap();
    for words in ["429", "3600 s", "try again after", "in 60 minutes"] {
        assert!(says.contains(words), "{words}: {says}");
    }
    server.set_pause(Duration::ZERO);
    page.click("#models-error [data-step=repeat]").await;
    page.until_answers("me/mine").await;
    page.close().await;
}
