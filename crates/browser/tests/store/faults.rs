//! What the browser can do to a store, by its own methods made to fail.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use gloo_timers::future::TimeoutFuture;
use paligemma_browser::store::IdbStore;
use paligemma_checkpoint::{Store, StoreError};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::script::{self, Hidden, Patch};
use crate::support::{bytes, fresh, keep, mark, piece, put, record, says, wipe};

#[wasm_bindgen_test]
async fn without_room_what_is_there_stays() {
    let store = fresh("full").await;
    let model = record("full", 4, 1000);
    let key = model.key();
    store.put_model(&model).await.unwrap();
    put(&store, &key, 0, 1000).await;
    let full = StoreError::Full {
        what: "piece 2".to_owned(),
    };
    let second = || async {
        let piece = store.piece_of(&bytes(2, 1000));
        store
            .put_piece(&key, &mark(2, &bytes(2, 1000)), piece)
            .await
    };
    {
        // Refused when it is asked for: the third value is that of piece 2.
        let _patch = Patch::new(
            "IDBObjectStore",
            "put",
            "if (count === 2) throw new DOMException('No.', 'QuotaExceededError');
             return original.apply(this, args);",
        );
        put(&store, &key, 1, 1000).await;
        assert_eq!(second().await, Err(full.clone()));
    }
    assert_eq!(script::counts("full").await, [0, 2, 1, 2, 0]);
    {
        // Refused after the piece has been accepted.
        let _patch = Patch::new(
            "IDBObjectStore",
            "put",
            "if (count === 1) throw new DOMException('No.', 'QuotaExceededError');
             return original.apply(this, args);",
        );
        assert_eq!(second().await, Err(full.clone()));
    }
    assert_eq!(script::counts("full").await, [0, 2, 1, 2, 0]);
    {
        // Refused when it is to be written to the disk, as browsers do it.
        let _patch = Patch::new(
            "IDBObjectStore",
            "put",
            "const request = original.apply(this, args);
             const transaction = this.transaction;
             if (count === 1) request.addEventListener('success', () => {
               const error = new DOMException('No.', 'QuotaExceededError');
               Object.defineProperty(transaction, 'error', {value: error});
               transaction.abort();
             });
             return request;",
        );
        assert_eq!(second().await, Err(full.clone()));
    }
    says(&full, &["piece 2", "free disk space", "is kept"]);
    assert_eq!(script::counts("full").await, [0, 2, 1, 2, 0]);
    assert_eq!(store.marks(&key).await.unwrap().len(), 2);
    assert_eq!(piece(&store, &key, 1).await, Ok(Some(bytes(1, 1000))));
    assert_eq!(second().await, Ok(()));
    assert_eq!(store.marks(&key).await.unwrap().len(), 3);
}

#[wasm_bindgen_test]
async fn a_closed_connection_is_opened_again() {
    let store = fresh("closed").await;
    let model = keep(&store, "closed", 2).await;
    let key = model.key();
    for method in [
        // As after another tab wanted to update.
        "if (count === 0) this.close(); return original.apply(this, args);",
        // As WebKit says it after a laptop slept.
        "if (count === 0) throw new DOMException('Connection lost.', 'UnknownError');
         return original.apply(this, args);",
        // As when the browser takes it back on the way.
        "const transaction = original.apply(this, args);
         if (count === 0) transaction.abort();
         return transaction;",
        "const transaction = original.apply(this, args);
         if (count === 0) setTimeout(() => { try { transaction.abort() } catch {} });
         return transaction;",
    ] {
        let _patch = Patch::new("IDBDatabase", "transaction", method);
        let stored = piece(&store, &key, 1).await;
        assert_eq!(stored, Ok(Some(bytes(1, 1000))), "{method}");
        put(&store, &key, 1, 1000).await;
        assert_eq!(store.model(&key).await, Ok(Some(model.clone())), "{method}");
    }
    assert_eq!(script::counts("closed").await, [1, 2, 1, 2, 0]);
}

#[wasm_bindgen_test]
async fn a_connection_that_stays_closed_is_an_error() {
    let store = fresh("stays-closed").await;
    let model = keep(&store, "stays closed", 1).await;
    {
        let _patch = Patch::new(
            "IDBDatabase",
            "transaction",
            "throw new DOMException('Connection lost.', 'UnknownError');",
        );
        let error = store.piece(&model.key(), 0).await.unwrap_err();
        says(&error, &["reading piece 0", "Connection lost", "try again"]);
    }
    assert!(store.piece(&model.key(), 0).await.unwrap().is_some());
}

#[wasm_bindgen_test]
async fn a_value_that_the_browser_lost_is_missing() {
    let store = fresh("lost").await;
    let model = keep(&store, "lost", 1).await;
    let other = keep(&store, "other", 1).await;
    let key = model.key();
    let script = format!(
        "if (this.name === 'pieces' || args[0] === '{key}') \
           throw new DOMException('Data lost due to missing file.', 'NotReadableError'); \
         return original.apply(this, args);"
    );
    let _patch = Patch::new("IDBObjectStore", "get", &script);
    assert_eq!(piece(&store, &key, 0).await, Ok(None));
    assert_eq!(store.models().await, Ok(vec![other]));
    let record = store.model(&key).await;
    assert!(matches!(record, Err(StoreError::Damaged { .. })));
    assert_eq!(store.overview().await.unwrap().len(), 2);
    // It can be written again.
    assert_eq!(store.put_model(&model).await, Ok(()));
}

#[wasm_bindgen_test]
async fn no_database_is_said_with_what_to_do() {
    for getter in [
        "return undefined;",
        "throw new DOMException('Denied.', 'SecurityError');",
    ] {
        let _hidden = Hidden::new("indexedDB", getter);
        let error = IdbStore::open_named("none").await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        says(&error, &["no database", "private", "without keeping"]);
    }
    for (name, parts) in [
        ("SecurityError", ["refuses", "private"]),
        ("InvalidStateError", ["refuses", "private"]),
        ("UnknownError", ["opening the model store", "try again"]),
        ("QuotaExceededError", ["no room", "free disk space"]),
    ] {
        let script = format!("throw new DOMException('No.', '{name}');");
        let _patch = Patch::new("IDBFactory", "open", &script);
        let error = IdbStore::open_named("none").await.unwrap_err();
        says(&error, &parts);
    }
}

/// Starts what a future does, and drops it.
fn start(future: impl Future) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(future.as_mut().poll(&mut context), Poll::Pending));
}

#[wasm_bindgen_test]
async fn an_operation_that_nobody_waits_for_ends_well() {
    // A handler that was dropped too early would be an error that nobody handles.
    script::run(
        "self.unhandled = []; self.hear = event => self.unhandled.push(String(event.message));
         self.addEventListener('error', self.hear);
         self.addEventListener('unhandledrejection', self.hear);",
        JsValue::UNDEFINED,
        JsValue::UNDEFINED,
    )
    .await;
    wipe("dropped").await;
    start(IdbStore::open_named("dropped"));
    let store = IdbStore::open_named("dropped").await.unwrap();
    let model = record("dropped", 1, 100_000);
    let key = model.key();
    start(store.put_model(&model));
    store.put_model(&model).await.unwrap();
    let bytes = bytes(0, 100_000);
    start(store.put_piece(&key, &mark(0, &bytes), store.piece_of(&bytes)));
    start(store.piece(&key, 0));
    start(store.marks(&key));
    start(store.sweep());
    let mut waited = 0;
    while store.marks(&key).await.unwrap().is_empty() {
        waited += 1;
        assert!(waited < 200, "the piece was never written");
        TimeoutFuture::new(10).await;
    }
    assert_eq!(piece(&store, &key, 0).await, Ok(Some(bytes)));
    TimeoutFuture::new(50).await;
    let unhandled = script::run(
        "self.removeEventListener('error', self.hear);
         self.removeEventListener('unhandledrejection', self.hear);
         return self.unhandled.join();",
        JsValue::UNDEFINED,
        JsValue::UNDEFINED,
    )
    .await;
    assert_eq!(unhandled.as_string().unwrap(), "");
}
