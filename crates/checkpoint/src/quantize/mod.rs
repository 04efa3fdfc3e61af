//! Weights as the GPU reads them: rows packed to fewer bits, a few at a time.
//!
//! What is described here is stored on people's disks: it may be added to,
//! never changed.
//!
//! A tensor is packed row by row into two planes, [`Packed::weights`] and
//! [`Packed::scales`], each a sequence of equally long rows ([`RowLayout`]).
//! All numbers are little-endian.
//!
//! - **Blocks.** A row is continued with weights of value 0 to a multiple of 8
//!   columns; 8 neighbouring weights are a *block*.
//! - **Groups.** Where weights share a scale, a group is `group` neighbouring
//!   columns of one row, `group` being a multiple of 8. The last group of a row
//!   may be shorter.
//! - **`f32`, `f16`, `bf16`**: the elements in order, rounded to nearest, ties
//!   to even. No scales.
//! - **`q8`**: a block is 8 signed bytes; `weight = code · scale`, codes −127
//!   to 127. A group's scale is one f16.
//! - **`q4`**: a block is 4 bytes; the low nibble of byte `i` is column `i`, the
//!   high nibble column `i + 4`; `weight = (nibble − 8) · scale`. A group's
//!   scale is one f16, which may be negative.
//! - **`int4`**: nibbles as in `q4`; `weight = (nibble − 8) · scale + zero`. A
//!   group has two f16: scale, then zero. Rows are whole groups.
//! - **Scales** of a row lie in the order of its groups, then zeros to a
//!   multiple of 4 bytes.

mod error;
mod int4;
mod number;
mod precision;
mod q4;
mod q8;
mod unpack;

pub use error::QuantizeError;
pub use int4::{Int4Row, int4_row};
pub use precision::{Precision, RowLayout};
pub use unpack::unpack_row;

use crate::tensor::Dtype;

/// Columns in a block.
const BLOCK: usize = 8;

/// Rows packed: two planes of whole rows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Packed {
    /// Elements or codes, [`RowLayout::weight_bytes`] a row.
    pub weights: Vec<u8>,
    /// Scales (and zeros), [`RowLayout::scale_bytes`] a row.
    pub scales: Vec<u8>,
}

/// Packs whole rows of `columns` weights, stored little-endian as `stored`, in
/// place of what `out` held. The same rows give the same bytes on every
/// machine, in whatever portions they come.
///
/// # Errors
/// If the bytes are not whole rows, if `to` does not suit rows of this length,
/// or if a weight is not finite or beyond what `to` holds; then `out` is empty.
/// Rows are counted from the first of these bytes, see
/// [`QuantizeError::in_rows_from`].
pub fn pack(
    to: Precision,
    stored: Dtype,
    columns: usize,
    rows_bytes: &[u8],
    out: &mut Packed,
) -> Result<(), QuantizeError> {
    out.weights.clear();
    out.scales.clear();
    to.check(columns)?;
    let row_bytes = columns
        .checked_mul(stored.size())
        .filter(|&bytes| bytes > 0 && rows_bytes.len().is_multiple_of(bytes))
        .ok_or(QuantizeError::NotWholeRows {
            bytes: rows_bytes.len(),
            columns,
            stored,
        })?;
    let rows = rows_bytes.len() / row_bytes;
    if rows == 0 {
        return Ok(());
    }
    let layout = to.layout(columns);
    out.weights.resize(rows * layout.weight_bytes, 0);
    out.scales.resize(rows * layout.scale_bytes, 0);
    let mut row = vec![0.0; columns.next_multiple_of(BLOCK)];
    for (index, bytes) in rows_bytes.chunks_exact(row_bytes).enumerate() {
        number::widen(stored, bytes, &mut row);
        if let Err(error) = check_row(to, &row) {
            *out = Packed::default();
            return Err(error.in_rows_from(index));
        }
        let weights = &mut out.weights[index * layout.weight_bytes..][..layout.weight_bytes];
        let scales = &mut out.scales[index * layout.scale_bytes..][..layout.scale_bytes];
        match to {
            Precision::F32 => number::write_f32(&row, weights),
            Precision::F16 => number::write_f16(&row, weights),
            Precision::BF16 => number::write_bf16(&row, weights),
            Precision::Q8 { group } => q8::pack_row(&row, group, weights, scales),
            Precision::Q4 { group } => q4::pack_row(&row, group, weights, scales),
            Precision::Int4 { group } => int4::pack_row(&row, group, weights, scales),
        }
    }
    Ok(())
}

/// The value of a little-endian f16.
pub(crate) fn widen_f16(bytes: [u8; 2]) -> f32 {
    number::f16_to_f32(u16::from_le_bytes(bytes))
}

/// Reads little-endian elements into the beginning of `row`.
pub(crate) fn widen(stored: Dtype, bytes: &[u8], row: &mut [f32]) {
    number::widen(stored, bytes, row);
}

/// Writes `row` as little-endian elements, rounded to nearest, ties to even.
///
/// # Errors
/// The first number that is too large for `to`, or none at all; then nothing is written.
pub(crate) fn narrow(to: Dtype, row: &[f32], out: &mut [u8]) -> Result<(), f32> {
    let largest = Precision::from(to).largest();
    // NaN compares false, so it is not within.
    let within = |number: &&f32| number.abs() <= largest;
    if let Some(beyond) = row.iter().find(|number| !within(number)) {
        return Err(*beyond);
    }
    match to {
        Dtype::F32 => number::write_f32(row, out),
        Dtype::F16 => number::write_f16(row, out),
        Dtype::BF16 => number::write_bf16(row, out),
    }
    Ok(())
}

/// Whether every weight is a number that `to` can hold.
fn check_row(to: Precision, row: &[f32]) -> Result<(), QuantizeError> {
    let largest = to.largest();
    // NaN compares false, so it is not within.
    let within = |weight: &f32| weight.abs() <= largest;
    if number::magnitude(row) <= largest {
        return Ok(());
    }
    let column = row.iter().position(|weight| !within(weight));
    let column = column.unwrap_or_default();
    let value = row.get(column).copied().unwrap_or_default();
    Err(if value.is_finite() {
        QuantizeError::OutOfRange {
            row: 0,
            column,
            value,
            precision: to,
        }
    } else {
        QuantizeError::NotFinite {
            row: 0,
            column,
            value,
        }
    })
}
