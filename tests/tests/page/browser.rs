//! A page in a browser: serves the built files, starts Chromium, and knows the page's landmarks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use fantoccini::{Client, Locator};
use paligemma_tests::driver::{DevTools, Driver, capabilities, flags};
use serde_json::Value;
use tower_http::services::ServeDir;

use crate::published::dist;

/// One browser at a time: software rendering takes every core there is.
static ALONE: Mutex<()> = Mutex::new(());

/// How long anything may take on a slow, shared machine without a GPU.
const PATIENCE: Duration = Duration::from_secs(420);

pub(crate) struct Page {
    pub(crate) client: Client,
    address: SocketAddr,
    _driver: Driver,
    _profile: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// What the browser is to have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum WebGpu {
    Software,
    /// The API is there, an adapter is not.
    NoAdapter,
    /// No API.
    None,
}

impl Page {
    /// Opens `path` (`/`, `/?seed=1`) of the built page in a window of this size.
    pub(crate) async fn open(path: &str, size: (u32, u32), gpu: WebGpu) -> Self {
        Self::open_at(serve().await, path, size, gpu).await
    }

    /// As [`Self::open`], from a server of the caller's.
    pub(crate) async fn open_at(
        address: SocketAddr,
        path: &str,
        (width, height): (u32, u32),
        gpu: WebGpu,
    ) -> Self {
        let alone = ALONE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let driver = Driver::start().await.unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut capabilities = capabilities(profile.path(), (width, height)).unwrap();
        if gpu != WebGpu::Software {
            // The flag that makes Chromium offer its software adapter.
            let flags = flags(&mut capabilities).unwrap();
            let all = flags.len();
            flags.retain(|flag| flag != "--enable-unsafe-webgpu");
            assert_eq!(flags.len(), all - 1);
        }
        let client = driver.open(capabilities).await;
        let client = client.expect("chromedriver starts the browser");
        client.set_window_size(width, height).await.unwrap();
        let page = Self {
            client,
            address,
            _driver: driver,
            _profile: profile,
            _alone: alone,
        };
        if gpu == WebGpu::None {
            page.before_every_document("delete Navigator.prototype.gpu")
                .await;
        }
        page.go(path).await;
        page
    }

    /// Opens `path` in the same window.
    pub(crate) async fn go(&self, path: &str) {
        self.client.goto(&self.url(path)).await.unwrap();
    }

    /// Runs a script before any of the page's, whenever it is opened: what a browser without an
    /// API looks like to the page.
    pub(crate) async fn before_every_document(&self, script: &str) {
        let command = DevTools::before_every_document(script);
        self.client.issue_cmd(command).await.unwrap();
    }

    /// Gives the browser a command of the DevTools protocol; returns the answer.
    pub(crate) async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        let command = DevTools(command, parameters);
        self.client.issue_cmd(command).await.unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn script(&self, code: &str) -> Value {
        self.client.execute(code, vec![]).await.unwrap()
    }

    /// Waits until `condition`, a JavaScript expression, is truthy; returns it.
    pub(crate) async fn until(&self, condition: &str) -> Value {
        let started = Instant::now();
        loop {
            let value = self.script(&format!("return ({condition})")).await;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            if started.elapsed() > PATIENCE {
                self.screenshot("timeout").await;
                let text = self.script("return document.body.innerText").await;
                panic!("waited in vain for {condition}; the page says {text}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn until_state(&self, state: &str) {
        self.until(&format!(
            "document.querySelector('#status')?.dataset.state === '{state}'"
        ))
        .await;
    }

    pub(crate) async fn click(&self, css: &str) {
        let found = self
            .client
            .wait()
            .for_element(Locator::Css(css))
            .await
            .unwrap();
        found.click().await.unwrap();
    }

    /// Clears the prompt, types this one and presses Enter, as a person does.
    pub(crate) async fn ask(&self, prompt: &str) {
        let field = self.client.find(Locator::Css("#prompt")).await.unwrap();
        field.click().await.unwrap();
        // Control-A, then type over it.
        field.send_keys("\u{e009}a\u{e009}").await.unwrap();
        field.send_keys(&format!("{prompt}\u{e007}")).await.unwrap();
    }

    /// Presses a key in the prompt.
    pub(crate) async fn press(&self, key: &str) {
        let field = self.client.find(Locator::Css("#prompt")).await.unwrap();
        field.send_keys(key).await.unwrap();
    }

    /// Asks and waits for the answer.
    pub(crate) async fn answer(&self, prompt: &str) {
        self.script("window.wasRunning = false; \
                     new MutationObserver((_, me) => { \
                       if (document.querySelector('#status').dataset.state === 'running') { window.wasRunning = true; me.disconnect(); } \
                     }).observe(document.querySelector('#status'), { attributes: true });")
            .await;
        self.ask(prompt).await;
        self.until("window.wasRunning").await;
        self.until_state("done").await;
    }

    /// Keeps a picture of the page, for people to look at.
    pub(crate) async fn screenshot(&self, name: &str) {
        let artifacts = std::env::var_os("PALIGEMMA_ARTIFACTS");
        let artifacts = artifacts.expect("PALIGEMMA_ARTIFACTS names a folder for screenshots");
        let folder = PathBuf::from(artifacts).join("page");
        std::fs::create_dir_all(&folder).unwrap();
        let png = self.client.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    pub(crate) async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

async fn serve() -> SocketAddr {
    let dist = dist();
    assert!(
        dist.join("index.html").exists(),
        "{} is not a built page",
        dist.display()
    );
    let router = Router::new().fallback_service(ServeDir::new(dist));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
