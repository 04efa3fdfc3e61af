//! Getting a model, keeping it, coming back to it, throwing it away: as a person does it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fantoccini::Locator;
use paligemma_tests::server::{Repository, Server};
use serde_json::{Value, json};

use crate::browser::{Page, WebGpu};
use crate::published::dist;
use crate::truth::recalled;

pub(crate) const DESKTOP: (u32, u32) = (1100, 900);
const PHONE: (u32, u32) = (360, 740);
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_a_token_that_nobody_may_see";

/// A server with the built page, and a hub on the same address.
pub(crate) fn site() -> (Server, SocketAddr) {
    let server = Server::start();
    server.put_pages(&dist());
    let address = server.url("").replace("http://", "").parse().unwrap();
    (server, address)
}

/// The demo model once more, as a repository.
pub(crate) fn repository() -> Repository {
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../web/demo/model");
    Repository::new("me/mine", COMMIT).with_folder(&model)
}

impl Page {
    /// Ready, and with the model of this title.
    pub(crate) async fn until_answers(&self, title: &str) {
        let title = json!(title);
        self.until(&format!(
            "document.querySelector('#status')?.dataset.state === 'ready' \
             && document.querySelector('#models-open b').textContent === {title}"
        ))
        .await;
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        let field = self.client.find(Locator::Css(css)).await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Chooses an option of a select.
    pub(crate) async fn choose(&self, css: &str, value: &str) {
        let select = self.client.find(Locator::Css(css)).await.unwrap();
        select.select_by_value(value).await.unwrap();
    }

    /// Title and state of each kept model, in the order of the list.
    pub(crate) async fn list(&self) -> Vec<(String, String)> {
        let list = self
            .script(
                "return [...document.querySelectorAll('[data-model-key]')].map(row => \
                 [row.querySelector('b').textContent, row.dataset.state])",
            )
            .await;
        serde_json::from_value(list).unwrap()
    }

    /// Presses a button in the row of the model with this title.
    pub(crate) async fn press_in_row(&self, title: &str, action: &str) {
        let pressed = self
            .script(&format!(
                "const row = [...document.querySelectorAll('[data-model-key]')] \
                   .find(row => row.querySelector('b').textContent === {}); \
                 const button = row?.querySelector('[data-action={action}]'); \
                 button?.click(); \
                 return !!button",
                json!(title)
            ))
            .await;
        assert_eq!(pressed, Value::Bool(true), "{title}: no {action}");
    }
}

#[tokio::test]
async fn a_gated_model_is_kept_and_comes_back_without_a_network() {
    let (mut server, address) = site();
    server.put_repository(repository().gated_by(TOKEN));
    let query = format!("/?hub=http://{address}&repo=me/mine");
    let page = Page::open_at(address, &query, DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;

    // The address has filled the form in, and done nothing else.
    page.until("document.querySelector('dialog#models').open")
        .await;
    let filled = page
        .script(
            "return ['#hub-repository', '#hub-revision', '#hub-base-url'] \
             .map(id => document.querySelector(id).value)",
        )
        .await;
    assert_eq!(filled[0], "me/mine");
    assert_eq!(filled[1], "main");
    assert!(server.requests_for("me/mine").is_empty());

    // Without a token the page says that it needs one, and where to type it.
    page.choose("#recipe", "q8").await;
    page.click("#examine").await;
    page.until("document.querySelector('#models-error')?.dataset.kind === 'token'")
        .await;
    page.screenshot("models-token").await;
    page.click("#models-error [data-step=token]").await;
    page.until("document.activeElement?.id === 'hub-token'")
        .await;
    page.type_into("#hub-token", TOKEN).await;
    page.click("#examine").await;
    page.until("document.querySelector('#offer')?.dataset.key.length === 64")
        .await;
    let offer = page
        .script("return document.querySelector('#offer').innerText")
        .await;
    let offer = offer.as_str().unwrap();
    for words in ["me/mine", "0123456", "gemma", "127.0.0.1", "q8"] {
        assert!(offer.contains(words), "{words}: {offer}");
    }
    page.screenshot("models-offer").await;

    // The token is in memory, and nowhere else.
    let seen = page
        .script(
            "return [document.documentElement.outerHTML, location.href, \
               JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, \
               document.querySelector('#hub-token').value].join()",
        )
        .await;
    assert!(!seen.as_str().unwrap().contains(TOKEN));

    page.click("#fetch").await;
    page.until_answers("me/mine").await;
    let mut list = page.list().await;
    list.sort();
    assert_eq!(
        list,
        [
            ("Demo model".to_owned(), "complete".to_owned()),
            ("me/mine".to_owned(), "complete".to_owned())
        ]
    );
    page.screenshot("models-kept").await;
    page.type_into("#models-close", ESCAPE).await;
    page.until("!document.querySelector('dialog#models').open")
        .await;

    // It answers, and does so again when everything else is gone.
    page.until("navigator.serviceWorker.controller?.state === 'activated'")
        .await;
    server.stop();
    page.go("/").await;
    page.until_answers("me/mine").await;
    page.click(".samples .strip li:nth-child(2) button").await;
    page.until("document.querySelector('#ground-truth').textContent.includes('boat')")
        .await;
    page.answer("detect boat").await;
    let (found, truth) = (page.detections().await, page.truth().await);
    assert_eq!(recalled(&truth, &found, 0.7), 2, "{found:?} {truth:?}");

    // The demo is still there, too; then neither is.
    page.click("#models-open").await;
    page.until("document.querySelectorAll('[data-model-key]').length === 2")
        .await;
    page.press_in_row("Demo model", "load").await;
    page.until_answers("Demo model").await;
    page.click("#models-open").await;
    page.press_in_row("me/mine", "delete").await;
    assert_eq!(page.list().await.len(), 2, "one click is not enough");
    page.press_in_row("me/mine", "delete").await;
    page.until("document.querySelectorAll('[data-model-key]').length === 1")
        .await;
    page.close().await;
}

#[tokio::test]
async fn a_download_is_paused_goes_on_after_a_reload_and_can_be_thrown_away() {
    let (server, address) = site();
    server.put_repository(repository());
    let query = format!("/?hub=http://{address}&repo=me/mine");
    let page = Page::open_at(address, &query, DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    // 10 MB in pieces of 64 KiB: enough time to press a button, even after the first piece of 8 MiB
    // and on a busy machine.
    server.set_pause(Duration::from_millis(150));
    page.choose("#recipe", "as-stored").await;
    page.click("#examine").await;
    page.click("#fetch").await;
    // A piece has to be stored, for there to be something to go on from.
    page.until("document.querySelector('#fetching')?.dataset.stage === 'weights'")
        .await;
    page.until("Number(document.querySelector('#fetching')?.dataset.fetched) > 9e6")
        .await;
    page.screenshot("models-fetching").await;
    page.click("#pause").await;
    page.until("document.querySelector('#fetching')?.dataset.stage === 'paused'")
        .await;
    page.until("document.querySelector('[data-model-key][data-state=partial]')")
        .await;
    let sent =
        server.sent("mine/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors");

    // The next visit says that there is something to go on with.
    page.go("/").await;
    page.until_answers("Demo model").await;
    page.until("document.querySelector('#model-remark')?.textContent.includes('me/mine')")
        .await;
    page.screenshot("models-remark").await;
    page.click("#models-open").await;
    page.until("document.querySelector('[data-model-key][data-state=partial]')")
        .await;
    page.press_in_row("me/mine", "resume").await;
    page.until("document.querySelector('#fetching')?.dataset.stage === 'weights'")
        .await;
    let arrived = page
        .script("return Number(document.querySelector('#fetching').dataset.fetched)")
        .await;
    assert!(
        sent > 0 && arrived.as_u64().unwrap() > 4_000_000,
        "{arrived}"
    );

    // Cancelling wants two clicks, and leaves nothing.
    page.click("#cancel").await;
    page.click("#cancel").await;
    page.until("document.querySelectorAll('[data-model-key]').length === 1")
        .await;
    page.until("!document.querySelector('#fetching')").await;
    page.close().await;
}

#[tokio::test]
async fn the_dialog_fits_a_phone_and_the_keyboard() {
    let page = Page::open("/", PHONE, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    page.click("#models-open").await;
    for origin in ["files", "folder", "hub"] {
        page.click(&format!("label:has(#origin-{origin})")).await;
        page.until(&format!(
            "document.querySelector('#origin-{origin}').checked"
        ))
        .await;
        let wide = page
            .script(
                "const dialog = document.querySelector('#models'); \
                 return [dialog.scrollWidth, dialog.clientWidth, \
                   document.documentElement.scrollWidth, document.documentElement.clientWidth]",
            )
            .await;
        assert!(wide[0].as_u64() <= wide[1].as_u64(), "{origin}: {wide}");
        assert!(wide[2].as_u64() <= wide[3].as_u64(), "{origin}: {wide}");
        page.screenshot(&format!("models-phone-{origin}")).await;
    }
    // PaliGemma 1 is read from the branch that is half as large.
    page.choose("#hub-published", "google/paligemma-3b-mix-224")
        .await;
    page.until("document.querySelector('#hub-revision').value === 'bfloat16'")
        .await;

    // An empty field is named, and has the focus.
    page.click("label:has(#origin-folder)").await;
    page.click("#examine").await;
    page.until("document.querySelector('#models-error')?.dataset.kind === 'form'")
        .await;
    page.until("document.activeElement?.id === 'packed-url'")
        .await;
    page.type_into("#packed-url", ESCAPE).await;
    page.until("!document.querySelector('dialog#models').open")
        .await;
    page.until("document.activeElement?.id === 'models-open'")
        .await;
    page.close().await;
}
