//! What was measured of the adapter goes to the page and comes back with the next load.

use paligemma_browser::protocol::{Event, LoadOptions, Request, Tuned};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::host::Desk;

/// Loads the demo model with what is kept; the kernels it computes with, and what is to be kept.
async fn load(desk: &Desk, id: u32, tuned: Vec<Tuned>) -> (String, Option<Tuned>) {
    let options = LoadOptions {
        tuned,
        ..LoadOptions::default()
    };
    desk.load_with(id, "demo", options);
    match desk.end_of(id).await {
        Event::Ready { adapter, tuned, .. } => (adapter.kernels, tuned),
        other => panic!("{other:?}"),
    }
}

#[wasm_bindgen_test]
async fn a_measurement_finds_the_kernels_that_later_loads_use() {
    let desk = Desk::new();
    let (usual, nothing) = load(&desk, 1, Vec::new()).await;
    assert!(usual.contains("(the usual choice)"), "{usual}");
    assert_eq!(nothing, None);
    let bench = Request::Bench {
        id: 2,
        name: "the demo".to_owned(),
        shape: None,
        cache: None,
    };
    desk.host.receive(bench, None, Vec::new());
    let (measured, tuned) = match desk.end_of(2).await {
        Event::Measured {
            measured, tuned, ..
        } => (measured, tuned.unwrap()),
        other => panic!("{other:?}"),
    };
    let facts = measured.facts.iter();
    let kernels = facts.clone().find(|[name, _]| name == "kernels").unwrap();
    let said = format!("{} (measured)", tuned.variants);
    assert!(kernels[1].contains(&said), "{kernels:?} {tuned:?}");

    // A choice that no run would make here.
    let known = Tuned {
        variants: "tiled lanes=2".to_owned(),
        ..tuned
    };
    // Of another adapter, another browser, and no choice at all.
    let other = |change: fn(&mut Tuned)| {
        let mut kept = Tuned {
            variants: "tiled lanes=4".to_owned(),
            ..known.clone()
        };
        change(&mut kept);
        kept
    };
    let strangers = [
        other(|kept| kept.adapter.push('x')),
        other(|kept| kept.browser.push('x')),
        other(|kept| kept.variants.push('x')),
    ];
    for (id, stranger) in (3..).zip(strangers.clone()) {
        let loaded = load(&desk, id, vec![stranger]).await;
        assert_eq!(loaded, (usual.clone(), None));
    }

    // Among them, the one that fits is found.
    let mut all = strangers.to_vec();
    all.push(known);
    let (kernels, nothing) = load(&desk, 6, all).await;
    assert_eq!(kernels, "tiled lanes=2 (measured earlier)");
    assert_eq!(nothing, None);
}
