//! Weights a few rows at a time.

use crate::error::CheckpointError;
use crate::lora::{Factors, Overlay};
use crate::source::{Source, read_exact};
use crate::tensor::TensorInfo;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes that are read and thrown away rather than asked around: about what a
/// request costs in time.
const WIDEST_GAP: u64 = 64 * 1024;

/// Some rows of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// The tensor's place in [`Checkpoint::tensors`](crate::Checkpoint::tensors).
    pub tensor: usize,
    /// Which of its rows (see [`TensorInfo::rows`]).
    pub rows: Range<usize>,
    /// The rows as stored, little-endian: `rows.len() · row_bytes` bytes. Where the checkpoint has
    /// an adapter, it is merged into them.
    pub bytes: Vec<u8>,
}

/// The weights of a checkpoint, in order.
///
/// The source is read in pieces, each as long as whole rows fit into
/// `max_bytes` (or one row, if that alone is longer). A piece may span several
/// small tensors, so that a remote source sees few requests, but no file's end
/// and no more than 64 KiB of bytes that the model does not need.
#[derive(Debug)]
pub struct Slices<'a, S, A = S> {
    source: &'a S,
    tensors: &'a [TensorInfo],
    adapter: Option<&'a Overlay<A>>,
    factors: Factors,
    max_bytes: u64,
    /// The first row that no piece has covered yet.
    next: Row,
    /// The row after the last.
    end: Row,
    piece: Vec<u8>,
    /// What of `piece` is still to be delivered.
    parts: VecDeque<Part>,
}

/// A row, by its tensor's place in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) tensor: usize,
    pub(crate) row: usize,
}

/// Rows of one tensor within a piece.
#[derive(Debug)]
struct Part {
    tensor: usize,
    rows: Range<usize>,
    bytes: Range<usize>,
}

/// A read to do, the rows it brings, and the row after them.
struct Plan<'a> {
    file: &'a str,
    range: Range<u64>,
    parts: VecDeque<Part>,
    next: Row,
}

impl<'a, S: Source, A: Source> Slices<'a, S, A> {
    pub(crate) fn new(
        source: &'a S,
        tensors: &'a [TensorInfo],
        adapter: Option<&'a Overlay<A>>,
        max_bytes: usize,
    ) -> Self {
        let first = Row { tensor: 0, row: 0 };
        let end = Row {
            tensor: tensors.len(),
            row: 0,
        };
        Self::between(source, tensors, adapter, max_bytes, first, end)
    }

    /// The rows from `first` to `end`, which is not among them.
    pub(crate) fn between(
        source: &'a S,
        tensors: &'a [TensorInfo],
        adapter: Option<&'a Overlay<A>>,
        max_bytes: usize,
        first: Row,
        end: Row,
    ) -> Self {
        Self {
            source,
            tensors,
            adapter,
            factors: Factors::default(),
            max_bytes: max_bytes as u64,
            next: first,
            end,
            piece: Vec::new(),
            parts: VecDeque::new(),
        }
    }

    /// The next rows, or `None` after the last. After an error, or if the
    /// future is dropped, the next call tries the same rows again (but for merged weights that
    /// are no numbers).
    ///
    /// # Errors
    /// If the source or the adapter's cannot deliver, or if a merged weight is no number.
    pub async fn next(&mut self) -> Result<Option<Slice>, CheckpointError> {
        if self.parts.is_empty() {
            let Some(plan) = self.plan() else {
                return Ok(None);
            };
            // The last piece is given up before the next one is allocated.
            self.piece = Vec::new();
            self.piece = read_exact(self.source, plan.file, plan.range).await?;
            self.parts = plan.parts;
            self.next = plan.next;
        }
        if let (Some(adapter), Some(part)) = (self.adapter, self.parts.front()) {
            adapter.fetch(part.tensor, &mut self.factors).await?;
        }
        let Some(part) = self.parts.pop_front() else {
            return Ok(None);
        };
        let mut bytes = if part.bytes.len() == self.piece.len() {
            std::mem::take(&mut self.piece)
        } else {
            self.piece.get(part.bytes).unwrap_or_default().to_vec()
        };
        if let (Some(_), Some(info)) = (self.adapter, self.tensors.get(part.tensor)) {
            self.factors.merge(info, &part.rows, &mut bytes)?;
        }
        Ok(Some(Slice {
            tensor: part.tensor,
            rows: part.rows,
            bytes,
        }))
    }

    /// How many rows of a tensor are still to be delivered.
    fn rows_until_end(&self, tensor: usize, row: usize) -> usize {
        let rows = self.tensors.get(tensor).map_or(0, TensorInfo::rows);
        let end = match tensor.cmp(&self.end.tensor) {
            Ordering::Less => rows,
            Ordering::Equal => self.end.row.min(rows),
            Ordering::Greater => 0,
        };
        end.saturating_sub(row)
    }

    fn plan(&self) -> Option<Plan<'a>> {
        let Row {
            mut tensor,
            mut row,
        } = self.next;
        let first = self.tensors.get(tensor)?;
        if self.rows_until_end(tensor, row) == 0 {
            return None;
        }
        let start = row_start(first, row);
        let mut end = start;
        let mut parts = VecDeque::new();
        while let Some(info) = self.tensors.get(tensor) {
            let from = row_start(info, row);
            if info.file != first.file || from.saturating_sub(end) > WIDEST_GAP {
                break;
            }
            let room = self.max_bytes.saturating_sub(from - start);
            let fitting = usize::try_from(room).unwrap_or(usize::MAX) / info.row_bytes().max(1);
            let left = self.rows_until_end(tensor, row);
            if left == 0 {
                break;
            }
            let count = match fitting.min(left) {
                0 if parts.is_empty() => 1,
                0 => break,
                count => count,
            };
            end = row_start(info, row + count);
            parts.push_back(Part {
                tensor,
                rows: row..row + count,
                bytes: (from - start) as usize..(end - start) as usize,
            });
            row += count;
            if row < info.rows() {
                break;
            }
            (tensor, row) = (tensor + 1, 0);
        }
        Some(Plan {
            file: &first.file,
            range: start..end,
            parts,
            next: Row { tensor, row },
        })
    }
}

/// Where a row begins in its file.
fn row_start(info: &TensorInfo, row: usize) -> u64 {
    info.range.start + row as u64 * info.row_bytes() as u64
}
