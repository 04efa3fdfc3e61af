//! What is known of a tensor before a byte of it is read.

use std::ops::Range;

/// The number formats a weight may be stored in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single-precision number.
    BF16,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// One weight tensor of a checkpoint: its name, its shape and where its bytes
/// lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorInfo {
    /// The canonical name, whatever layout the file uses
    /// (see [`canonical_name`](crate::canonical_name)).
    pub name: String,
    /// The name in the file.
    pub stored_name: String,
    /// The file, relative to the checkpoint folder.
    pub file: String,
    /// The format of each element.
    pub dtype: Dtype,
    /// Dimensions, outermost first: `[out, in]` for a linear layer.
    pub shape: Vec<usize>,
    /// Absolute byte offsets in the file.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// The number of rows the tensor is delivered in: its outermost dimension,
    /// or 1 for a vector.
    pub fn rows(&self) -> usize {
        match self.shape.as_slice() {
            [rows, _, ..] => *rows,
            _ => 1,
        }
    }

    /// Elements of one row: the product of all dimensions but the outermost,
    /// or the length of a vector.
    pub fn cols(&self) -> usize {
        match self.shape.as_slice() {
            [_, inner @ ..] if !inner.is_empty() => inner.iter().product(),
            [length] => *length,
            _ => 1,
        }
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.cols() * self.dtype.size()
    }

    /// Bytes of the whole tensor.
    pub fn byte_len(&self) -> u64 {
        self.range.end - self.range.start
    }
}
