//! A packed model on a bad server: every piece is checked as it arrives.

use paligemma_tests::server::{Content, Fault, What, When};
use serde_json::json;

use super::{Outcome, Site, model};
use crate::sources::pack;

/// Small enough for the model to have several, large enough for its longest row.
const PIECE: usize = 256 << 10;

const BAD: &str = "pieces/00002.bin";

/// What is kept, according to a worker that has just started.
const LIBRARY: &str = "
window.outcome = null;
const worker = new Worker('/worker_loader.js', { type: 'module' });
worker.onmessage = ({ data }) => {
  if (data.type === 'started') worker.postMessage({ type: 'library', id: 1 });
  if (data.type === 'library') { window.outcome = data.library.models; worker.terminate(); }
};";

impl Site {
    /// Whether each kept model is complete.
    async fn complete(&self) -> Vec<bool> {
        self.page.script(LIBRARY).await;
        let models = self.page.until("window.outcome").await;
        let models = models.as_array().unwrap().iter();
        models
            .map(|model| model["complete"].as_bool().unwrap())
            .collect()
    }
}

#[tokio::test]
async fn a_damaged_piece_is_fetched_again_or_named() {
    let site = Site::open().await;
    let folder = pack(&model(), "q8", PIECE);
    let bytes = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
    site.server.put_folder("/m", folder.path());
    let source = json!({ "from": "url", "url": site.server.url("/m") });
    let outcome = site.download(&source, None, vec![]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    let undisturbed = site.sent();
    let corrupt = |when| Fault::new(BAD, when, What::Corrupt(1000));

    // Wrong once: that piece comes twice, and nothing else does.
    site.forget().await;
    let outcome = site
        .download(&source, None, vec![corrupt(When::Nth(0))])
        .await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    assert_eq!(site.sent(), undisturbed + bytes(BAD));
    assert_eq!(site.complete().await, [true]);

    // Wrong always: the piece is named, and the model is not complete.
    site.forget().await;
    match site
        .download(&source, None, vec![corrupt(When::From(0))])
        .await
    {
        Outcome::Failed(kind, message) => {
            println!("{message}");
            assert_eq!(kind, "network", "{message}");
            assert!(
                message.contains("piece 2") && message.contains("damaged"),
                "{message}"
            );
        }
        Outcome::Kept => panic!("kept with a wrong byte"),
    }
    assert_eq!(site.server.sent(BAD), 2 * bytes(BAD), "tried once more");
    assert_eq!(site.complete().await, [false]);
    // What had arrived before it is not fetched again when it is right.
    let outcome = site.download(&source, None, vec![]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    assert_eq!(site.server.sent("pieces/00000.bin"), 0);
    assert_eq!(site.server.sent(BAD), bytes(BAD));
    assert_eq!(site.complete().await, [true]);

    // A manifest that this software is too old for.
    site.forget().await;
    let manifest = std::fs::read_to_string(folder.path().join("manifest.json")).unwrap();
    let newer = manifest.replace("\"version\":1,", "\"version\":7,");
    assert_ne!(newer, manifest);
    site.server
        .put("/m/manifest.json", Content::from(newer.as_str()));
    match site.download(&source, None, vec![]).await {
        Outcome::Failed(kind, message) => {
            println!("{message}");
            assert_eq!(kind, "checkpoint", "{message}");
            for words in ["format version 7", "reads version 1", "newer version"] {
                assert!(message.contains(words), "{message}");
            }
        }
        Outcome::Kept => panic!("kept a format that nobody knows"),
    }
    assert_eq!(site.server.sent("pieces/00000.bin"), 0);
    assert!(site.complete().await.is_empty());
    site.close().await;
}
