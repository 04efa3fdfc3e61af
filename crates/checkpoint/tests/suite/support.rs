//! Checkpoints to read, and ways to break them.

use paligemma_checkpoint::{Checkpoint, MemorySource, Source, SourceError};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;

/// Every checkpoint in the repository, between them both families, one file
/// and shards, float32 and bfloat16, two layouts.
pub(crate) const FIXTURES: [&str; 6] = [
    "tests/fixtures/pg1_mqa/model",
    "tests/fixtures/pg1_gqa_bf16/model",
    "tests/fixtures/pg2_gqa/model",
    "tests/fixtures/pg2_odd/model",
    "tests/fixtures/pg2_q128/model",
    "web/demo/model",
];

/// In one file, layout A, float32.
pub(crate) const SINGLE: &str = FIXTURES[0];
/// In two shards, layout A, float32.
pub(crate) const SHARDED: &str = FIXTURES[3];

pub(crate) fn folder(fixture: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(fixture)
}

pub(crate) fn memory(fixture: &str) -> MemorySource {
    let files = std::fs::read_dir(folder(fixture)).unwrap();
    files
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect()
}

pub(crate) fn open<S: Source>(source: S) -> Checkpoint<S> {
    pollster::block_on(Checkpoint::open(source)).unwrap()
}

/// What a person is told who opens this checkpoint.
pub(crate) fn refusal<S: Source>(source: S) -> String {
    match pollster::block_on(Checkpoint::open(source)) {
        Ok(_) => panic!("a broken checkpoint was opened"),
        Err(error) => error.to_string(),
    }
}

/// Asserts that a message has all these parts.
#[track_caller]
pub(crate) fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    // The next step follows a colon.
    assert!(message.contains(": "), "{message:?} has no next step");
}

/// A safetensors file taken apart.
pub(crate) struct Weights {
    pub(crate) header: Map<String, Value>,
    pub(crate) data: Vec<u8>,
}

impl Weights {
    pub(crate) fn of(source: &MemorySource, file: &str) -> Self {
        let bytes = source.get(file).unwrap();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        Self {
            header: serde_json::from_slice(header).unwrap(),
            data: data.to_vec(),
        }
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Map<String, Value> {
        self.header.get_mut(name).unwrap().as_object_mut().unwrap()
    }

    pub(crate) fn offsets(&mut self, name: &str) -> (u64, u64) {
        serde_json::from_value(self.tensor(name)["data_offsets"].clone()).unwrap()
    }

    /// Adds a tensor after all others.
    pub(crate) fn append(&mut self, name: &str, dtype: &str, shape: &[u64], bytes: &[u8]) {
        let begin = self.data.len();
        self.data.extend(bytes);
        let end = self.data.len();
        self.header.insert(
            name.to_owned(),
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}),
        );
    }

    pub(crate) fn rename(&mut self, new_name: impl Fn(&str) -> String) {
        let header = std::mem::take(&mut self.header);
        for (name, tensor) in header {
            let name = match name.as_str() {
                "__metadata__" => name,
                tensor => new_name(tensor),
            };
            self.header.insert(name, tensor);
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        assemble(
            serde_json::to_string(&self.header).unwrap().as_bytes(),
            &self.data,
        )
    }
}

pub(crate) fn assemble(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// The single-file fixture with its weights changed.
pub(crate) fn single_with(change: impl FnOnce(&mut Weights)) -> MemorySource {
    let mut source = memory(SINGLE);
    let mut weights = Weights::of(&source, "model.safetensors");
    change(&mut weights);
    source.insert("model.safetensors", weights.bytes());
    source
}

/// A fixture with its `config.json` changed.
pub(crate) fn with_config(
    mut source: MemorySource,
    change: impl FnOnce(&mut Value),
) -> MemorySource {
    let mut config = serde_json::from_slice(source.get("config.json").unwrap()).unwrap();
    change(&mut config);
    source.insert("config.json", config.to_string());
    source
}

/// Remembers what was read.
pub(crate) struct Recording {
    pub(crate) inner: MemorySource,
    pub(crate) reads: RefCell<Vec<(String, Range<u64>)>>,
}

impl Recording {
    pub(crate) fn new(inner: MemorySource) -> Self {
        Self {
            inner,
            reads: RefCell::default(),
        }
    }
}

impl Source for Recording {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        self.inner.size(path).await
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        self.reads
            .borrow_mut()
            .push((path.to_owned(), range.clone()));
        self.inner.read(path, range).await
    }
}
