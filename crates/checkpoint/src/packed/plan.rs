//! What a packed model will be, known before a weight is read.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::error::CheckpointError;
use crate::lora::AdapterOrigin;
use crate::mask::MASK_FILES;
use crate::recipe::{Recipe, Storage};
use crate::source::Source;
use crate::tensor::TensorInfo;

/// Bytes of a piece: few requests for gigabytes, and little memory for one.
pub const PIECE_BYTES: usize = 8 << 20;

/// Planes begin at multiples of it.
const ALIGNMENT: usize = 16;

/// The largest of the files beside the weights: a tokenizer of 257,152 entries takes up to 35 MB.
pub(super) const LARGEST_SIDE_FILE: u64 = 64 << 20;

/// The files beside the weights that a model needs or may need later.
const SIDE_FILES: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// Identifies a packed model: the SHA-256 of its [`Plan`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelKey(pub Digest);

impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose weights these are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Origin {
    /// Repository on a hub, such as `google/paligemma2-3b-mix-224`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The commit of it, 40 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A file of weights that a packed model was made from, so far as it is known before it is read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Input {
    /// Relative to the checkpoint folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its safetensors header, the eight bytes of its length included.
    pub header_sha256: Digest,
    /// SHA-256 of all of it, where the publisher says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// What changes when the file does, where its SHA-256 is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
}

/// A file beside the weights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SideFile {
    /// Relative to the folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// What changed last with the file, where its publisher states no SHA-256. It says when to look
    /// again, and is no part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
}

/// A tensor, and where its rows lie.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PackedTensor {
    /// The canonical name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// `numbers` (f32), or a precision such as `q4-g32`.
    pub storage: Storage,
    /// Its rows, in order and without gap.
    pub spans: Vec<Span>,
}

/// Neighbouring rows of a tensor in one piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// The piece.
    pub piece: usize,
    /// The first row.
    pub row: usize,
    /// How many.
    pub rows: usize,
    /// Byte in the piece at which their weights begin.
    pub weights: usize,
    /// Byte in the piece at which their scales begin; that of the weights' end if there are none.
    pub scales: usize,
}

/// Everything about a packed model but the digests of its pieces: what it is made from, and where
/// each row goes. The same checkpoint and recipe give the same plan anywhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Whose weights these are.
    pub origin: Origin,
    /// The adapter that is merged into them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterOrigin>,
    /// The recipe's name.
    pub recipe: String,
    /// The files of weights.
    pub inputs: Vec<Input>,
    /// The files beside them.
    pub files: Vec<SideFile>,
    /// SHA-256 of the digests of all pieces, where the pieces were there before: two packed models
    /// of the same shape are two models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces_sha256: Option<Digest>,
    /// Bytes of every piece but the last.
    pub piece_bytes: usize,
    /// Bytes of all pieces together.
    pub bytes: u64,
    /// The tensors, in the order of their rows in the pieces.
    pub tensors: Vec<PackedTensor>,
}

impl PackedTensor {
    /// Rows and columns, as [`TensorInfo::rows`] and [`TensorInfo::cols`] count them.
    pub fn extent(&self) -> (usize, usize) {
        extent(&self.shape)
    }

    /// Bytes of a row's weights and of its scales.
    pub fn row_bytes(&self) -> (usize, usize) {
        self.storage.row_bytes(self.extent().1)
    }
}

fn extent(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [length] => (1, *length),
        [rows, inner @ ..] => (*rows, inner.iter().fold(1, |n, &m| n.saturating_mul(m))),
    }
}

impl Plan {
    /// Plans to pack `checkpoint` as `recipe` says, in pieces of [`PIECE_BYTES`].
    ///
    /// # Errors
    /// If the source cannot say how large a side file is, or a row does not fit a piece.
    pub async fn new<S: Source>(
        checkpoint: &Checkpoint<S>,
        origin: Origin,
        recipe: &Recipe,
    ) -> Result<Self, CheckpointError> {
        Self::in_pieces_of(PIECE_BYTES, checkpoint, origin, recipe).await
    }

    /// As [`Plan::new`], in pieces of another size, a multiple of 16 bytes.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub async fn in_pieces_of<S: Source>(
        piece_bytes: usize,
        checkpoint: &Checkpoint<S>,
        origin: Origin,
        recipe: &Recipe,
    ) -> Result<Self, CheckpointError> {
        let source = checkpoint.source();
        let inputs = checkpoint.files().iter().map(|file| {
            let sha256 = source.digest(&file.path);
            Input {
                path: file.path.clone(),
                bytes: file.bytes,
                header_sha256: file.header,
                sha256,
                validator: source.validator(&file.path).filter(|_| sha256.is_none()),
            }
        });
        let inputs = inputs.collect();
        let mut files = Vec::new();
        let mut has_masks = false;
        for path in SIDE_FILES.into_iter().chain(MASK_FILES) {
            let is_of_masks = MASK_FILES.contains(&path);
            // One mask decoder is enough. Without one the plan is what it was before there was such
            // a file, and so is its key.
            if is_of_masks && has_masks {
                continue;
            }
            if let Some(bytes) = source.size(path).await? {
                has_masks |= is_of_masks;
                if bytes > LARGEST_SIDE_FILE {
                    return Err(CheckpointError::File {
                        file: path.to_owned(),
                        reason: format!(
                            "has {bytes} bytes, above the limit of {LARGEST_SIDE_FILE}"
                        ),
                        next: "take the file from the model's own repository",
                    });
                }
                let sha256 = source.digest(path);
                files.push(SideFile {
                    path: path.to_owned(),
                    bytes,
                    sha256,
                    validator: source.validator(path).filter(|_| sha256.is_none()),
                });
            }
        }
        let mut layout = Layout::new(piece_bytes);
        for tensor in checkpoint.tensors() {
            layout.add(tensor, recipe)?;
        }
        Ok(Self {
            origin,
            adapter: checkpoint.adapter().map(|one| one.origin().clone()),
            recipe: recipe.name.to_owned(),
            inputs,
            files,
            pieces_sha256: None,
            piece_bytes,
            bytes: layout.bytes(),
            tensors: layout.tensors,
        })
    }

    /// Identifies the packed model, and with it everything that would make it another one.
    pub fn key(&self) -> ModelKey {
        // Whether the side files' digests are known depends on who asks, and when. Their validators
        // came later, and keys stay what they were.
        let mut plan = self.clone();
        for file in &mut plan.files {
            (file.sha256, file.validator) = (None, None);
        }
        // Strings, numbers and lists: there is nothing in it that JSON cannot hold.
        let text = serde_json::to_vec(&(super::FORMAT_VERSION, plan)).unwrap_or_default();
        ModelKey(Digest::of(&text))
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.bytes.div_ceil(self.piece_bytes.max(1) as u64) as usize
    }

    /// Bytes of one piece; 0 if there is no such piece.
    pub fn piece_len(&self, index: usize) -> usize {
        let start = index as u64 * self.piece_bytes as u64;
        let left = self.bytes.saturating_sub(start);
        left.min(self.piece_bytes as u64) as usize
    }

    /// Bytes of the pieces and the side files.
    pub fn total_bytes(&self) -> u64 {
        self.bytes + self.files.iter().map(|file| file.bytes).sum::<u64>()
    }

    /// What lies in a piece, in order: the tensor's place in [`Plan::tensors`] and the span.
    pub fn spans_of(&self, piece: usize) -> impl Iterator<Item = (usize, Span)> {
        self.tensors
            .iter()
            .enumerate()
            .skip_while(move |(_, tensor)| tensor.spans.last().is_some_and(|s| s.piece < piece))
            .take_while(move |(_, tensor)| tensor.spans.first().is_some_and(|s| s.piece <= piece))
            .flat_map(move |(index, tensor)| {
                let here = tensor.spans.iter().filter(move |span| span.piece == piece);
                here.map(move |span| (index, *span))
            })
    }
}

/// Places rows into pieces, one after the other.
struct Layout {
    piece_bytes: usize,
    piece: usize,
    used: usize,
    tensors: Vec<PackedTensor>,
}

impl Layout {
    fn new(piece_bytes: usize) -> Self {
        Self {
            piece_bytes,
            piece: 0,
            used: 0,
            tensors: Vec::new(),
        }
    }

    fn bytes(&self) -> u64 {
        self.piece as u64 * self.piece_bytes as u64 + self.used as u64
    }

    fn add(&mut self, tensor: &TensorInfo, recipe: &Recipe) -> Result<(), CheckpointError> {
        let storage = recipe.storage_of(tensor);
        let (weight_bytes, scale_bytes) = storage.row_bytes(tensor.cols());
        let row_bytes = weight_bytes + scale_bytes;
        if row_bytes + 2 * ALIGNMENT > self.piece_bytes {
            return Err(CheckpointError::Tensor {
                file: tensor.file.clone(),
                tensor: tensor.name.clone(),
                reason: format!("has rows of {row_bytes} bytes, more than a piece holds"),
                next: crate::error::OTHER_CHECKPOINT,
            });
        }
        let mut spans = Vec::new();
        let mut row = 0;
        while row < tensor.rows() {
            let start = self.used.next_multiple_of(ALIGNMENT);
            // Room for the scales to begin at a multiple, too.
            let room = (self.piece_bytes.saturating_sub(start)).saturating_sub(ALIGNMENT - 1);
            let rows = (room / row_bytes.max(1)).min(tensor.rows() - row);
            if rows == 0 {
                self.piece += 1;
                self.used = 0;
                continue;
            }
            let end = start + rows * weight_bytes;
            let scales = match scale_bytes {
                0 => end,
                _ => end.next_multiple_of(ALIGNMENT),
            };
            spans.push(Span {
                piece: self.piece,
                row,
                rows,
                weights: start,
                scales,
            });
            self.used = scales + rows * scale_bytes;
            row += rows;
        }
        self.tensors.push(PackedTensor {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            storage,
            spans,
        });
        Ok(())
    }
}
