//! What a hub may do between two visits, and what it may know.

use std::path::PathBuf;
use std::time::Duration;

use paligemma_tests::server::{Repository, Server};
use serde_json::json;

use crate::browser::{Page, WebGpu};
use crate::models::{COMMIT, DESKTOP, TOKEN, repository, site};
use crate::sources::HEADER;

const LATER: &str = "fedcba9876543210fedcba9876543210fedcba98";

/// Bytes of a stored piece.
const PIECE: u64 = 8 << 20;

/// Another model under the same name.
fn later() -> Repository {
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/pg2_gqa/model");
    Repository::new("me/mine", LATER).with_folder(&model)
}

impl Page {
    /// Writes something else into a field, as typing does.
    async fn retype(&self, css: &str, text: &str) {
        self.script(&format!(
            "const field = document.querySelector('{css}'); \
             field.value = {}; \
             field.dispatchEvent(new Event('input', {{ bubbles: true }}))",
            json!(text)
        ))
        .await;
    }

    /// What remembers something between two visits and is not a model.
    async fn remembers(&self) -> String {
        let all = self.script("return JSON.stringify(localStorage)").await;
        all.as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn what_was_begun_is_finished_after_its_branch_has_moved() {
    let (server, address) = site();
    server.put_repository(repository());
    let query = format!("/?hub=http://{address}&repo=me/mine");
    let page = Page::open_at(address, &query, DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    server.set_pause(Duration::from_millis(150));
    page.choose("#recipe", "as-stored").await;
    page.click("#examine").await;
    page.click("#fetch").await;
    // The first piece has to be stored.
    page.until("Number(document.querySelector('#fetching')?.dataset.fetched) > 9.6e6")
        .await;
    page.click("#pause").await;
    page.until("document.querySelector('[data-model-key][data-state=partial]')")
        .await;

    server.put_repository(later());
    server.set_pause(Duration::ZERO);
    page.go(&query).await;
    page.until_answers("Demo model").await;
    page.until("document.querySelector('[data-model-key][data-state=partial]')")
        .await;
    server.reset();
    page.press_in_row("me/mine", "resume").await;
    page.until_answers("me/mine").await;
    let details = page
        .script(
            "return document.querySelector('[data-model-key][data-state=complete].present small') \
             .innerText",
        )
        .await;
    assert!(
        details.as_str().unwrap().contains(&COMMIT[..7]),
        "{details}"
    );
    assert!(
        !server
            .requests_for(&format!("revision/{COMMIT}"))
            .is_empty()
    );
    let of_later = |path: &str| path.contains(LATER) || path.ends_with("revision/main");
    let asked = server.requests().into_iter().map(|it| it.path);
    let asked: Vec<String> = asked.filter(|path| of_later(path)).collect();
    assert!(asked.is_empty(), "{asked:?}");
    let weights = format!("mine/resolve/{COMMIT}/model.safetensors");
    let files = repository();
    let size = files.files().find(|(path, _)| *path == "model.safetensors");
    let missing = size.unwrap().1.len() - PIECE;
    let sent = server.sent(&weights);
    println!("{sent} sent, {missing} were missing");
    // The file's beginning is not among the tensors, and so not in the piece.
    assert!(sent <= missing + 2 * HEADER, "{sent} of {missing}");

    // Who asks for the branch gets what it points to now; the form names the commit until then.
    page.retype("#hub-revision", "main").await;
    page.click("#examine").await;
    page.until("document.querySelector('#offer')?.dataset.key.length === 64")
        .await;
    let offer = page
        .script("return document.querySelector('#offer').innerText")
        .await;
    assert!(offer.as_str().unwrap().contains(&LATER[..7]), "{offer}");
    // A link's hub is for this visit.
    assert!(!page.remembers().await.contains(&address.to_string()));
    page.close().await;
}

#[tokio::test]
async fn a_token_typed_for_one_hub_is_not_sent_to_another() {
    let (server, address) = site();
    server.put_repository(repository().gated_by(TOKEN));
    let other = Server::start();
    other.put_repository(repository().gated_by("hf_another_token"));
    let (hub, elsewhere) = (format!("http://{address}"), other.url(""));
    let query = format!("/?hub={hub}&repo=me/mine");
    let page = Page::open_at(address, &query, DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    let denied = "document.querySelector('#models-error')?.dataset.kind === 'token'";

    // Typed, and then the hub is another one.
    page.type_into("#hub-token", TOKEN).await;
    page.retype("#hub-base-url", &elsewhere).await;
    page.until("document.querySelector('#hub-token').value === ''")
        .await;
    page.click("#examine").await;
    page.until(denied).await;

    // Held for the one, and then the other is asked.
    page.retype("#hub-base-url", &hub).await;
    page.type_into("#hub-token", TOKEN).await;
    page.click("#examine").await;
    page.until("document.querySelector('#offer')?.dataset.key.length === 64")
        .await;
    let with_token = |server: &Server| {
        let requests = server.requests().into_iter();
        let requests = requests.filter(|it| it.headers.contains_key("authorization"));
        requests.count()
    };
    assert!(with_token(&server) > 0);
    page.retype("#hub-base-url", &elsewhere).await;
    page.click("#examine").await;
    page.until(denied).await;

    assert!(other.requests_for("me/mine/revision/main").len() >= 2);
    for request in other.requests() {
        assert!(
            !request.headers.contains_key("authorization"),
            "{request:?}"
        );
        assert!(!format!("{request:?}").contains(TOKEN), "{request:?}");
    }
    // What a person typed is what they begin with the next time.
    assert!(page.remembers().await.contains(&elsewhere));
    page.close().await;
}
