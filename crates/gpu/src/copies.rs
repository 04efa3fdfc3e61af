//! Copies of tensors and of rows, which need not be aligned as a binding must.

use crate::error::GpuError;
use crate::program::Recorder;
use crate::readback::Readback;
use crate::tensor::{Indices, Tensor};

impl Recorder {
    /// Copies a tensor; both have the same shape.
    pub fn copy(&mut self, source: &Tensor, target: &Tensor) {
        if source.byte_len() != target.byte_len() || source.stride() != target.stride() {
            return self.fail(GpuError::Shape {
                kernel: "copy",
                detail: format!(
                    "[{}, {}] to [{}, {}]",
                    source.rows(),
                    source.stride(),
                    target.rows(),
                    target.stride()
                ),
            });
        }
        let from = (&source.buffer, source.byte_offset());
        self.copy_bytes(
            from,
            (&target.buffer, target.byte_offset()),
            source.byte_len(),
        );
    }

    /// Copies one row, which need not be aligned as a binding must.
    pub fn copy_row(&mut self, source: &Tensor, row: usize, target: &Tensor) {
        if row >= source.rows() || target.rows() != 1 || source.stride() != target.stride() {
            return self.fail(GpuError::Shape {
                kernel: "copy_row",
                detail: format!("row {row} of {}", source.rows()),
            });
        }
        let bytes = target.byte_len();
        let from = (&source.buffer, source.byte_offset() + row as u64 * bytes);
        self.copy_bytes(from, (&target.buffer, target.byte_offset()), bytes);
    }

    /// Copies numbers to where the CPU can read them.
    pub fn copy_back(&mut self, source: &Indices, target: &Readback) {
        let from = (&source.buffer, 0);
        self.copy_bytes(
            from,
            (&target.buffer, 0),
            target.bytes.min(source.len() as u64 * 4),
        );
    }

    /// Copies numbers to the place in `target` that begins at number `at`.
    pub fn copy_indices(&mut self, source: &Indices, target: &Indices, at: usize) {
        if at.saturating_add(source.len()) > target.len() {
            return self.fail(GpuError::Shape {
                kernel: "copy_indices",
                detail: format!("{} to {at} of {}", source.len(), target.len()),
            });
        }
        let bytes = source.len() as u64 * 4;
        self.copy_bytes((&source.buffer, 0), (&target.buffer, at as u64 * 4), bytes);
    }

    /// y\[i\] = source\[rows\[i\]\], y `[rows, columns]`.
    pub fn gather_rows(&mut self, source: &Tensor, rows: &[usize], y: &Tensor) {
        if rows.len() != y.rows() {
            return self.fail(GpuError::Shape {
                kernel: "gather_rows",
                detail: format!("{} rows to {}", rows.len(), y.rows()),
            });
        }
        let mut at = 0;
        while let Some(&first) = rows.get(at) {
            // Neighbours go in one copy.
            let run = rows[at..].iter().zip(first..);
            let count = run.take_while(|(row, next)| *row == next).count();
            self.copy_rows(source, first, count, y, at);
            at += count;
        }
    }

    /// Copies `count` rows from row `from` on to row `to` and those after it; rows are of one size.
    pub(crate) fn copy_rows(
        &mut self,
        source: &Tensor,
        from: usize,
        count: usize,
        target: &Tensor,
        to: usize,
    ) {
        let fits = source.stride() == target.stride()
            && from.saturating_add(count) <= source.rows()
            && to.saturating_add(count) <= target.rows();
        if !fits {
            return self.fail(GpuError::Shape {
                kernel: "copy_rows",
                detail: format!(
                    "{count} rows from {from} of [{}, {}] to {to} of [{}, {}]",
                    source.rows(),
                    source.stride(),
                    target.rows(),
                    target.stride()
                ),
            });
        }
        if count > 0 {
            let row = source.stride() as u64 * 4;
            self.copy_bytes(
                (&source.buffer, source.byte_offset() + from as u64 * row),
                (&target.buffer, target.byte_offset() + to as u64 * row),
                count as u64 * row,
            );
        }
    }
}
