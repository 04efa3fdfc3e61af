//! Downloads over bad connections and from bad servers, through the worker as it is published:
//! each ends with a model that is kept and checked, or with a message, and what is fetched twice
//! is counted.

mod broken;
mod hub;
mod packed;
mod refused;

use std::net::SocketAddr;
use std::path::PathBuf;

use paligemma_tests::server::{Fault, Server};
use serde_json::{Value, json};

use crate::browser::{Page, WebGpu};
use crate::published::dist;

/// The file that goes wrong, a checkpoint's only one with weights.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// What runs in the page: a worker for each download, and nothing kept from the one before.
const SCRIPT: &str = "
window.forget = async () => {
  for (const { name } of await indexedDB.databases()) {
    await new Promise((resolve, reject) => {
      const gone = indexedDB.deleteDatabase(name);
      gone.onsuccess = resolve;
      gone.onerror = () => reject(gone.error);
    });
  }
};
window.download = async (source, token) => {
  const worker = new Worker('/worker_loader.js', { type: 'module' });
  const next = (wanted) => new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(event.message);
    worker.onmessage = ({ data }) => { if (wanted.includes(data.type)) resolve(data); };
  });
  try {
    await next(['started']);
    const wanted = { source, recipe: 'as-stored', token };
    let answer = next(['offer', 'failed']);
    worker.postMessage({ type: 'examine', id: 1, wanted });
    const offer = await answer;
    if (offer.type === 'failed') return offer;
    answer = next(['kept', 'failed']);
    worker.postMessage({ type: 'fetch', id: 2, wanted, key: offer.offer.key });
    return await answer;
  } finally {
    worker.terminate();
  }
};
window.start = (...what) => {
  window.outcome = null;
  window.download(...what).catch(error => ({ type: 'broken', error: `${error}` }))
    .then(outcome => { window.outcome = outcome; });
};";

/// How a download ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Kept,
    /// The kind of the problem, and the message for the person.
    Failed(String, String),
}

/// A page, its server, and a second server of another origin.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) other: Server,
    page: Page,
}

/// A small checkpoint, as transformers wrote it.
pub(crate) fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/pg1_mqa/model")
}

impl Site {
    pub(crate) async fn open() -> Self {
        let server = Server::start();
        server.put_pages(&dist());
        server.put("/empty.html", "<!doctype html><title>Downloads</title>");
        let address: SocketAddr = server.url("").replace("http://", "").parse().unwrap();
        let page = Page::open_at(address, "/empty.html", (600, 400), WebGpu::Software).await;
        page.script(SCRIPT).await;
        Self {
            server,
            other: Server::start(),
            page,
        }
    }

    /// Takes a model from `source` (as in the worker's protocol), with these faults of the first
    /// server on the way.
    pub(crate) async fn download(
        &self,
        source: &Value,
        token: Option<&str>,
        faults: Vec<Fault>,
    ) -> Outcome {
        self.download_over(source, token, faults, vec![]).await
    }

    /// The same, with faults of the other server too.
    pub(crate) async fn download_over(
        &self,
        source: &Value,
        token: Option<&str>,
        faults: Vec<Fault>,
        of_other: Vec<Fault>,
    ) -> Outcome {
        self.server.reset();
        self.other.reset();
        for fault in faults {
            self.server.fault(fault);
        }
        for fault in of_other {
            self.other.fault(fault);
        }
        let (source, token) = (source.to_string(), json!(token).to_string());
        self.page.script(&format!("start({source}, {token})")).await;
        let outcome = self.page.until("window.outcome").await;
        let idle = self.server.idle_faults().len() + self.other.idle_faults().len();
        assert_eq!(idle, 0, "not all faults have acted: {outcome}");
        match outcome["type"].as_str() {
            Some("kept") => Outcome::Kept,
            Some("failed") => {
                let say = |name| outcome["problem"][name].as_str().unwrap().to_owned();
                Outcome::Failed(say("kind"), say("message"))
            }
            _ => panic!("{outcome}"),
        }
    }

    /// Throws away what was kept.
    pub(crate) async fn forget(&self) {
        self.page
            .script("window.outcome = null; forget().then(() => { window.outcome = 'gone'; });")
            .await;
        self.page.until("window.outcome").await;
    }

    /// Bytes that both servers sent of the model's files.
    pub(crate) fn sent(&self) -> u64 {
        let of = |server: &Server| -> u64 {
            let requests = server.requests().into_iter();
            // The page and its worker come from the same server.
            requests
                .filter(|request| {
                    request.path.starts_with("/m/") || request.path.contains("/resolve/")
                })
                .map(|request| request.sent)
                .sum()
        };
        of(&self.server) + of(&self.other)
    }

    pub(crate) async fn close(self) {
        self.page.close().await;
    }
}

/// A checkpoint in a folder of the page's own server.
pub(crate) fn folder(site: &Site) -> Value {
    site.server.put_folder("/m", &model());
    json!({ "from": "url", "url": site.server.url("/m") })
}
