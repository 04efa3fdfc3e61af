//! The page without a network, and how its next version comes.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use axum::Router;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower_http::services::ServeDir;

use crate::browser::{Page, WebGpu};
use crate::published::dist;

const WINDOW: (u32, u32) = (1100, 850);
const TITLE: &str = "PaliGemma in your browser";
/// The page is served by its service worker, which has kept everything by then.
const CONTROLLED: &str = "navigator.serviceWorker.controller?.state === 'activated'";
/// The page as it looks at first, whatever the model does. Samples that are scrolled out of sight
/// load late; here they are wanted at once.
const SHELL_IS_UP: &str = "document.querySelector('h1')?.textContent === 'PaliGemma in your browser' \
     && document.querySelector('#prompt')?.checkVisibility() \
     && document.querySelectorAll('.samples .strip img').length === 12 \
     && [...document.images].every(image => (image.loading = 'eager') && image.complete && image.naturalWidth > 0)";

/// A copy of the built page on a server of its own, to be changed and to be taken away.
struct Site {
    folder: tempfile::TempDir,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Site {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in files(&dist()) {
            let to = folder.path().join(&name);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(dist().join(&name), to).unwrap();
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().fallback_service(ServeDir::new(folder.path()));
        // On a runtime of its own, with which every connection ends.
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    ended = axum::serve(listener, router) => panic!("the server ended: {ended:?}"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            folder,
            address,
            stop,
            server,
        }
    }

    /// Replaces a text in a file by another; `list` makes it a new version.
    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} does not contain {from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// Writes the list of files into the service worker, as the build does.
    fn list(&self) {
        let xtask = std::env::var_os("PALIGEMMA_XTASK").expect("PALIGEMMA_XTASK names xtask");
        let status = Command::new(xtask)
            .arg("precache")
            .arg(self.folder.path())
            .status();
        assert!(status.unwrap().success());
    }

    fn take_away(self) {
        self.stop.send(()).unwrap();
        self.server.join().unwrap();
        assert!(TcpStream::connect(self.address).is_err());
    }
}

/// The files in a folder and below it, relative, with slashes.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let below = self::files(&entry.path());
            files.extend(below.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            files.insert(name);
        }
    }
    files
}

impl Page {
    /// What all of the origin's caches hold, relative to the page.
    async fn kept(&self) -> BTreeSet<String> {
        let kept = self
            .script(
                "return (async () => { \
                   const all = []; \
                   for (const name of await caches.keys()) { \
                     for (const request of await (await caches.open(name)).keys()) { \
                       all.push(request.url.replace(document.baseURI, '')); \
                     } \
                   } \
                   return all; \
                 })()",
            )
            .await;
        serde_json::from_value(kept).unwrap()
    }

    async fn caches(&self) -> Vec<String> {
        let names = self.script("return caches.keys()").await;
        serde_json::from_value(names).unwrap()
    }

    async fn title(&self) -> String {
        self.client.title().await.unwrap()
    }

    async fn is_offered_an_update(&self) -> bool {
        let found = self.script("return !!document.querySelector('#update')");
        found.await.as_bool().unwrap()
    }
}

#[tokio::test]
async fn the_page_opens_without_a_network() {
    let site = Site::open();
    let page = Page::open_at(site.address, "/", WINDOW, WebGpu::Software).await;
    page.until_state("ready").await;
    page.until(CONTROLLED).await;
    assert!(!page.is_offered_an_update().await, "the first is not newer");

    // The whole page is kept, and no model.
    let expected: BTreeSet<String> = files(site.folder.path())
        .into_iter()
        .filter(|file| !file.starts_with("demo/model/") && file != "sw.js")
        .filter(|file| ![".md", ".d.ts"].iter().any(|end| file.ends_with(end)))
        .map(|file| {
            if file == "index.html" {
                String::new()
            } else {
                file
            }
        })
        .collect();
    assert!(expected.iter().any(|file| file == "worker_bg.wasm"));
    let kept = page.kept().await;
    assert_eq!(kept, expected);
    for file in &kept {
        let weights = ["safetensors", ".bin", "model/"];
        assert!(!weights.iter().any(|it| file.contains(it)), "{file}");
    }

    // Parts of files are the network's business, also of files that are kept.
    let part = page
        .script(
            "return fetch('start.js', { headers: { Range: 'bytes=0-3' } }) \
               .then(async answer => [answer.status, (await answer.text()).length])",
        )
        .await;
    assert_eq!(part, json!([206, 4]));

    site.take_away();
    page.client.refresh().await.unwrap();
    page.until(SHELL_IS_UP).await;
    let network = page
        .script("return fetch('demo/model/config.json', { cache: 'no-store' }).then(() => 'there', () => 'gone')")
        .await;
    assert_eq!(network, "gone");
    // The worker starts, whatever it finds to load.
    let outcome = page
        .until(
            "document.querySelector('[role=alert]')?.dataset.kind \
               ?? (document.querySelector('#status').dataset.state === 'ready' && 'ready')",
        )
        .await;
    assert_ne!(outcome, "worker");
    page.screenshot("offline").await;

    // An address that was never visited before, and pictures that were never shown.
    page.go("/?seed=1").await;
    page.until(
        "JSON.parse(document.querySelector('#ground-truth')?.textContent || 'null')?.seed === 1",
    )
    .await;
    page.close().await;
}

impl Page {
    /// Lets the next version in and waits for what it shows.
    ///
    /// It comes in when the version before it is idle and was stopped. A browser that is driven
    /// has a debugger at each service worker, and one that is debugged may never count as idle: then
    /// it is stopped from outside, as a browser without a driver does by itself.
    async fn update_until(&self, condition: &str) {
        self.click("#update-now").await;
        for _ in 0..20 {
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            let condition = format!("return Boolean({condition})");
            // A page that is being reloaded answers no script.
            let now = self.client.execute(&condition, vec![]).await;
            if now.is_ok_and(|now| now == true) {
                return;
            }
        }
        self.devtools("ServiceWorker.enable", json!({})).await;
        self.devtools("ServiceWorker.stopAllWorkers", json!({}))
            .await;
        self.until(condition).await;
    }
}

#[tokio::test]
async fn the_next_version_comes_when_the_person_wants_it() {
    let site = Site::open();
    let page = Page::open_at(site.address, "/", WINDOW, WebGpu::None).await;
    page.until(CONTROLLED).await;
    let first = page.caches().await;
    assert_eq!(first.len(), 1);

    // A server in the middle of being updated: the list and a file do not fit each other.
    let title = |text: &str| format!("<title>{text}</title>");
    site.replace("index.html", &title(TITLE), &title("Half"));
    site.list();
    site.replace("index.html", &title("Half"), &title("Second"));
    let end = page
        .script(
            "return navigator.serviceWorker.getRegistration().then(it => new Promise(resolve => { \
               it.addEventListener('updatefound', () => { \
                 const worker = it.installing; \
                 worker.addEventListener('statechange', () => resolve(worker.state)); \
               }, { once: true }); \
               it.update(); \
             }))",
        )
        .await;
    assert_eq!(end, "redundant");
    assert_eq!(page.caches().await, first);
    assert!(!page.is_offered_an_update().await);

    // Now it is complete. It waits, however often the page is opened.
    site.list();
    for _ in 0..2 {
        page.client.refresh().await.unwrap();
        page.until("document.querySelector('#update-now')").await;
        assert_eq!(page.title().await, TITLE);
        assert!(page.caches().await.contains(&first[0]));
    }
    page.screenshot("update").await;
    page.click("#update-later").await;
    assert!(!page.is_offered_an_update().await);

    // The person wants it in a second tab; the first one is told, and not reloaded.
    let here = page.client.window().await.unwrap();
    let other = page.client.new_window(true).await.unwrap();
    page.client
        .switch_to_window(other.handle.clone())
        .await
        .unwrap();
    page.before_every_document("sessionStorage.loads = Number(sessionStorage.loads ?? 0) + 1")
        .await;
    page.go("/").await;
    page.update_until("document.title === 'Second' && document.querySelector('h1')")
        .await;
    page.until(CONTROLLED).await;
    let second = page.caches().await;
    assert_eq!(second.len(), 1, "{second:?}");
    assert_ne!(second, first);
    assert!(!page.is_offered_an_update().await);
    let loads = page.script("return sessionStorage.loads").await;
    assert_eq!(loads, "2", "opened once, reloaded once");

    page.client.switch_to_window(here).await.unwrap();
    page.until("document.querySelector('#update-now')").await;
    assert_eq!(page.title().await, TITLE);
    page.update_until("document.title === 'Second' && document.querySelector('h1')")
        .await;
    assert!(!page.is_offered_an_update().await);
    page.close().await;
}

#[tokio::test]
async fn a_version_that_does_not_start_can_be_left() {
    let site = Site::open();
    let page = Page::open_at(site.address, "/", WINDOW, WebGpu::None).await;
    page.until(CONTROLLED).await;
    site.replace("index.html", "data-wasm=\"./", "data-wasm=\"./no-");
    site.list();
    page.client.refresh().await.unwrap();
    page.update_until("document.querySelector('#anew')").await;
    page.screenshot("does-not-start").await;

    site.replace("index.html", "data-wasm=\"./no-", "data-wasm=\"./");
    site.list();
    page.click("#anew").await;
    page.until(SHELL_IS_UP).await;
    page.until(CONTROLLED).await;
    assert_eq!(page.caches().await.len(), 1);
    page.close().await;
}

#[tokio::test]
async fn a_browser_without_service_workers_shows_the_page() {
    let site = Site::open();
    let page = Page::open_at(site.address, "/", WINDOW, WebGpu::None).await;
    page.until(CONTROLLED).await;
    page.before_every_document("delete Navigator.prototype.serviceWorker")
        .await;
    page.client.refresh().await.unwrap();
    page.until(SHELL_IS_UP).await;
    let missing = page.script("return !('serviceWorker' in navigator)").await;
    assert_eq!(missing, true);
    page.close().await;
}

#[tokio::test]
async fn the_page_can_be_installed() {
    let page = Page::open("/", WINDOW, WebGpu::None).await;
    page.until(CONTROLLED).await;
    let manifest = page.devtools("Page.getAppManifest", json!({})).await;
    assert_eq!(manifest["errors"], json!([]), "{manifest}");
    let errors = page
        .devtools("Page.getInstallabilityErrors", json!({}))
        .await;
    assert_eq!(errors["installabilityErrors"], json!([]));
    page.close().await;
}

/// What browsers want of it, and what lets the page live in any folder.
#[test]
fn the_manifest_describes_what_is_there() {
    let text = std::fs::read(dist().join("manifest.webmanifest")).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    for (key, expected) in [
        ("start_url", "."),
        ("scope", "."),
        ("display", "standalone"),
    ] {
        assert_eq!(manifest[key], expected, "{key}");
    }
    let mut pngs = BTreeSet::new();
    for icon in manifest["icons"].as_array().unwrap() {
        let source = icon["src"].as_str().unwrap();
        assert!(
            !source.starts_with('/') && !source.contains(':'),
            "{source}"
        );
        assert!(dist().join(source).is_file(), "{source}");
        if icon["type"] == "image/png" {
            let (width, height) = image::image_dimensions(dist().join(source)).unwrap();
            assert_eq!(icon["sizes"], format!("{width}x{height}"), "{source}");
            pngs.insert((width, icon["purpose"] == "maskable"));
        }
    }
    assert_eq!(
        pngs,
        BTreeSet::from([(192, false), (512, false), (512, true)])
    );
}
