//! What is put in comes out.

use futures_util::future;
use js_sys::Uint8Array;
use paligemma_browser::store::{IdbStore, estimate};
use paligemma_checkpoint::{Digest, Kept, Pieces, State, Store, StoreError};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::script;
use crate::support::{FILE, PIECE, bytes, fresh, keep, mark, piece, put, record, says};

#[wasm_bindgen_test]
async fn pieces_of_eight_mebibytes_come_back() {
    let store = fresh("pieces").await;
    let model = record("large", 3, PIECE);
    let key = model.key();
    store.put_model(&model).await.unwrap();
    // Not in order, as a repair does it.
    for index in [2, 0, 1] {
        put(&store, &key, index, PIECE).await;
    }
    let marks = store.marks(&key).await.unwrap();
    assert_eq!(marks, [0, 1, 2].map(|i| mark(i, &bytes(i, PIECE))));
    for index in 0..3 {
        let expected = bytes(index, PIECE);
        let piece = store.piece(&key, index).await.unwrap().unwrap();
        assert!(piece.to_vec() == expected, "piece {index}");
        // The browser's digest against another implementation.
        assert_eq!(store.digest(&piece).await, Ok(Digest::of(&expected)));
    }
    assert_eq!(piece(&store, &key, 3).await, Ok(None));
    assert_eq!(store.model(&key).await, Ok(Some(model)));
}

#[wasm_bindgen_test]
async fn a_part_of_a_buffer_is_stored_without_the_rest() {
    let store = fresh("part").await;
    let model = record("part", 1, 10);
    let key = model.key();
    store.put_model(&model).await.unwrap();
    let whole = Uint8Array::from(bytes(0, 1000).as_slice());
    let part = whole.subarray(100, 110);
    let expected = part.to_vec();
    store
        .put_piece(&key, &mark(0, &expected), part)
        .await
        .unwrap();
    let piece = store.piece(&key, 0).await.unwrap().unwrap();
    assert_eq!(piece.to_vec(), expected);
    assert_eq!(piece.buffer().byte_length(), 10);
}

#[wasm_bindgen_test]
async fn two_models_do_not_touch() {
    let store = fresh("two").await;
    let (a, b) = (keep(&store, "a", 2).await, keep(&store, "b", 3).await);
    let mut models = store.models().await.unwrap();
    models.sort_by_key(|record| record.plan.origin.repository.clone());
    assert_eq!(models, [a.clone(), b.clone()]);
    for (model, pieces) in [(&a, 2), (&b, 3)] {
        let kept = Kept::open(&store, model.key()).await.unwrap().unwrap();
        assert_eq!(kept.manifest().digests.len(), pieces);
        for index in 0..pieces {
            assert_eq!(
                kept.piece(index).await.unwrap().to_vec(),
                bytes(index, 1000)
            );
        }
        assert_eq!(kept.file(FILE).await.unwrap().unwrap(), b"{}");
        assert_eq!(kept.file("other").await.unwrap(), None);
    }
    store.forget(&a.key(), &[0]).await.unwrap();
    assert_eq!(store.marks(&a.key()).await.unwrap().len(), 1);
    assert_eq!(piece(&store, &a.key(), 0).await, Ok(None));
    assert_eq!(store.marks(&b.key()).await.unwrap().len(), 3);
}

#[wasm_bindgen_test]
async fn nothing_is_written_for_a_model_that_is_not_there() {
    let store = fresh("nobody").await;
    let model = record("nobody", 1, 10);
    let key = model.key();
    let piece = store.piece_of(&bytes(0, 10));
    let put = store.put_piece(&key, &mark(0, &bytes(0, 10)), piece).await;
    says(&put.unwrap_err(), &["writing piece 0", "deleted meanwhile"]);
    let put = store.put_file(&key, FILE, b"{}").await;
    says(&put.unwrap_err(), &[FILE, "deleted meanwhile"]);
    assert_eq!(script::counts("nobody").await, [0; 5]);
}

#[wasm_bindgen_test]
async fn two_thousand_marks_are_listed_in_order() {
    let store = fresh("marks").await;
    let model = record("many", 2000, 16);
    let key = model.key();
    store.put_model(&model).await.unwrap();
    // Written by hand, which pins what is on people's disks.
    script::run(
        "await change('marks', (files, marks) => {
           for (let index = 1999; index >= 0; index--) {
             const sha256 = index.toString(16).padStart(64, '0');
             const mark = JSON.stringify({index, sha256, hashing: [7, 8]});
             marks.put({mark, bytes: 16}, [a, index]);
           }
         });",
        key.to_string(),
        JsValue::UNDEFINED,
    )
    .await;
    let marks = store.marks(&key).await.unwrap();
    assert_eq!(marks.len(), 2000);
    for (index, mark) in marks.iter().enumerate() {
        assert_eq!(mark.index, index);
        assert_eq!(mark.sha256.to_string(), format!("{index:064x}"));
        assert_eq!(mark.hashing, [7, 8]);
    }
    let overview = store.overview().await.unwrap();
    assert_eq!(overview[0].stored_bytes, 32_000);
}

#[wasm_bindgen_test]
async fn times_survive_and_are_updated() {
    let before = js_sys::Date::now();
    let store = fresh("times").await;
    let model = keep(&store, "timed", 2).await;
    let key = model.key();
    let overview = store.overview().await.unwrap();
    let summary = overview[0].model.clone().unwrap();
    assert_eq!((overview.len(), overview[0].key), (1, key));
    assert_eq!(overview[0].stored_bytes, 2002);
    assert_eq!(
        (summary.total_bytes, summary.state),
        (2002, State::Complete)
    );
    assert_eq!(summary.origin, model.plan.origin);
    assert_eq!(summary.recipe, "q4");
    assert!(summary.created_ms >= before && summary.created_ms <= js_sys::Date::now());
    assert_eq!(summary.last_used_ms, 0.0);

    store.touch(&key).await.unwrap();
    let used = store.overview().await.unwrap()[0].model.clone().unwrap();
    assert!(used.last_used_ms >= summary.created_ms);
    store.put_model(&model).await.unwrap();
    let again = store.overview().await.unwrap()[0].model.clone().unwrap();
    assert_eq!(again, used);
    assert_eq!(again.created_ms, summary.created_ms);

    let other = record("not there", 1, 10).key();
    assert_eq!(store.touch(&other).await, Ok(()));
    assert_eq!(store.overview().await.unwrap().len(), 1);
}

#[wasm_bindgen_test]
async fn an_overview_counts_what_is_there() {
    let store = fresh("overview").await;
    let model = record("part", 5, 1000);
    store.put_model(&model).await.unwrap();
    put(&store, &model.key(), 0, 1000).await;
    put(&store, &model.key(), 3, 1000).await;
    let overview = store.overview().await.unwrap();
    let summary = overview[0].model.clone().unwrap();
    assert_eq!(overview[0].stored_bytes, 2000);
    assert_eq!((summary.total_bytes, summary.state), (5002, State::Partial));
    assert_eq!(
        Kept::open(&store, model.key()).await.map(|k| k.is_some()),
        Ok(false)
    );
}

#[wasm_bindgen_test]
async fn settings_are_remembered() {
    let store = fresh("settings").await;
    assert_eq!(store.setting("last").await, Ok(None));
    store.put_setting("last", "one").await.unwrap();
    store.put_setting("last", "two ✓").await.unwrap();
    let again = IdbStore::open_named("settings").await.unwrap();
    assert_eq!(again.setting("last").await, Ok(Some("two ✓".to_owned())));
    again.remove_setting("last").await.unwrap();
    assert_eq!(store.setting("last").await, Ok(None));
}

#[wasm_bindgen_test]
async fn operations_at_once_share_a_connection() {
    let store = fresh("at-once").await;
    let model = record("at once", 2, 1000);
    let key = model.key();
    store.put_model(&model).await.unwrap();
    future::join(put(&store, &key, 0, 1000), put(&store, &key, 1, 1000)).await;
    let both = future::join(piece(&store, &key, 0), piece(&store, &key, 1)).await;
    let expected = [0, 1].map(|index| Ok(Some(bytes(index, 1000))));
    assert_eq!([both.0, both.1], expected);
}

#[wasm_bindgen_test]
async fn the_browser_tells_how_much_room_there_is() {
    let store = fresh("room").await;
    let model = keep(&store, "some", 3).await;
    let room = estimate().await;
    assert!(room.quota.unwrap() > 1 << 20, "{room:?}");
    assert!(room.usage.unwrap() < room.quota.unwrap(), "{room:?}");
    assert!(matches!(
        store.model(&model.key()).await,
        Ok::<_, StoreError>(Some(_))
    ));
}
