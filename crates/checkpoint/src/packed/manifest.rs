//! `manifest.json`: a plan, and the digest of every piece.

use serde::{Deserialize, Serialize};

use super::plan::{LARGEST_SIDE_FILE, PackedTensor, Plan};
use crate::config::Config;
use crate::digest::Digest;
use crate::error::shown;
use crate::names::expected_tensors;
use crate::source::check_path;

/// The version of the format that this software writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The file that makes a folder a packed model.
pub const MANIFEST_FILE: &str = "manifest.json";

/// What `format` says in every manifest.
const FORMAT: &str = "paligemma-packed";

/// The largest piece that is read: another one would be memory without bound.
const LARGEST_PIECE: usize = 64 << 20;

/// Why a manifest cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is of another version of the format.
    #[error(
        "manifest.json has format version {found}, this software, paligemma-web {}, reads \
         version {FORMAT_VERSION}: use {} version of it, or convert the model again into an empty \
         folder",
        env!("CARGO_PKG_VERSION"),
        if *found > FORMAT_VERSION { "a newer" } else { "an older" }
    )]
    Version {
        /// The version it has.
        found: u32,
    },

    /// It is not JSON of the right form, or contradicts itself.
    #[error(
        "manifest.json {reason}: download it again, or convert the model again into an empty folder"
    )]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
}

/// A packed model's contents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Where each row lies.
    pub plan: Plan,
    /// SHA-256 of each piece.
    pub digests: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct Json<P> {
    format: String,
    version: u32,
    #[serde(flatten)]
    plan: P,
    pieces: Vec<JsonPiece>,
}

#[derive(Serialize, Deserialize)]
struct JsonPiece {
    file: String,
    /// Of its first byte, were all pieces one file.
    offset: u64,
    bytes: usize,
    sha256: Digest,
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    format: String,
    #[serde(default)]
    version: u32,
}

impl Manifest {
    /// The file of a piece, relative to the folder.
    pub fn piece_file(index: usize) -> String {
        format!("pieces/{index:05}.bin")
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let pieces = self.digests.iter().enumerate().map(|(index, digest)| {
            let offset = index as u64 * self.plan.piece_bytes as u64;
            JsonPiece {
                file: Self::piece_file(index),
                offset,
                bytes: self.plan.piece_len(index),
                sha256: *digest,
            }
        });
        let json = Json {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            plan: &self.plan,
            pieces: pieces.collect(),
        };
        // Strings, numbers and lists: there is nothing in it that JSON cannot hold.
        serde_json::to_string(&json).unwrap_or_default()
    }

    /// Reads the file's text and checks that it does not contradict itself.
    ///
    /// # Errors
    /// Another version, or a manifest that cannot be right.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let malformed = |reason: String| ManifestError::Malformed { reason };
        let not_json = |error: serde_json::Error| {
            malformed(format!("is damaged, {}", shown(&error.to_string())))
        };
        let head: Head = serde_json::from_slice(text).map_err(not_json)?;
        if head.format != FORMAT {
            return Err(malformed("is not that of a packed model".to_owned()));
        }
        if head.version != FORMAT_VERSION {
            return Err(ManifestError::Version {
                found: head.version,
            });
        }
        let json: Json<Plan> = serde_json::from_slice(text).map_err(not_json)?;
        let plan = json.plan;
        check_plan(&plan).map_err(malformed)?;
        if json.pieces.len() != plan.pieces() {
            return Err(malformed(format!(
                "lists {} pieces where its size asks for {}",
                json.pieces.len(),
                plan.pieces()
            )));
        }
        for (index, piece) in json.pieces.iter().enumerate() {
            let offset = index as u64 * plan.piece_bytes as u64;
            let right = piece.file == Self::piece_file(index)
                && piece.offset == offset
                && piece.bytes == plan.piece_len(index);
            if !right {
                return Err(malformed(format!(
                    "says of piece {index} what cannot be true"
                )));
            }
        }
        Ok(Self {
            digests: json.pieces.into_iter().map(|piece| piece.sha256).collect(),
            plan,
        })
    }

    /// Checks that the tensors are those that `config` asks for.
    ///
    /// # Errors
    /// If one is missing, unknown or of another shape.
    pub fn check_tensors(&self, config: &Config) -> Result<(), ManifestError> {
        check_tensors(&self.plan, config)
    }
}

/// Checks that a plan's tensors are those that `config` asks for.
fn check_tensors(plan: &Plan, config: &Config) -> Result<(), ManifestError> {
    let mut wanted: std::collections::HashMap<_, _> =
        expected_tensors(config).into_iter().collect();
    for tensor in &plan.tensors {
        match wanted.remove(&tensor.name) {
            Some(shape) if shape == tensor.shape => {}
            _ => {
                return Err(ManifestError::Malformed {
                    reason: format!(
                        "has a tensor {} {:?} that config.json does not ask for",
                        shown(&tensor.name),
                        tensor.shape
                    ),
                });
            }
        }
    }
    match wanted.keys().min() {
        None => Ok(()),
        Some(name) => Err(ManifestError::Malformed {
            reason: format!("lacks the tensor {name}, which config.json asks for"),
        }),
    }
}

fn check_plan(plan: &Plan) -> Result<(), String> {
    if !(16..=LARGEST_PIECE).contains(&plan.piece_bytes) || !plan.piece_bytes.is_multiple_of(16) {
        return Err(format!("has pieces of {} bytes", plan.piece_bytes));
    }
    for file in &plan.files {
        check_path(&file.path).map_err(|_| format!("names a file {}", shown(&file.path)))?;
        if file.bytes > LARGEST_SIDE_FILE {
            return Err(format!(
                "has a file {} of {} bytes",
                shown(&file.path),
                file.bytes
            ));
        }
    }
    if usize::try_from(plan.bytes.div_ceil(plan.piece_bytes as u64)).is_err() {
        return Err(format!("speaks of {} bytes", plan.bytes));
    }
    let mut last = 0;
    for tensor in &plan.tensors {
        check_spans(plan, tensor)?;
        let (first, end) = (tensor.spans.first(), tensor.spans.last());
        let in_order = first.is_some_and(|span| span.piece >= last);
        if !in_order {
            return Err(format!("has a tensor {} out of order", shown(&tensor.name)));
        }
        last = end.map_or(last, |span| span.piece);
    }
    Ok(())
}

fn check_spans(plan: &Plan, tensor: &PackedTensor) -> Result<(), String> {
    let wrong = |what: &str| format!("has a tensor {} {what}", shown(&tensor.name));
    let (rows, columns) = tensor.extent();
    if columns > u32::MAX as usize || rows > u32::MAX as usize {
        return Err(wrong("larger than any model's"));
    }
    let (weight_bytes, scale_bytes) = tensor.row_bytes();
    let mut next = (0, 0);
    for span in &tensor.spans {
        let end = |start: usize, row_bytes: usize| {
            let bytes = span.rows.checked_mul(row_bytes)?;
            start.checked_add(bytes)
        };
        let fits = |end: Option<usize>| end.is_some_and(|end| end <= plan.piece_len(span.piece));
        let right = span.row == next.0
            && span.rows > 0
            && span.piece >= next.1
            && span.piece < plan.pieces()
            && span.weights.is_multiple_of(4)
            && span.scales.is_multiple_of(4)
            && fits(end(span.weights, weight_bytes))
            && fits(end(span.scales, scale_bytes));
        if !right {
            return Err(wrong("with rows outside their piece or out of order"));
        }
        next = (span.row + span.rows, span.piece);
    }
    if next.0 != rows {
        return Err(wrong("of which rows are missing"));
    }
    Ok(())
}
