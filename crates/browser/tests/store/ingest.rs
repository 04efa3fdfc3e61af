//! A checkpoint on its way into the store: interrupted, resumed, the same as elsewhere.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use js_sys::Uint8Array;
use paligemma_browser::store::IdbStore;
use paligemma_checkpoint::{
    Checkpoint, Digest, Ingest, Kept, Manifest, Mark, MemorySource, ModelKey, Origin, Pieces, Plan,
    Progress, Recipe, Record, State, Store, StoreError,
};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::script::Patch;
use crate::support::fresh;

/// Small enough that the checkpoint makes several.
const PIECE: usize = 128 << 10;

macro_rules! checkpoint {
    ($($file:literal),*) => {
        [$((
            $file,
            include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/fixtures/pg1_gqa_bf16/model/",
                $file
            ))
            .as_slice(),
        )),*]
        .into_iter()
        .collect::<MemorySource>()
    };
}

async fn checkpoint() -> Checkpoint<MemorySource> {
    let source = checkpoint!(
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json"
    );
    Checkpoint::open(source).await.unwrap()
}

async fn plan(checkpoint: &Checkpoint<MemorySource>, recipe: &Recipe) -> Plan {
    Plan::in_pieces_of(PIECE, checkpoint, Origin::default(), recipe)
        .await
        .unwrap()
}

/// A store in memory, to compare with.
#[derive(Default)]
struct Memory {
    pieces: RefCell<BTreeMap<usize, Vec<u8>>>,
    marks: RefCell<BTreeMap<usize, Mark>>,
    files: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl Store for Memory {
    type Piece = Vec<u8>;

    async fn models(&self) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    async fn model(&self, _: &ModelKey) -> Result<Option<Record>, StoreError> {
        Ok(None)
    }

    async fn put_model(&self, _: &Record) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete(&self, _: &ModelKey) -> Result<(), StoreError> {
        Ok(())
    }

    async fn marks(&self, _: &ModelKey) -> Result<Vec<Mark>, StoreError> {
        Ok(self.marks.borrow().values().cloned().collect())
    }

    fn piece_of(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    async fn digest(&self, piece: &Vec<u8>) -> Result<Digest, StoreError> {
        Ok(Digest::of(piece))
    }

    async fn put_piece(&self, _: &ModelKey, mark: &Mark, piece: Vec<u8>) -> Result<(), StoreError> {
        self.pieces.borrow_mut().insert(mark.index, piece);
        self.marks.borrow_mut().insert(mark.index, mark.clone());
        Ok(())
    }

    async fn piece(&self, _: &ModelKey, index: usize) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.pieces.borrow().get(&index).cloned())
    }

    async fn forget(&self, _: &ModelKey, _: &[usize]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn put_file(&self, _: &ModelKey, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut files = self.files.borrow_mut();
        files.insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    async fn file(&self, _: &ModelKey, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.borrow().get(path).cloned())
    }
}

/// Runs until so many bytes are stored, and drops everything in the middle of what comes next.
async fn interrupted(
    checkpoint: &Checkpoint<MemorySource>,
    plan: &Plan,
    store: &IdbStore,
    after: u64,
) {
    let enough = Cell::new(false);
    let mut on_progress = |progress: Progress| enough.set(progress.stored_bytes >= after);
    let ingest = Ingest::quantize(checkpoint, plan.clone(), store);
    let mut running = pin!(ingest.run(&mut on_progress));
    poll_fn(|context| match running.as_mut().poll(context) {
        Poll::Ready(_) => panic!("it was not interrupted"),
        Poll::Pending if enough.get() => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    })
    .await;
}

async fn assert_same(store: &IdbStore, manifest: &Manifest, expected: Memory) {
    let kept = Kept::open(store, manifest.plan.key()).await.unwrap();
    let kept = kept.unwrap();
    assert_eq!(kept.manifest(), manifest);
    let pieces = expected.pieces.into_inner();
    assert_eq!(manifest.plan.pieces(), pieces.len());
    for (index, bytes) in pieces {
        let piece: Uint8Array = kept.piece(index).await.unwrap();
        assert!(piece.to_vec() == bytes, "piece {index}");
        assert_eq!(manifest.digests[index], Digest::of(&bytes));
    }
    let files = expected.files.into_inner();
    assert_eq!(manifest.plan.files.len(), files.len());
    for (path, bytes) in files {
        let file = kept.file(&path).await.unwrap();
        assert!(file.as_ref() == Some(&bytes), "{path}");
    }
}

#[wasm_bindgen_test]
async fn an_interrupted_model_is_resumed_and_the_same_as_elsewhere() {
    let store = fresh("ingest").await;
    let checkpoint = checkpoint().await;
    for recipe in [Recipe::AS_STORED, Recipe::Q4] {
        let plan = plan(&checkpoint, &recipe).await;
        let (key, pieces) = (plan.key(), plan.pieces());
        assert!(pieces >= 4, "{pieces} pieces");
        let memory = Memory::default();
        let elsewhere = Ingest::quantize(&checkpoint, plan.clone(), &memory);
        let elsewhere = elsewhere.run(&mut |_| ()).await.unwrap();

        interrupted(&checkpoint, &plan, &store, 0).await;
        interrupted(&checkpoint, &plan, &store, 1).await;
        interrupted(&checkpoint, &plan, &store, 2 * PIECE as u64).await;
        let record = store.model(&key).await.unwrap().unwrap();
        assert_eq!(record.state, State::Partial);
        assert!(Kept::open(&store, key).await.unwrap().is_none());
        let before = store.marks(&key).await.unwrap().len();
        assert!((2..pieces).contains(&before), "{before} of {pieces}");

        // What is there is not written again.
        let count = Patch::new(
            "IDBObjectStore",
            "put",
            "if (this.name === 'pieces') self.putPieces = (self.putPieces ?? 0) + 1;
             return original.apply(this, args);",
        );
        let ingest = Ingest::quantize(&checkpoint, plan.clone(), &store);
        let manifest = ingest.run(&mut |_| ()).await.unwrap();
        drop(count);
        let written = js_sys::Reflect::get(&js_sys::global(), &"putPieces".into()).unwrap();
        // One may have been on its way when the last one was interrupted.
        let missing = pieces - before;
        let written = written.as_f64().unwrap() as usize;
        assert!((missing - 1..=missing).contains(&written), "{written}");
        js_sys::Reflect::delete_property(&js_sys::global(), &"putPieces".into()).unwrap();

        assert_eq!(manifest, elsewhere);
        assert_same(&store, &manifest, memory).await;
        let record = store.model(&key).await.unwrap().unwrap();
        assert_eq!(record.state, State::Complete);
    }
}
