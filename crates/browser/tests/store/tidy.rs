//! Nothing stays that nobody can reach.

use paligemma_browser::store::{IdbStore, Swept};
use paligemma_checkpoint::Store;
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::script;
use crate::support::{fresh, keep, put, record};

#[wasm_bindgen_test]
async fn a_deleted_model_leaves_nothing() {
    let store = fresh("delete").await;
    let model = keep(&store, "gone", 3).await;
    let other = keep(&store, "stays", 2).await;
    for key in [model.key(), other.key()] {
        let name = IdbStore::setting_of(&key, "source");
        store.put_setting(&name, "somewhere").await.unwrap();
    }
    store.put_setting("last", "something").await.unwrap();
    assert_eq!(script::counts("delete").await, [2, 5, 2, 5, 3]);
    store.delete(&model.key()).await.unwrap();
    assert_eq!(script::counts("delete").await, [1, 2, 1, 2, 2]);
    assert_eq!(store.models().await, Ok(vec![other.clone()]));
    assert_eq!(store.marks(&model.key()).await, Ok(Vec::new()));
    // Once more does no harm.
    store.delete(&model.key()).await.unwrap();
    store.delete(&other.key()).await.unwrap();
    assert_eq!(script::counts("delete").await, [0, 0, 0, 0, 1]);
}

#[wasm_bindgen_test]
async fn orphans_are_swept_and_nothing_else() {
    let store = fresh("orphans").await;
    let whole = keep(&store, "whole", 3).await;
    let partial = record("partial", 5, 1000);
    store.put_model(&partial).await.unwrap();
    put(&store, &partial.key(), 1, 1000).await;
    put(&store, &partial.key(), 2, 1000).await;
    let deleted = keep(&store, "deleted", 4).await;
    for key in [whole.key(), deleted.key()] {
        let name = IdbStore::setting_of(&key, "source");
        store.put_setting(&name, "somewhere").await.unwrap();
    }
    store
        .put_setting("hub", "https://hub.example/a/b")
        .await
        .unwrap();
    let keys = serde_wasm_bindgen::to_value(&[deleted.key(), partial.key()]);
    script::run(
        "await change('orphans', (files, marks, models, pieces) => {
           const [deleted, partial] = a;
           models.delete(deleted);
           models.put('nonsense', 'not a key');
           models.put('nonsense', 5);
           pieces.put('no mark', [partial, 0]);
           marks.put('no piece', [partial, 3]);
           pieces.delete([partial, 2]);
           pieces.put('odd', 'odd');
           pieces.put('odd', [partial, 'odd']);
           pieces.put('odd', [partial, 1.5]);
           files.put('odd', 3);
         });",
        keys.unwrap(),
        JsValue::UNDEFINED,
    )
    .await;
    // Pieces: 4 of the deleted one, 1 without mark, 3 odd ones. Marks: 4 and 2 without piece.
    let swept = Swept {
        pieces: 8,
        marks: 6,
        files: 2,
    };
    assert_eq!(store.sweep().await, Ok(Some(swept)));
    assert_eq!(script::counts("orphans").await, [1, 4, 2, 4, 2]);
    let indices = |marks: Vec<paligemma_checkpoint::Mark>| -> Vec<usize> {
        marks.iter().map(|mark| mark.index).collect()
    };
    assert_eq!(indices(store.marks(&whole.key()).await.unwrap()), [0, 1, 2]);
    assert_eq!(indices(store.marks(&partial.key()).await.unwrap()), [1]);
    let hub = store.setting("hub").await.unwrap();
    assert_eq!(hub.unwrap(), "https://hub.example/a/b");
}

#[wasm_bindgen_test]
async fn sweeping_reads_no_piece() {
    let store = fresh("keys-only").await;
    keep(&store, "keys only", 3).await;
    let read = "if (this.name === 'pieces') throw new DOMException('No.', 'UnknownError'); \
                return original.apply(this, args);";
    let _patches = ["get", "getAll", "openCursor"]
        .map(|method| script::Patch::new("IDBObjectStore", method, read));
    assert_eq!(store.sweep().await, Ok(Some(Swept::default())));
    assert_eq!(store.overview().await.unwrap().len(), 1);
}
