//! Databases of other versions, and tabs that want one.

use paligemma_browser::store::IdbStore;
use paligemma_checkpoint::{Digest, Kept, Pieces, State, Store, StoreError};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::script;
use crate::support::{FILE, bytes, fresh, keep, piece, record, says, wipe};

/// A database of version 1 with one complete model, made by hand. `b` is the model's record.
const VERSION_1: &str = "
    const db = await open(a, 1, db => {
      for (const name of ['models', 'pieces', 'marks', 'files']) db.createObjectStore(name);
    });
    const {key, record, pieces, digests} = b;
    const transaction = db.transaction(['models', 'pieces', 'marks', 'files'], 'readwrite');
    const store = name => transaction.objectStore(name);
    store('models').put(record, key);
    store('models').put(7, 'f'.repeat(64));
    store('files').put(new TextEncoder().encode('{}'), [key, 'config.json']);
    pieces.forEach((piece, index) => {
      const mark = JSON.stringify({index, sha256: digests[index], hashing: []});
      store('pieces').put(piece, [key, index]);
      store('marks').put({mark, bytes: piece.length}, [key, index]);
    });
    await complete(transaction);
    db.close();";

#[wasm_bindgen_test]
async fn a_database_of_version_1_is_brought_up_to_date() {
    wipe("old").await;
    let mut model = record("old", 2, 1000);
    model.state = State::Complete;
    let key = model.key();
    let pieces = [0, 1].map(|index| bytes(index, 1000));
    let given = js_sys::Object::new();
    let set = |name: &str, value: JsValue| {
        js_sys::Reflect::set(&given, &name.into(), &value).unwrap();
    };
    set("key", key.to_string().into());
    set("record", serde_json::to_string(&model).unwrap().into());
    let arrays = pieces
        .iter()
        .map(|p| js_sys::Uint8Array::from(p.as_slice()));
    set("pieces", arrays.collect::<js_sys::Array>().into());
    let digests = pieces
        .iter()
        .map(|p| JsValue::from(Digest::of(p).to_string()));
    set("digests", digests.collect::<js_sys::Array>().into());
    script::run(VERSION_1, "old", given).await;

    let before = js_sys::Date::now();
    let store = IdbStore::open_named("old").await.unwrap();
    assert_eq!(store.models().await, Ok(vec![model.clone()]));
    let kept = Kept::open(&store, key).await.unwrap().unwrap();
    for (index, expected) in pieces.iter().enumerate() {
        assert_eq!(&kept.piece(index).await.unwrap().to_vec(), expected);
    }
    assert_eq!(kept.file(FILE).await.unwrap().unwrap(), b"{}");
    let overview = store.overview().await.unwrap();
    assert_eq!(overview.len(), 2);
    let summary = overview
        .iter()
        .find(|m| m.key == key)
        .unwrap()
        .model
        .clone()
        .unwrap();
    assert!(summary.created_ms >= before && summary.created_ms <= js_sys::Date::now());
    assert_eq!(summary.last_used_ms, 0.0);
    // What was damaged before is damaged still.
    assert_eq!(overview.iter().filter(|m| m.model.is_none()).count(), 1);
    store.put_setting("new", "in version 2").await.unwrap();
    let version = script::run(
        "const db = await open(a); db.close(); return db.version;",
        "old",
        JsValue::UNDEFINED,
    );
    assert_eq!(version.await, 2);
}

#[wasm_bindgen_test]
async fn an_update_that_fails_leaves_the_old_database() {
    wipe("half").await;
    let given = script::run(
        "return {key: 'k', record: 'r', pieces: [], digests: []};",
        JsValue::UNDEFINED,
        JsValue::UNDEFINED,
    )
    .await;
    script::run(VERSION_1, "half", given).await;
    {
        let _patch = script::Patch::new(
            "IDBDatabase",
            "createObjectStore",
            "throw new DOMException('No.', 'ConstraintError');",
        );
        let error = IdbStore::open_named("half").await.unwrap_err();
        says(&error, &["opening the model store", "try again"]);
    }
    {
        let _patch = script::Patch::new(
            "IDBObjectStore",
            "put",
            "throw new DOMException('No.', 'QuotaExceededError');",
        );
        let error = IdbStore::open_named("half").await.unwrap_err();
        says(&error, &["the model store"]);
    }
    let before = script::run(
        "const db = await open(a); db.close();
         return db.version + [...db.objectStoreNames].join();",
        "half",
        JsValue::UNDEFINED,
    );
    assert_eq!(before.await, "1files,marks,models,pieces");
    assert!(IdbStore::open_named("half").await.is_ok());
}

#[wasm_bindgen_test]
async fn a_newer_database_is_left_alone() {
    let store = fresh("newer").await;
    let model = keep(&store, "newer", 1).await;
    // Another tab updates: it would wait for ever if the store did not close its connection.
    script::run(
        "const db = await open(a, 3, db => db.createObjectStore('more')); db.close();",
        "newer",
        JsValue::UNDEFINED,
    )
    .await;
    assert_eq!(store.model(&model.key()).await, Err(StoreError::Newer));
    assert_eq!(piece(&store, &model.key(), 0).await, Err(StoreError::Newer));
    let error = IdbStore::open_named("newer").await.unwrap_err();
    assert_eq!(error, StoreError::Newer);
    says(&error, &["newer", "reload"]);
    assert_eq!(
        script::run(
            "return change(a, (files, marks, models) => done(models.count()));",
            "newer",
            JsValue::UNDEFINED
        )
        .await,
        1
    );
}

#[wasm_bindgen_test]
async fn a_database_that_the_person_clears_is_made_again() {
    let store = fresh("cleared").await;
    let other = IdbStore::open_named("cleared").await.unwrap();
    let model = keep(&store, "cleared", 1).await;
    assert_eq!(other.model(&model.key()).await, Ok(Some(model.clone())));
    // It would wait for ever if a store did not close its connection.
    wipe("cleared").await;
    assert_eq!(store.models().await, Ok(Vec::new()));
    assert_eq!(other.model(&model.key()).await, Ok(None));
    keep(&other, "cleared", 1).await;
    assert_eq!(store.models().await.unwrap().len(), 1);
}

#[wasm_bindgen_test]
async fn an_old_tab_that_does_not_listen_is_not_waited_for_for_ever() {
    wipe("blocked").await;
    let old = script::run(
        "return open(a, 1, db => {
           for (const name of ['models', 'pieces', 'marks', 'files']) db.createObjectStore(name);
         });",
        "blocked",
        JsValue::UNDEFINED,
    )
    .await;
    let error = IdbStore::open_named("blocked").await.unwrap_err();
    says(&error, &["another tab", "close the other tabs"]);
    script::run("a.close();", old, JsValue::UNDEFINED).await;
    assert!(IdbStore::open_named("blocked").await.is_ok());
    // What was opened too late does not block others in turn.
    wipe("blocked").await;
}
