//! A worker that ends in the middle of writing, as when a tab crashes or is closed.

use std::cell::Cell;
use std::rc::Rc;

use gloo_timers::future::TimeoutFuture;
use js_sys::Array;
use paligemma_browser::store::{IdbStore, Swept};
use paligemma_checkpoint::{Digest, State, Store};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{
    Blob, BlobPropertyBag, DedicatedWorkerGlobalScope, MessageEvent, Url, Worker, WorkerOptions,
    WorkerType,
};

use crate::support::{PIECE, bytes, fresh, mark, put, record};

const PIECES: usize = 16;

/// What the worker does: it writes piece after piece, and says so.
#[wasm_bindgen]
#[expect(unreachable_pub, reason = "it is for the worker's script")]
pub fn write_pieces(database: String) {
    spawn_local(async move {
        let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
        let store = IdbStore::open_named(&database).await.unwrap();
        let _lock = store.write().await;
        let key = record(&database, PIECES, PIECE).key();
        for index in 0..PIECES {
            let bytes = bytes(index, PIECE);
            let piece = store.piece_of(&bytes);
            scope.post_message(&"begins".into()).unwrap();
            store
                .put_piece(&key, &mark(index, &bytes), piece)
                .await
                .unwrap();
            scope.post_message(&"written".into()).unwrap();
        }
    });
}

/// Starts a worker with this test's own module.
fn start(database: &str) -> Worker {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let origin = scope.location().origin();
    let script = format!(
        "import init, {{write_pieces}} from '{origin}/wasm-bindgen-test.js';
         await init({{module_or_path: '{origin}/wasm-bindgen-test_bg.wasm'}});
         write_pieces('{database}');"
    );
    let kind = BlobPropertyBag::new();
    kind.set_type("text/javascript");
    let parts = Array::of1(&JsValue::from_str(&script));
    let blob = Blob::new_with_str_sequence_and_options(&parts, &kind).unwrap();
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    let url = Url::create_object_url_with_blob(&blob).unwrap();
    Worker::new_with_options(&url, &options).unwrap()
}

/// Lets a worker write until it has written so many pieces, and a while into the next.
async fn kill_after(database: &str, written: usize, delay_ms: u32) {
    let worker = start(database);
    let (begun, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let listener = Closure::<dyn FnMut(MessageEvent)>::new({
        let (begun, done) = (Rc::clone(&begun), Rc::clone(&done));
        move |event: MessageEvent| match event.data().as_string().as_deref() {
            Some("begins") => begun.set(begun.get() + 1),
            Some("written") => done.set(done.get() + 1),
            _ => {}
        }
    });
    worker.set_onmessage(Some(listener.as_ref().unchecked_ref()));
    let mut waited = 0;
    while done.get() < written || begun.get() <= written {
        waited += 1;
        assert!(waited < 12_000, "the worker wrote {}", done.get());
        TimeoutFuture::new(5).await;
    }
    TimeoutFuture::new(delay_ms).await;
    worker.terminate();
    worker.set_onmessage(None);
}

#[wasm_bindgen_test]
async fn what_a_killed_worker_wrote_is_whole_and_the_rest_can_follow() {
    for (written, delay_ms) in [(1, 0), (3, 15), (2, 40)] {
        let store = fresh("killed").await;
        let mut model = record("killed", PIECES, PIECE);
        let key = model.key();
        store.put_model(&model).await.unwrap();
        kill_after("killed", written, delay_ms).await;

        // The lock is free again, as its holder is gone.
        let lock = store.write().await;
        let marks = store.marks(&key).await.unwrap();
        assert!(marks.len() >= written, "{} of {written}", marks.len());
        assert!(marks.len() < PIECES, "it was killed too late");
        for (index, mark) in marks.iter().enumerate() {
            assert_eq!(mark.index, index);
            let piece = store.piece(&key, index).await.unwrap().unwrap();
            assert_eq!(store.digest(&piece).await.unwrap(), mark.sha256);
            assert_eq!(mark.sha256, Digest::of(&bytes(index, PIECE)));
        }
        drop(lock);
        let swept = loop {
            if let Some(swept) = store.sweep().await.unwrap() {
                break swept;
            }
            TimeoutFuture::new(5).await;
        };
        // No piece lacked its mark, no mark its piece.
        assert_eq!(swept, Swept::default());
        for index in marks.len()..PIECES {
            put(&store, &key, index, PIECE).await;
        }
        model.state = State::Complete;
        store.put_model(&model).await.unwrap();
        assert_eq!(store.marks(&key).await.unwrap().len(), PIECES);
    }
}
