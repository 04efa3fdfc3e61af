//! What comes back other than it went in is noticed, and can be put right.

use paligemma_checkpoint::{Kept, PackedError, Pieces, Store, StoreError};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::script;
use crate::support::{bytes, fresh, keep, put, record, says};

async fn piece_error(kept: &Kept<'_, impl Store>, index: usize) -> Option<PackedError> {
    kept.piece(index).await.err()
}

#[wasm_bindgen_test]
async fn a_flipped_bit_is_found_and_repaired() {
    let store = fresh("flipped").await;
    let model = keep(&store, "flipped", 3).await;
    let key = model.key();
    script::run(
        "await change('flipped', async (files, marks, models, pieces) => {
           const piece = await done(pieces.get([a, 1]));
           piece[500] ^= 1;
           pieces.put(piece, [a, 1]);
         });",
        key.to_string(),
        JsValue::UNDEFINED,
    )
    .await;
    let kept = Kept::open(&store, key).await.unwrap().unwrap();
    let damaged = PackedError::Piece {
        index: 1,
        what: "damaged",
    };
    assert_eq!(piece_error(&kept, 0).await, None);
    assert_eq!(piece_error(&kept, 1).await, Some(damaged));
    assert_eq!(piece_error(&kept, 2).await, None);

    store.forget(&key, &[1]).await.unwrap();
    let missing = PackedError::Piece {
        index: 1,
        what: "missing",
    };
    assert_eq!(Kept::open(&store, key).await.err(), Some(missing));
    put(&store, &key, 1, 1000).await;
    let kept = Kept::open(&store, key).await.unwrap().unwrap();
    assert_eq!(kept.piece(1).await.unwrap().to_vec(), bytes(1, 1000));
}

#[wasm_bindgen_test]
async fn a_piece_that_is_no_piece_is_missing() {
    let store = fresh("no-piece").await;
    let model = keep(&store, "no piece", 2).await;
    let key = model.key();
    script::run(
        "await change('no-piece', (files, marks, models, pieces) => {
           pieces.put('text', [a, 0]);
           pieces.delete([a, 1]);
         });",
        key.to_string(),
        JsValue::UNDEFINED,
    )
    .await;
    let kept = Kept::open(&store, key).await.unwrap().unwrap();
    for index in 0..2 {
        let missing = PackedError::Piece {
            index,
            what: "missing",
        };
        assert_eq!(piece_error(&kept, index).await, Some(missing));
    }
}

#[wasm_bindgen_test]
async fn a_mark_that_is_no_mark_does_not_count() {
    let store = fresh("no-mark").await;
    let model = keep(&store, "no mark", 4).await;
    let key = model.key();
    script::run(
        "await change('no-mark', async (files, marks) => {
           marks.put(17, [a, 0]);
           marks.put({mark: '{', bytes: 1000}, [a, 1]);
           // That of another piece.
           marks.put(await done(marks.get([a, 3])), [a, 2]);
         });",
        key.to_string(),
        JsValue::UNDEFINED,
    )
    .await;
    let indices = store.marks(&key).await.unwrap();
    let indices: Vec<usize> = indices.iter().map(|mark| mark.index).collect();
    assert_eq!(indices, [3]);
}

#[wasm_bindgen_test]
async fn a_damaged_record_is_left_out_and_can_be_deleted() {
    let store = fresh("damaged").await;
    let sound = keep(&store, "sound", 1).await;
    for (title, damage) in [
        ("text", "'{'"),
        ("empty", "{}"),
        ("not JSON", "{...value, record: value.record.slice(1)}"),
        (
            "changed",
            "{...value, record: value.record.replace('q4', 'q8')}",
        ),
    ] {
        let key = keep(&store, title, 2).await.key();
        script::run(
            &format!(
                "await change('damaged', async (files, marks, models) => {{
                   const value = await done(models.get(a));
                   models.put({damage}, a);
                 }});"
            ),
            key.to_string(),
            JsValue::UNDEFINED,
        )
        .await;
        assert_eq!(store.models().await, Ok(vec![sound.clone()]), "{title}");
        let model = store.model(&key).await.unwrap_err();
        assert!(matches!(model, StoreError::Damaged { .. }), "{title}");
        says(&model, &["the record of model", "delete the model"]);

        let overview = store.overview().await.unwrap();
        let damaged = overview.iter().find(|model| model.key == key).unwrap();
        assert_eq!((overview.len(), &damaged.model), (2, &None), "{title}");
        assert_eq!(damaged.stored_bytes, 2000, "{title}");
        // A sweep leaves it to the person.
        store.sweep().await.unwrap().unwrap();
        assert_eq!(store.overview().await.unwrap().len(), 2, "{title}");

        store.delete(&key).await.unwrap();
        assert_eq!(store.model(&key).await, Ok(None));
        assert_eq!(script::counts("damaged").await, [1, 1, 1, 1, 0], "{title}");
    }
}

#[wasm_bindgen_test]
async fn a_damaged_record_can_be_written_anew() {
    let store = fresh("anew").await;
    let model = record("anew", 1, 10);
    store.put_model(&model).await.unwrap();
    script::run(
        "await change('anew', (files, marks, models) => models.put(5, a));",
        model.key().to_string(),
        JsValue::UNDEFINED,
    )
    .await;
    store.put_model(&model).await.unwrap();
    assert_eq!(store.models().await, Ok(vec![model]));
}
