//! A hub that redirects to its delivery network, and tells each large file's SHA-256.

use paligemma_tests::server::{Fault, Repository, What, When};
use serde_json::{Value, json};

use super::{Outcome, Site, WEIGHTS, model};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_a_token_that_nobody_may_see";

/// The other server is the hub's delivery network.
fn hub(site: &Site) -> Value {
    let repository = Repository::new("me/mine", COMMIT)
        .with_folder(&model())
        .gated_by(TOKEN)
        .delivered_by(&site.other.url(""));
    for (file, content) in repository.files() {
        site.other.put(&repository.path_of(file), content.clone());
    }
    site.server.put_repository(repository);
    json!({ "from": "hub", "base_url": site.server.url(""), "repository": "me/mine", "revision": "main" })
}

#[tokio::test]
async fn a_token_is_for_the_hub_alone() {
    let site = Site::open().await;
    let source = hub(&site);
    match site.download(&source, None, vec![]).await {
        Outcome::Failed(kind, message) => {
            assert_eq!(kind, "token", "{message}");
            assert!(
                message.contains("licence") && message.contains("/me/mine"),
                "{message}"
            );
        }
        Outcome::Kept => panic!("the hub is gated"),
    }
    let outcome = site.download(&source, Some(TOKEN), vec![]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    let at_hub = site.server.requests_for(WEIGHTS);
    assert!(
        at_hub
            .iter()
            .any(|request| request.headers.contains_key("authorization"))
    );
    let delivered = site.other.requests();
    assert!(!delivered.is_empty());
    for request in site.server.requests().iter().chain(&delivered) {
        assert!(!format!("{}?{}", request.path, request.query).contains(TOKEN));
    }
    for request in delivered {
        assert!(
            !request.headers.contains_key("authorization"),
            "{request:?}"
        );
        assert!(!format!("{request:?}").contains(TOKEN), "{request:?}");
    }
    site.close().await;
}

#[tokio::test]
async fn a_wrong_byte_is_found_by_the_files_hash() {
    let site = Site::open().await;
    let source = hub(&site);
    // Where the file's bytes come from is where one of them can go wrong.
    let wrong = Fault::new(WEIGHTS, When::From(0), What::Corrupt(1_500_000));
    match site
        .download_over(&source, Some(TOKEN), vec![], vec![wrong])
        .await
    {
        Outcome::Failed(kind, message) => {
            println!("{message}");
            assert_eq!(kind, "changed", "{message}");
            assert!(
                message.contains("SHA-256") && message.contains(WEIGHTS),
                "{message}"
            );
        }
        Outcome::Kept => panic!("kept with a wrong byte"),
    }
    // Which of its bytes was wrong nobody knows: all of it comes again, once.
    let outcome = site.download(&source, Some(TOKEN), vec![]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    let size = std::fs::metadata(model().join(WEIGHTS)).unwrap().len();
    let again: u64 = [&site.server, &site.other]
        .map(|server| server.sent(WEIGHTS))
        .iter()
        .sum();
    println!("{again} bytes of {size} once more");
    assert!((size..=size + (256 << 10)).contains(&again), "{again}");
    site.close().await;
}
