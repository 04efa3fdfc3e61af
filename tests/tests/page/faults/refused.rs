//! Answers that cannot be used. The message says what is wrong, and nothing is mixed.

use paligemma_tests::server::{Content, Cors, Fault, What, When};
use serde_json::json;

use super::{Outcome, Site, WEIGHTS, folder, model};

#[tokio::test]
async fn what_cannot_be_used_is_told() {
    let site = Site::open().await;
    let source = folder(&site);
    let outcome = site.download(&source, None, vec![]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    let undisturbed = site.server.sent(WEIGHTS);
    // The second attempt looks at the offer and at the header anew, and goes on where the first
    // one stopped.
    let looks = 2 * HEADER;
    let at = When::Byte(1_500_000);
    let status = |status| Fault::status(WEIGHTS, at, status);
    let size = std::fs::metadata(model().join(WEIGHTS)).unwrap().len() as usize;
    let other = Content::from(vec![7; size]);
    let cases = [
        (
            vec![Fault::new(WEIGHTS, at, What::OtherRange(-100))],
            "network",
            "were asked for",
            // The wrong bytes are sent, and not believed.
            size as u64 + looks,
        ),
        (vec![status(416)], "network", "ends before byte", looks),
        (vec![status(401)], "token", "401", looks),
        (vec![status(403)], "token", "403", looks),
        (vec![status(404)], "network", "is not there", looks),
        (
            vec![
                Fault::new(WEIGHTS, at, What::Cut(0)),
                Fault::new(WEIGHTS, When::Byte(1_500_001), What::Version(other)),
            ],
            "changed",
            "has changed",
            // Another version: nothing of the first is of use.
            size as u64 + looks,
        ),
        // It never comes.
        (
            vec![Fault::new(
                WEIGHTS,
                When::From(0),
                What::Status(503, vec![]),
            )],
            "network",
            "503",
            0,
        ),
    ];
    for (faults, kind, words, allowance) in cases {
        site.forget().await;
        match site.download(&source, None, faults).await {
            Outcome::Failed(is, message) => {
                println!("{message}");
                assert!(
                    message.contains(words) && message.contains(WEIGHTS),
                    "{message}"
                );
                assert_eq!(is, kind, "{message}");
            }
            Outcome::Kept => panic!("kept in spite of {words:?}"),
        }
        let before = site.server.sent(WEIGHTS);
        // What had arrived of it is no hindrance.
        let outcome = site.download(&source, None, vec![]).await;
        assert!(
            matches!(outcome, Outcome::Kept),
            "after {words:?}: {outcome:?}"
        );
        let more = (before + site.server.sent(WEIGHTS)).checked_sub(undisturbed);
        println!("{words}: {more:?} bytes more");
        assert!(
            more.is_some_and(|more| more <= allowance),
            "{words}: {more:?} of {allowance}"
        );
    }
    site.close().await;
}

/// What is read of a file to have its header.
const HEADER: u64 = 128 << 10;

/// An object store that lets nobody list its files denies those that are not there.
#[tokio::test]
async fn a_server_that_denies_what_is_absent_has_a_model_all_the_same() {
    let site = Site::open().await;
    let source = folder(&site);
    let deny = |file: &&str| Fault::status(file, When::From(0), 403).and_head();
    let absent = [
        "/m/manifest.json",
        "/m/preprocessor_config.json",
        "/m/processor_config.json",
        "/m/special_tokens_map.json",
    ];
    for file in absent {
        site.server.remove(file);
    }
    let faults = absent.iter().map(deny).collect();
    let outcome = site.download(&source, None, faults).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");

    // What a model needs is named, with what the server said.
    for needed in ["/m/config.json", "/m/model.safetensors"] {
        site.forget().await;
        let index = "/m/model.safetensors.index.json";
        let denied: Vec<&str> = match needed {
            "/m/config.json" => vec!["/m/manifest.json", needed],
            _ => vec!["/m/manifest.json", needed, index],
        };
        let faults = denied.iter().map(deny).collect();
        match site.download(&source, None, faults).await {
            Outcome::Failed(kind, message) => {
                println!("{message}");
                assert_eq!(kind, "token", "{message}");
                assert!(message.contains("403"), "{message}");
            }
            Outcome::Kept => panic!("kept without {needed}"),
        }
    }
    site.close().await;
}

/// Browsers fail alike for a server that is gone and for one that lets no other site read it.
#[tokio::test]
async fn a_server_that_lets_no_page_read_it_is_named_as_one() {
    let site = Site::open().await;
    site.other.put_folder("/m", &model());
    let source = json!({ "from": "url", "url": site.other.url("/m") });
    site.other.set_cors(Cors::Nothing);
    match site.download(&source, None, vec![]).await {
        Outcome::Failed(kind, message) => {
            println!("{message}");
            assert_eq!(kind, "network", "{message}");
            assert!(message.contains("Access-Control-Allow-Origin"), "{message}");
        }
        Outcome::Kept => panic!("read in spite of the rule"),
    }
    site.other.set_cors(Cors::Open);
    let outcome = site.download(&source, None, vec![]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    site.close().await;
}
