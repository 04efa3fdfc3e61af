//! Several tabs: one writes, the others hear of it.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{self, Either};
use gloo_timers::future::TimeoutFuture;
use paligemma_browser::store::{Bus, IdbStore, Swept, WriteLock};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::script::{self, Hidden};
use crate::support::{fresh, keep};

/// Time for what should not happen.
async fn quiet() {
    TimeoutFuture::new(100).await;
}

#[wasm_bindgen_test]
async fn one_writes_at_a_time() {
    let first = fresh("writers").await;
    let second = IdbStore::open_named("writers").await.unwrap();
    let elsewhere = fresh("writers-elsewhere").await;
    let lock = first.try_write().await.unwrap();
    assert!(second.try_write().await.is_none());
    assert!(first.try_write().await.is_none());
    assert!(elsewhere.try_write().await.is_some());

    let waiting = pin!(second.write());
    let waiting = match future::select(waiting, pin!(quiet())).await {
        Either::Left(_) => panic!("two writers"),
        Either::Right(((), waiting)) => waiting,
    };
    drop(lock);
    let lock = waiting.await;
    assert!(first.try_write().await.is_none());
    drop(lock);
    // The browser hears of it a moment later.
    drop(first.write().await);
}

#[wasm_bindgen_test]
async fn a_lock_that_nobody_waits_for_any_more_is_released() {
    let lock = WriteLock::try_take("given up").await.unwrap();
    {
        let (waiting, quiet) = (pin!(WriteLock::take("given up")), pin!(quiet()));
        let ended = future::select(waiting, quiet).await;
        assert!(matches!(ended, Either::Right(_)));
    }
    drop(lock);
    let patience = pin!(TimeoutFuture::new(10_000));
    let taking = pin!(WriteLock::take("given up"));
    let taken = future::select(taking, patience).await;
    assert!(matches!(taken, Either::Left(_)), "it is still held");
}

#[wasm_bindgen_test]
async fn without_locks_everyone_may() {
    let _hidden = Hidden::new("navigator", "return {};");
    let first = WriteLock::try_take("none").await;
    assert!(first.is_some() && WriteLock::try_take("none").await.is_some());
    drop(WriteLock::take("none").await);
}

#[wasm_bindgen_test]
async fn a_lock_that_the_browser_refuses_stops_nobody() {
    let refuse =
        "return {locks: {request: async () => { throw new DOMException('', 'SecurityError') }}};";
    let _hidden = Hidden::new("navigator", refuse);
    let first = WriteLock::try_take("refused").await;
    assert!(first.is_some() && WriteLock::try_take("refused").await.is_some());
}

#[wasm_bindgen_test]
async fn nobody_sweeps_while_somebody_writes() {
    let store = fresh("busy").await;
    keep(&store, "busy", 1).await;
    script::run(
        "await change(a, (files, marks, models, pieces) => pieces.put('orphan', ['x', 0]));",
        "busy",
        JsValue::UNDEFINED,
    )
    .await;
    let other = IdbStore::open_named("busy").await.unwrap();
    let lock = other.write().await;
    assert_eq!(store.sweep().await, Ok(None));
    assert_eq!(script::counts("busy").await, [1, 1, 1, 2, 0]);
    drop(lock);
    drop(other.write().await);
    let swept = Swept {
        pieces: 1,
        ..Swept::default()
    };
    // The lock that was just released is free once the browser has heard of it.
    let result = loop {
        if let Some(swept) = store.sweep().await.unwrap() {
            break swept;
        }
        TimeoutFuture::new(5).await;
    };
    assert_eq!(result, swept);
    assert_eq!(script::counts("busy").await, [1, 1, 1, 1, 0]);
}

#[wasm_bindgen_test]
async fn a_tab_hears_the_others_but_not_itself() {
    let (a, b, other) = (Bus::open("bus"), Bus::open("bus"), Bus::open("other bus"));
    let heard = Rc::new(RefCell::new(Vec::new()));
    for (name, bus) in [("a", &a), ("b", &b), ("other", &other)] {
        let heard = Rc::clone(&heard);
        bus.on_message(move |text| heard.borrow_mut().push((name, text)));
    }
    a.post(&serde_json::json!({"stored_bytes": 5}));
    b.post(&"β");
    for _ in 0..1000 {
        if heard.borrow().len() >= 2 {
            break;
        }
        TimeoutFuture::new(5).await;
    }
    quiet().await;
    let mut all = heard.borrow().clone();
    all.sort();
    let expected = [("a", "\"β\""), ("b", "{\"stored_bytes\":5}")];
    assert_eq!(all, expected.map(|(name, text)| (name, text.to_owned())));

    drop(b);
    a.post(&1);
    quiet().await;
    assert_eq!(heard.borrow().len(), 2);
}
