//! Databases and models to keep in them.

use paligemma_browser::store::IdbStore;
use paligemma_checkpoint::{
    Digest, Mark, ModelKey, Origin, Plan, Record, SideFile, State, Store, StoreError,
};
use wasm_bindgen::JsValue;

use crate::script;

/// What the page uses.
pub(crate) const PIECE: usize = 8 << 20;

/// The side file of every model here.
pub(crate) const FILE: &str = "config.json";

/// An empty database for one test.
pub(crate) async fn fresh(name: &str) -> IdbStore {
    wipe(name).await;
    IdbStore::open_named(name).await.unwrap()
}

pub(crate) async fn wipe(name: &str) {
    script::run(
        "await done(indexedDB.deleteDatabase(a));",
        name,
        JsValue::UNDEFINED,
    )
    .await;
}

/// A model of as many pieces, which is not there yet.
pub(crate) fn record(title: &str, pieces: usize, piece_bytes: usize) -> Record {
    Record {
        plan: Plan {
            adapter: None,
            pieces_sha256: None,
            origin: Origin {
                repository: Some(title.to_owned()),
                commit: None,
            },
            recipe: "q4".to_owned(),
            inputs: Vec::new(),
            files: vec![SideFile {
                path: FILE.to_owned(),
                bytes: 2,
                sha256: None,
                validator: None,
            }],
            piece_bytes,
            bytes: (pieces * piece_bytes) as u64,
            tensors: Vec::new(),
        },
        state: State::Partial,
    }
}

/// The bytes of a piece: others for each index, and in each place.
pub(crate) fn bytes(index: usize, length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(index as u32 + 1);
    let words = (0..length.div_ceil(4)).flat_map(|_| {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    });
    words.take(length).collect()
}

pub(crate) fn mark(index: usize, bytes: &[u8]) -> Mark {
    Mark {
        index,
        sha256: Digest::of(bytes),
        hashing: vec![1, 2, 255],
    }
}

/// Writes a piece of the model with its mark.
pub(crate) async fn put(store: &IdbStore, key: &ModelKey, index: usize, length: usize) {
    let bytes = bytes(index, length);
    let piece = store.piece_of(&bytes);
    store
        .put_piece(key, &mark(index, &bytes), piece)
        .await
        .unwrap();
}

/// What is stored as a piece.
pub(crate) async fn piece(
    store: &IdbStore,
    key: &ModelKey,
    index: usize,
) -> Result<Option<Vec<u8>>, StoreError> {
    let piece = store.piece(key, index).await?;
    Ok(piece.map(|piece| piece.to_vec()))
}

/// Writes all of a small model.
pub(crate) async fn keep(store: &IdbStore, title: &str, pieces: usize) -> Record {
    let mut record = record(title, pieces, 1000);
    let key = record.key();
    store.put_model(&record).await.unwrap();
    store.put_file(&key, FILE, b"{}").await.unwrap();
    for index in 0..pieces {
        put(store, &key, index, 1000).await;
    }
    record.state = State::Complete;
    store.put_model(&record).await.unwrap();
    record
}

/// What an error says to a person, who has to be told what to do: that follows a colon.
#[track_caller]
pub(crate) fn says(error: &impl ToString, parts: &[&str]) {
    let message = error.to_string();
    for part in parts.iter().chain([&": "]) {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}
