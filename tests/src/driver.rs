//! A headless Chromium, driven through chromedriver. `cargo xtask` names both.

use std::error::Error;
use std::path::Path;
use std::process::Stdio;

use axum::http::Method;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use url::{ParseError, Url};

/// What could not be started, in words.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A chromedriver, which ends when this is dropped.
#[derive(Debug)]
pub struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    /// Starts it on a port of its own choice.
    ///
    /// # Errors
    /// If `CHROMEDRIVER` does not name a program that says where it listens.
    pub async fn start() -> Outcome<Self> {
        let program = std::env::var("CHROMEDRIVER").map_err(|_| "CHROMEDRIVER names no driver")?;
        let mut process = Command::new(&program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let output = process.stdout.take().ok_or("chromedriver says nothing")?;
        let mut lines = BufReader::new(output).lines();
        let port = loop {
            let line = lines.next_line().await?;
            let line = line.ok_or_else(|| format!("{program} did not start"))?;
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').parse()?;
            }
        };
        // What it says later must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { process, port })
    }

    /// Starts a browser.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn open(&self, capabilities: Capabilities) -> Outcome<Client> {
        let mut browser = ClientBuilder::new(HttpConnector::new());
        browser.capabilities(capabilities);
        let address = format!("http://127.0.0.1:{}", self.port);
        Ok(browser.connect(&address).await?)
    }

    /// Its process, while that runs.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }
}

/// The capabilities with which every browser starts (xtask knows the flags), its storage in
/// `profile` and its window of this size.
///
/// # Errors
/// If `PALIGEMMA_WEBDRIVER_JSON` does not name a file with capabilities.
pub fn capabilities(profile: &Path, (width, height): (u32, u32)) -> Outcome<Capabilities> {
    let path = std::env::var("PALIGEMMA_WEBDRIVER_JSON")
        .map_err(|_| "PALIGEMMA_WEBDRIVER_JSON names no file of WebDriver capabilities")?;
    let mut capabilities: Capabilities = serde_json::from_slice(&std::fs::read(path)?)?;
    let flags = flags(&mut capabilities).ok_or("there are no flags")?;
    flags.push(format!("--user-data-dir={}", profile.display()).into());
    flags.push(format!("--window-size={width},{height}").into());
    Ok(capabilities)
}

/// Chromium's command line in capabilities.
pub fn flags(capabilities: &mut Capabilities) -> Option<&mut Vec<Value>> {
    let options = capabilities.get_mut("goog:chromeOptions")?;
    options.get_mut("args")?.as_array_mut()
}

/// A command of the DevTools protocol, with its parameters.
#[derive(Debug)]
pub struct DevTools(pub &'static str, pub Value);

impl DevTools {
    /// Runs a script before any of a page's own, in every document from now on.
    pub fn before_every_document(script: &str) -> Self {
        let script = json!({ "source": script });
        Self("Page.addScriptToEvaluateOnNewDocument", script)
    }
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({ "cmd": self.0, "params": self.1 });
        (Method::POST, Some(body.to_string()))
    }
}
