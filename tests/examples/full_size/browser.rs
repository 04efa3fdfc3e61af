//! A headless Chromium with a window on the page, and what it costs this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use fantoccini::{Client, Locator};
use paligemma_tests::driver::{DevTools, Driver, Outcome, capabilities};
use paligemma_tests::processes;
use serde_json::{Value, json};

/// Where the page's worker is started with an ear to its memory and its answers.
pub(crate) const PROBE: &str = "/probe.js";

/// The probe: keeps hold of the module's memory and says how large it is.
pub(crate) const PROBE_SCRIPT: &str = "\
const wrap = (name) => {
  const original = WebAssembly[name];
  WebAssembly[name] = async (...args) => {
    const result = await original.apply(WebAssembly, args);
    const memory = (result.instance ?? result).exports.memory;
    const channel = new BroadcastChannel('probe');
    setInterval(() => channel.postMessage(memory.buffer.byteLength), 500);
    return result;
  };
};
wrap('instantiate');
wrap('instantiateStreaming');
await import(new URL(import.meta.url).searchParams.get('worker'));
";

/// Runs before the page's own scripts.
const EAR: &str = "\
window.probe = { wasm: 0, tokens: 0, answer: null, load_ms: 0, heap: 0, looks: 0 };
const look = async () => {
  // Wasm and JavaScript heaps of the page and its worker, buffers included.
  const { bytes } = await performance.measureUserAgentSpecificMemory();
  probe.heap = Math.max(probe.heap, bytes);
  probe.looks += 1;
  setTimeout(look, 1000);
};
if (self.crossOriginIsolated) setTimeout(look, 0);
new BroadcastChannel('probe').onmessage = ({ data }) => {
  probe.wasm = Math.max(probe.wasm, data);
};
window.Worker = class extends Worker {
  constructor(url, options) {
    const worker = new URL(url, document.baseURI).href;
    super('/probe.js?worker=' + encodeURIComponent(worker), options);
    this.addEventListener('message', ({ data }) => {
      if (data.type === 'token') probe.tokens += 1;
      if (data.type === 'done') probe.answer = data.answer;
      if (data.type === 'ready') probe.load_ms = data.load_ms;
    });
  }
};
";

pub(crate) struct Browser {
    client: Client,
    driver: Driver,
    /// The largest resident set of each kind of process, in bytes.
    pub(crate) peaks: BTreeMap<String, u64>,
}

impl Browser {
    /// Starts one whose storage is in `profile`.
    pub(crate) async fn start(profile: &Path) -> Outcome<Self> {
        let mut capabilities = capabilities(profile, (1280, 1000))?;
        let hour = 3_600_000;
        capabilities.insert("timeouts".to_owned(), json!({"script": hour}));
        let driver = Driver::start().await?;
        let client = driver.open(capabilities).await?;
        let ear = DevTools::before_every_document(EAR);
        client.issue_cmd(ear).await?;
        Ok(Self {
            client,
            driver,
            peaks: BTreeMap::new(),
        })
    }

    pub(crate) async fn go(&self, url: &str) -> Outcome<()> {
        Ok(self.client.goto(url).await?)
    }

    pub(crate) async fn click(&self, css: &str) -> Outcome<()> {
        let found = self.client.wait().for_element(Locator::Css(css)).await?;
        Ok(found.click().await?)
    }

    /// Types into the prompt and presses Enter.
    pub(crate) async fn ask(&self, prompt: &str) -> Outcome<()> {
        let field = self.client.find(Locator::Css("#prompt")).await?;
        field.click().await?;
        field.send_keys("\u{e009}a\u{e009}").await?;
        Ok(field.send_keys(&format!("{prompt}\u{e007}")).await?)
    }

    pub(crate) async fn value(&self, expression: &str) -> Outcome<Value> {
        let code = format!("return ({expression})");
        Ok(self.client.execute(&code, vec![]).await?)
    }

    pub(crate) async fn screenshot(&self, file: &Path) -> Outcome<()> {
        Ok(std::fs::write(file, self.client.screenshot().await?)?)
    }

    /// Waits until an expression is truthy, looking at the memory meanwhile, and returns it. What
    /// the page says is printed when it has changed, at most every ten seconds.
    pub(crate) async fn until(&mut self, expression: &str, patience: Duration) -> Outcome<Value> {
        let started = Instant::now();
        let (mut said, mut last) = (String::new(), Instant::now());
        loop {
            self.measure();
            let value = self.value(expression).await?;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return Ok(value);
            }
            let error = self
                .value(
                    "document.querySelector('#models-error, [role=alert][data-kind]')?.innerText",
                )
                .await?;
            if let Some(error) = error.as_str().filter(|error| !error.trim().is_empty()) {
                return Err(format!("the page says: {error}").into());
            }
            let status = "(document.querySelector('#fetching') ?? \
                          document.querySelector('#status'))?.innerText ?? ''";
            let now = self.value(status).await?.as_str().unwrap_or("").to_owned();
            if now != said && last.elapsed() > Duration::from_secs(10) {
                println!("  {:>6.0?}  {}", started.elapsed(), now.replace('\n', " "));
                (said, last) = (now, Instant::now());
            }
            if started.elapsed() > patience {
                return Err(format!("waited {patience:?} in vain for {expression}").into());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Looks at the resident sets of the browser's processes.
    pub(crate) fn measure(&mut self) {
        let Some(driver) = self.driver.id() else {
            return;
        };
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for process in processes::below(driver) {
            let largest = sums.entry(process.kind).or_default();
            *largest = (*largest).max(process.resident);
        }
        for (kind, bytes) in sums {
            let peak = self.peaks.entry(kind).or_default();
            *peak = (*peak).max(bytes);
        }
    }

    pub(crate) async fn close(self) -> Outcome<()> {
        Ok(self.client.close().await?)
    }
}
