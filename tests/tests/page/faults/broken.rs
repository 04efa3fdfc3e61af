//! Connections that break. Nothing that has arrived is fetched again.

use paligemma_tests::server::{Fault, Stated, What, When};

use super::{Outcome, Site, WEIGHTS, folder, model};

/// What is read of a file to have its header: 128 KiB, the first part of which the header is.
const HEADER: u64 = 128 << 10;

#[tokio::test]
async fn broken_connections_cost_no_byte_twice() {
    let site = Site::open().await;
    let source = folder(&site);
    let size = std::fs::metadata(model().join(WEIGHTS)).unwrap().len();
    let outcome = site.download(&source, None, vec![]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    let undisturbed = site.sent();
    let weights = site.server.sent(WEIGHTS);
    println!("undisturbed: {undisturbed} bytes, {weights} of {size} of the weights' file");
    // Looking at what is offered reads the header, and so does fetching it; all else is read once.
    assert!((size..=size + 2 * HEADER).contains(&weights), "{weights}");

    let busy = |seconds: &str| vec![("retry-after", seconds.to_owned())];
    // Where, what, and how many bytes more that may cost.
    let cases = [
        // In the header's length, in the header, among the weights, before the last byte.
        (3, What::Cut(0), 0),
        (100, What::Cut(0), 0),
        (1_500_000, What::Cut(0), 0),
        (1_500_000, What::Cut(1), 0),
        (size - 1, What::Cut(0), 0),
        (1_500_000, What::NoAnswer, 0),
        // Nothing comes for half a minute.
        (1_500_000, What::Stall(0), 0),
        (1_500_000, What::Truncated(0, Stated::Truth), 0),
        (1_500_000, What::Truncated(0, Stated::Nothing), 0),
        (1_500_000, What::Status(500, vec![]), 0),
        (1_500_000, What::Status(503, vec![]), 0),
        (1_500_000, What::Status(429, busy("1")), 0),
        // All of the file where its weights were asked for: at most what comes before them.
        (1_500_000, What::Whole, HEADER),
    ];
    for (at, what, allowance) in cases {
        site.forget().await;
        let name = format!("{what:?} at {at}");
        let fault = Fault::new(WEIGHTS, When::Byte(at), what);
        let outcome = site.download(&source, None, vec![fault]).await;
        assert!(matches!(outcome, Outcome::Kept), "{name}: {outcome:?}");
        let more = site.sent().checked_sub(undisturbed);
        println!("{name}: {more:?} bytes more");
        assert!(
            more.is_some_and(|more| more <= allowance),
            "{name}: {more:?}"
        );
    }

    // A file that comes in many parts.
    site.forget().await;
    let fault = Fault::new(WEIGHTS, When::From(0), What::Cut(400_000));
    let outcome = site.download(&source, None, vec![fault]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    assert_eq!(site.sent(), undisturbed);
    site.close().await;
}

#[tokio::test]
async fn a_redirection_to_another_origin_is_followed() {
    let site = Site::open().await;
    let source = folder(&site);
    site.other.put_folder("/m", &model());
    let away = What::Redirect(site.other.url(""));
    let fault = Fault::new(WEIGHTS, When::From(0), away).and_head();
    let outcome = site.download(&source, None, vec![fault]).await;
    assert!(matches!(outcome, Outcome::Kept), "{outcome:?}");
    assert_eq!(site.server.sent(WEIGHTS), 0);
    let size = std::fs::metadata(model().join(WEIGHTS)).unwrap().len();
    let sent = site.other.sent(WEIGHTS);
    assert!(
        (size..=size + 2 * HEADER).contains(&sent),
        "{sent} of {size}"
    );
    site.close().await;
}
