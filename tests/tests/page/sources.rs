//! Models from elsewhere than a hub, and what is done when one is damaged, wanted by two tabs at
//! once, or cannot be kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fantoccini::Locator;
use paligemma_engine::{Checkpoint, Folder, FolderStore, Ingest, Manifest, Origin, Plan, Recipe};
use paligemma_tests::server::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::{Page, WebGpu};
use crate::models::{DESKTOP, ESCAPE, site};
use crate::truth::recalled;

/// The file with the weights of a checkpoint in `/m/mine`.
const WEIGHTS: &str = "/m/mine/model.safetensors";

/// What is read of a file to have its header, at most; broken.rs.
const HEADER: u64 = 128 << 10;

/// Does something to what is stored at a key; `window.outcome` is then the length it had.
const TAMPER: &str = "
window.outcome = null;
indexedDB.open('paligemma-web').onsuccess = ({ target: { result: database } }) => {
  const transaction = database.transaction(STORE, 'readwrite');
  const objects = transaction.objectStore(STORE);
  let length = 0;
  objects.get(AT).onsuccess = ({ target: { result: bytes } }) => {
    length = bytes.length;
    CHANGE
  };
  transaction.oncomplete = () => { database.close(); window.outcome = length; };
};";

const FLIP: &str = "bytes[1000] ^= 0x40; objects.put(bytes, AT);";

const REMOVE: &str = "objects.delete(AT);";

/// Workers of this page have no database.
const NO_DATABASE: &str = "
delete Window.prototype.indexedDB;
delete window.indexedDB;
window.Worker = class extends Worker {
  constructor(url, options) {
    super(`/without.js?${encodeURIComponent(new URL(url, document.baseURI))}`, options);
  }
};";

const WITHOUT: &str = "
delete WorkerGlobalScope.prototype.indexedDB;
delete self.indexedDB;
if ('indexedDB' in self) throw new Error('there is a database');
await import(decodeURIComponent(location.search.slice(1)));";

pub(crate) fn demo() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.join("../web/demo/model").canonicalize().unwrap()
}

/// A checkpoint, packed into a folder in pieces of this many bytes.
pub(crate) fn pack(model: &Path, recipe: &str, piece_bytes: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let packing = async {
        let checkpoint = Checkpoint::open(Folder::new(model)).await.unwrap();
        let recipe = Recipe::named(recipe).unwrap();
        let plan = Plan::in_pieces_of(piece_bytes, &checkpoint, Origin::default(), &recipe);
        let plan = plan.await.unwrap();
        let store = FolderStore::new(folder.path());
        let ingest = Ingest::quantize(&checkpoint, plan, &store);
        ingest.run(&mut |_| ()).await.unwrap();
    };
    pollster::block_on(packing);
    folder
}

/// Bytes of every piece of a packed model, as they are on the server.
fn pieces(folder: &TempDir) -> Vec<u64> {
    let text = std::fs::read(folder.path().join("manifest.json")).unwrap();
    let plan = Manifest::parse(&text).unwrap().plan;
    let all = 0..plan.pieces();
    all.map(|index| plan.piece_len(index) as u64).collect()
}

/// Bytes that were sent of each of so many pieces below `/m/mine`.
fn sent_pieces(server: &Server, count: usize) -> Vec<u64> {
    let file = |index| format!("/m/mine/{}", Manifest::piece_file(index));
    (0..count).map(|index| server.sent(&file(index))).collect()
}

impl Page {
    /// Asks what the model in the form costs; the words of the offer.
    async fn offer(&self) -> String {
        self.click("#examine").await;
        self.until("document.querySelector('#offer')?.dataset.key.length === 64")
            .await;
        let words = "return document.querySelector('#offer').innerText";
        self.script(words).await.as_str().unwrap().to_owned()
    }

    async fn close_dialog(&self) {
        self.type_into("#models-close", ESCAPE).await;
        self.until("!document.querySelector('dialog#models').open")
            .await;
    }

    /// Both boats of a sample have their boxes.
    async fn sees_boats(&self) {
        self.click(".samples .strip li:nth-child(2) button").await;
        self.until("document.querySelector('#ground-truth').textContent.includes('boat')")
            .await;
        self.answer("detect boat").await;
        let (found, truth) = (self.detections().await, self.truth().await);
        assert_eq!(recalled(&truth, &found, 0.7), 2, "{found:?} {truth:?}");
    }

    /// Changes what is stored of the present model: a piece by its index, a side file by its path.
    /// The length it had.
    async fn tamper(&self, store: &str, at: Value, change: &str) -> u64 {
        let key = self
            .script("return document.querySelector('#models-open').dataset.present")
            .await;
        let script = TAMPER
            .replace("STORE", &json!(store).to_string())
            .replace("CHANGE", change)
            .replace("AT", &json!([key, at]).to_string());
        self.script(&script).await;
        self.until("window.outcome").await.as_u64().unwrap()
    }
}

#[tokio::test]
async fn a_packed_model_comes_from_an_address() {
    let (mut server, address) = site();
    let folder = pack(&demo(), "q8", 1 << 20);
    let lengths = pieces(&folder);
    assert!(lengths.len() > 2, "{lengths:?}");
    server.put_folder("/m/mine", folder.path());
    let page = Page::open_at(address, "/", DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    page.click("#models-open").await;
    page.click("label:has(#origin-folder)").await;
    page.type_into("#packed-url", &server.url("/m/mine/")).await;

    // Its own recipe counts, whatever the form said.
    page.choose("#recipe", "q4").await;
    let offer = page.offer().await;
    assert!(offer.contains("already packed by q8"), "{offer}");
    page.until("document.querySelector('#recipe').disabled")
        .await;
    page.click("#fetch").await;
    page.until_answers("mine").await;
    assert_eq!(sent_pieces(&server, lengths.len()), lengths);
    let kept = ("mine".to_owned(), "complete".to_owned());
    assert!(page.list().await.contains(&kept));
    page.close_dialog().await;
    page.sees_boats().await;

    page.until("navigator.serviceWorker.controller?.state === 'activated'")
        .await;
    server.stop();
    page.go("/").await;
    page.until_answers("mine").await;
    page.sees_boats().await;
    page.close().await;
}

#[tokio::test]
async fn files_of_this_machine_stay_on_it() {
    let (server, address) = site();
    let page = Page::open_at(address, "/", DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    server.reset();
    page.click("#models-open").await;
    page.click("label:has(#origin-files)").await;
    let files = std::fs::read_dir(demo()).unwrap();
    let files = files.map(|file| file.unwrap().path().to_str().unwrap().to_owned());
    let files: Vec<String> = files.collect();
    let field = page
        .client
        .find(Locator::Css("#model-files"))
        .await
        .unwrap();
    field.send_keys(&files.join("\n")).await.unwrap();
    let count = format!("{} files", files.len());
    page.until(&format!(
        "document.querySelector('#chosen-files').textContent.includes('{count}')"
    ))
    .await;
    let offer = page.offer().await;
    assert!(offer.contains("Nothing is sent anywhere"), "{offer}");
    page.click("#fetch").await;
    page.until_answers("Files of this machine").await;
    page.close_dialog().await;
    page.sees_boats().await;
    // The page's own files may be asked for again; those of a model are not, and nothing is sent.
    for request in server.requests() {
        assert_eq!(request.method, "GET", "{request:?}");
        assert!(!request.path.contains("model/"), "{request:?}");
    }

    // It needs the files no more.
    page.go("/").await;
    page.until_answers("Files of this machine").await;
    page.sees_boats().await;
    page.close().await;
}

#[tokio::test]
async fn what_is_damaged_is_mended_by_its_piece() {
    let (server, address) = site();
    let folder = pack(&demo(), "q8", 1 << 20);
    server.put_folder("/m/mine", folder.path());
    server.put_folder("/demo/model", &demo());
    let page = Page::open_at(address, "/", DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;

    // The demo is mended without asking: weights as they are in the file are at least as long in
    // the store. Its header is read to compare the model with the kept one, and to mend it.
    let length = page.tamper("pieces", json!(1), FLIP).await;
    server.reset();
    page.go("/").await;
    page.until_answers("Demo model").await;
    let sent = server.sent("/demo/model/model.safetensors");
    println!("piece of {length} bytes, {sent} sent");
    assert!(
        (length / 2..=length + 2 * HEADER).contains(&sent),
        "{sent} of {length}"
    );

    // Another model is mended when a person says so.
    let url = server.url("/m/mine");
    page.go(&format!("/?model={url}")).await;
    page.until_answers("Demo model").await;
    page.offer().await;
    page.click("#fetch").await;
    page.until_answers("mine").await;
    let cases = [
        ("pieces", json!(2), FLIP, Manifest::piece_file(2)),
        ("pieces", json!(0), REMOVE, Manifest::piece_file(0)),
        (
            "files",
            json!("tokenizer.json"),
            FLIP,
            "tokenizer.json".to_owned(),
        ),
    ];
    for (store, at, change, file) in cases {
        let length = page.tamper(store, at, change).await;
        server.reset();
        page.go("/").await;
        page.until("document.querySelector('.notice')?.dataset.kind === 'damaged'")
            .await;
        page.screenshot("models-damaged").await;
        page.click("#repair").await;
        page.until_answers("mine").await;
        // Beside what it consists of, nothing but what was damaged.
        let sent = server.requests().into_iter();
        let sent = sent.filter(|it| it.path.starts_with("/m/mine/") && it.sent > 0);
        let sent = sent.map(|it| (it.path, it.sent));
        let sent: Vec<_> = sent
            .filter(|(path, _)| !path.ends_with("/manifest.json"))
            .collect();
        assert_eq!(sent, [(format!("/m/mine/{file}"), length)]);
    }
    page.close_dialog().await;
    page.sees_boats().await;
    page.close().await;
}

#[tokio::test]
async fn two_tabs_fetch_a_model_once() {
    let (server, address) = site();
    server.put_folder("/m/mine", &demo());
    let query = format!("/?model={}", server.url("/m/mine"));
    let page = Page::open_at(address, &query, DESKTOP, WebGpu::Software).await;
    page.until_answers("Demo model").await;
    page.offer().await;
    let first = page.client.window().await.unwrap();
    let second = page.client.new_window(true).await.unwrap().handle;
    page.client.switch_to_window(second.clone()).await.unwrap();
    page.go(&query).await;
    page.until_answers("Demo model").await;
    page.offer().await;

    // Slow enough for a click in another tab: 157 pieces of 64 KiB.
    server.set_pause(Duration::from_millis(100));
    page.client.switch_to_window(first.clone()).await.unwrap();
    page.click("#fetch").await;
    page.until("document.querySelector('#fetching')?.dataset.stage === 'weights'")
        .await;
    page.client.switch_to_window(second).await.unwrap();
    page.click("#fetch").await;
    page.until("document.querySelector('#fetching')?.dataset.stage === 'elsewhere'")
        .await;
    page.screenshot("models-elsewhere").await;
    page.until_answers("mine").await;
    page.close_dialog().await;
    page.sees_boats().await;
    page.client.switch_to_window(first).await.unwrap();
    page.until_answers("mine").await;

    // Each tab reads the header twice: to say what the model costs, and to fetch it.
    let size = std::fs::metadata(demo().join("model.safetensors"))
        .unwrap()
        .len();
    let sent = server.sent(WEIGHTS);
    println!("{sent} of {size} bytes sent");
    assert!((size..=size + 4 * HEADER).contains(&sent), "{sent}");
    page.close().await;
}

#[tokio::test]
async fn without_a_database_models_are_loaded_each_time() {
    let (server, address) = site();
    let folder = pack(&demo(), "q8", 1 << 20);
    server.put_folder("/m/mine", folder.path());
    server.put("/without.js", WITHOUT);
    server.put("/empty.html", "<!doctype html><title>Nothing</title>");
    let page = Page::open_at(address, "/empty.html", DESKTOP, WebGpu::Software).await;
    page.before_every_document(NO_DATABASE).await;
    page.go(&format!("/?model={}", server.url("/m/mine"))).await;
    page.until_answers("Demo model").await;
    assert!(!server.requests_for("/without.js").is_empty());
    let says = |css: &str| format!("return document.querySelector('{css}')?.innerText");
    for css in ["#model-remark", "section.kept"] {
        let words = page.script(&says(css)).await;
        let words = words.as_str().unwrap_or_default();
        assert!(words.contains("This browser keeps no models"), "{words}");
    }
    page.screenshot("models-none-kept").await;

    page.close_dialog().await;
    page.sees_boats().await;

    // Another one can be used, too, and is not said to be kept. What the first one said goes.
    page.click("#models-open").await;
    let offer = page.offer().await;
    assert!(offer.contains("each time it is loaded"), "{offer}");
    assert_eq!(page.script(&says("#fetch")).await, Value::Null);
    page.click("#load-once").await;
    page.until_answers("mine").await;
    assert!(page.detections().await.is_empty());
    page.sees_boats().await;
    assert!(page.list().await.is_empty());
    page.close().await;
}
