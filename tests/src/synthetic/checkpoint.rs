//! The files of a made-up checkpoint.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::shape::{Dimensions, Shape};
use super::tokenizer::{Spelling, tokenizer_json};
use super::weights::{Tensor, tensors};

/// Most bytes of tensors in a shard, as transformers cuts them.
const SHARD: u64 = 5_000_000_000;

/// How a made-up checkpoint differs from the published one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Layers of either tower at most; their widths stay. `None`: all.
    pub layers: Option<usize>,
}

/// A checkpoint with the files, configuration, tensor names and shapes of a published one and
/// made-up weights, in bfloat16. What a file holds is computed when it is read, from the tensor's
/// name and the element's index alone.
pub struct Synthetic {
    files: Vec<(String, Contents)>,
}

enum Contents {
    Small(Arc<[u8]>),
    Shard(Shard),
}

struct Shard {
    /// Length and JSON of the header.
    header: Vec<u8>,
    /// Tensors with the offset of their first byte in the file.
    tensors: Vec<(u64, Tensor)>,
    bytes: u64,
}

impl Synthetic {
    /// The checkpoint of that shape.
    pub fn new(shape: Shape, options: Options) -> Self {
        let dimensions = shape.dimensions(options.layers);
        let small = |value: &Value| Contents::Small(format!("{value:#}\n").into_bytes().into());
        let mut files = vec![("config.json".to_owned(), small(&dimensions.config()))];
        for (name, value) in Dimensions::small_files() {
            files.push((name.to_owned(), small(&value)));
        }
        // Published half a year apart; the software that saved them had changed.
        let spelling = if dimensions.gemma2 {
            Spelling::Pairs
        } else {
            Spelling::Lines
        };
        files.push((
            "tokenizer.json".to_owned(),
            Contents::Small(tokenizer(spelling)),
        ));

        let shards = split(tensors(&dimensions));
        let count = shards.len();
        let mut map = Map::new();
        let mut total = 0;
        for (i, tensors) in shards.into_iter().enumerate() {
            let name = format!("model-{:05}-of-{count:05}.safetensors", i + 1);
            for tensor in &tensors {
                map.insert(tensor.name.clone(), Value::from(name.as_str()));
                total += tensor.bytes();
            }
            files.push((name, Contents::Shard(Shard::new(tensors))));
        }
        let index = json!({"metadata": {"total_size": total}, "weight_map": map});
        files.push(("model.safetensors.index.json".to_owned(), small(&index)));
        Self { files }
    }

    /// Names and sizes in bytes of all files.
    pub fn files(&self) -> Vec<(String, u64)> {
        let files = self.files.iter();
        files
            .map(|(name, contents)| (name.clone(), contents.len()))
            .collect()
    }

    /// The bytes of a file in `range`.
    ///
    /// # Panics
    /// Where there is no such file, or it ends before the range does.
    pub fn read(&self, path: &str, range: Range<u64>) -> Vec<u8> {
        let file = self.files.iter().find(|(name, _)| name == path);
        let (_, contents) = file.unwrap_or_else(|| panic!("there is no {path}"));
        assert!(
            range.start <= range.end && range.end <= contents.len(),
            "{path}: {range:?}"
        );
        match contents {
            Contents::Small(bytes) => bytes[range.start as usize..range.end as usize].to_vec(),
            Contents::Shard(shard) => shard.read(range),
        }
    }

    /// Writes all files to a folder, which is made if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        const PIECE: u64 = 16 << 20;
        std::fs::create_dir_all(folder)?;
        for (name, bytes) in self.files() {
            let mut file = File::create(folder.join(&name))?;
            for start in (0..bytes).step_by(PIECE as usize) {
                file.write_all(&self.read(&name, start..bytes.min(start + PIECE)))?;
            }
        }
        Ok(())
    }
}

/// The tokenizer, made once.
fn tokenizer(spelling: Spelling) -> Arc<[u8]> {
    static LINES: LazyLock<Arc<[u8]>> = LazyLock::new(|| make(Spelling::Lines));
    static PAIRS: LazyLock<Arc<[u8]>> = LazyLock::new(|| make(Spelling::Pairs));
    fn make(spelling: Spelling) -> Arc<[u8]> {
        tokenizer_json(spelling).into_bytes().into()
    }
    match spelling {
        Spelling::Lines => Arc::clone(&LINES),
        Spelling::Pairs => Arc::clone(&PAIRS),
    }
}

/// Tensors by file, each file as full as it may be.
fn split(tensors: Vec<Tensor>) -> Vec<Vec<Tensor>> {
    let mut shards: Vec<Vec<Tensor>> = Vec::new();
    let mut room = 0;
    for tensor in tensors {
        match (u64::checked_sub(room, tensor.bytes()), shards.last_mut()) {
            (Some(left), Some(shard)) => {
                room = left;
                shard.push(tensor);
            }
            _ => {
                room = SHARD.saturating_sub(tensor.bytes());
                shards.push(vec![tensor]);
            }
        }
    }
    shards
}

impl Contents {
    fn len(&self) -> u64 {
        match self {
            Self::Small(bytes) => bytes.len() as u64,
            Self::Shard(shard) => shard.bytes,
        }
    }
}

impl Shard {
    /// A safetensors file; its tensors lie in the order of their names.
    fn new(mut tensors: Vec<Tensor>) -> Self {
        tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut table = Map::new();
        table.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        let mut end = 0;
        for tensor in &tensors {
            let start = end;
            end += tensor.bytes();
            let offsets = [start, end];
            let entry = json!({"dtype": "BF16", "shape": tensor.shape, "data_offsets": offsets});
            table.insert(tensor.name.clone(), entry);
        }
        let mut text = Value::from(table).to_string();
        // Tensors begin at a multiple of eight bytes.
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        let mut header = (text.len() as u64).to_le_bytes().to_vec();
        header.extend(text.into_bytes());
        let mut bytes = header.len() as u64;
        let place = |tensor: Tensor| {
            let start = bytes;
            bytes += tensor.bytes();
            (start, tensor)
        };
        let tensors = tensors.into_iter().map(place).collect();
        Self {
            header,
            tensors,
            bytes,
        }
    }

    fn read(&self, range: Range<u64>) -> Vec<u8> {
        let mut out = Vec::with_capacity((range.end - range.start) as usize);
        let header = self.header.len() as u64;
        if range.start < header {
            let end = range.end.min(header);
            out.extend_from_slice(&self.header[range.start as usize..end as usize]);
        }
        let first = self
            .tensors
            .partition_point(|(start, tensor)| start + tensor.bytes() <= range.start);
        for (start, tensor) in &self.tensors[first..] {
            let from = range.start.max(*start) - start;
            let to = range.end.min(start + tensor.bytes()).saturating_sub(*start);
            if from < to {
                // Whole elements, of which the first and last byte may not be wanted.
                let (skip, even) = ((from % 2) as usize, to.next_multiple_of(2));
                let at = out.len();
                out.resize(at + (even - (from - from % 2)) as usize, 0);
                tensor.numbers.fill(from / 2, &mut out[at..]);
                if skip == 1 {
                    out.remove(at);
                }
                out.truncate(at + (to - from) as usize);
            }
        }
        out
    }
}
