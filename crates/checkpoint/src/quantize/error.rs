//! Why weights cannot be packed.

use super::precision::Precision;
use crate::tensor::Dtype;

/// Why weights cannot be packed. The message is one sentence that a caller
/// completes with the tensor's name.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A name that is no precision.
    #[error("`{0}` is not a precision: use f32, f16, bf16, q8-g64, q4-g32 or int4-g128")]
    Unknown(String),

    /// A group that is not whole blocks.
    #[error("{precision} has groups that are not a positive multiple of 8: choose 32, 64 or 128")]
    Group {
        /// The precision asked for.
        precision: Precision,
    },

    /// A row that ends within a group, where groups must be whole.
    #[error(
        "rows of {columns} weights cannot be split into the groups of {precision}: \
         leave this tensor as it is stored, or choose q4 or q8"
    )]
    PartialGroup {
        /// The precision asked for.
        precision: Precision,
        /// The length of a row.
        columns: usize,
    },

    /// Bytes that end within a row.
    #[error(
        "{bytes} bytes are not whole rows of {columns} {stored:?} weights: \
         pass the rows of one tensor, each as long as its shape says"
    )]
    NotWholeRows {
        /// How many bytes there are.
        bytes: usize,
        /// The length of a row, in weights.
        columns: usize,
        /// The format of a weight.
        stored: Dtype,
    },

    /// A weight that is no number.
    #[error(
        "the weight in row {row}, column {column} is {value}: \
         download the checkpoint again, or use another export of it"
    )]
    NotFinite {
        /// The weight's row.
        row: usize,
        /// The weight's column.
        column: usize,
        /// The weight: NaN or an infinity.
        value: f32,
    },

    /// A weight that the precision cannot come near to.
    #[error(
        "the weight {value:e} in row {row}, column {column} is more than {precision} can hold: \
         store this tensor as {}",
        if *.precision == Precision::BF16 { "f32" } else { "bf16 or f32" }
    )]
    OutOfRange {
        /// The weight's row.
        row: usize,
        /// The weight's column.
        column: usize,
        /// The weight.
        value: f32,
        /// The precision asked for.
        precision: Precision,
    },
}

impl QuantizeError {
    /// The same error where the rows that were packed are the tensor's from
    /// `first` on.
    #[must_use]
    pub fn in_rows_from(mut self, first: usize) -> Self {
        if let Self::NotFinite { row, .. } | Self::OutOfRange { row, .. } = &mut self {
            *row = row.saturating_add(first);
        }
        self
    }
}
