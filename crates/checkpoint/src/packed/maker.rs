//! Pieces, made from a checkpoint's rows or copied from a packed model.

use super::hashing::Hashing;
use super::ingest::{Ingest, IngestError, Material};
use super::pieces::{PackedError, Pieces};
use super::plan::Span;
use super::store::Store;
use crate::checkpoint::Checkpoint;
use crate::quantize::{Packed, QuantizeError, pack, widen_f16};
use crate::recipe::Storage;
use crate::slices::{Row, Slices};
use crate::source::Source;
use crate::tensor::{Dtype, TensorInfo};

/// Bytes read and packed at a time; with the piece they become, all that is in memory.
const PORTION: usize = 2 << 20;

/// Makes pieces, one after the other.
pub(super) struct Maker<'a, S, T> {
    ingest: &'a Ingest<'a, S, T>,
    hashing: Option<Hashing<'a, S>>,
}

impl<'a, S: Source, T: Store> Maker<'a, S, T> {
    pub(super) fn new(ingest: &'a Ingest<'a, S, T>, state: Option<&[u8]>) -> Self {
        let hashing = match &ingest.material {
            Material::Checkpoint(checkpoint) => Some(Hashing::new(checkpoint.source(), state)),
            Material::Packed(_) => None,
        };
        Self { ingest, hashing }
    }

    /// Where the hashing of files stands, to be stored with the piece made last.
    pub(super) fn state(&self) -> Vec<u8> {
        self.hashing.as_ref().map_or_else(Vec::new, Hashing::state)
    }

    /// Makes a piece.
    pub(super) async fn piece(&mut self, index: usize) -> Result<Vec<u8>, IngestError> {
        match (&self.ingest.material, &self.hashing) {
            (Material::Checkpoint(checkpoint), Some(source)) => {
                self.packed(index, checkpoint, source).await
            }
            (Material::Packed(packed), _) => match packed.piece(index).await {
                // A byte that fell over on the way is no reason to give up.
                Err(PackedError::Piece { .. }) => Ok(packed.piece(index).await?),
                other => Ok(other?),
            },
            (Material::Checkpoint(_), None) => Ok(Vec::new()),
        }
    }

    async fn packed(
        &self,
        index: usize,
        checkpoint: &Checkpoint<S>,
        source: &Hashing<'a, S>,
    ) -> Result<Vec<u8>, IngestError> {
        let plan = &self.ingest.plan;
        let tensors = checkpoint.tensors();
        let mut piece = vec![0; plan.piece_len(index)];
        let spans: Vec<(usize, Span)> = plan.spans_of(index).collect();
        // One file after the other, so that each is hashed to its end before the next begins.
        let file_of = |tensor: usize| tensors.get(tensor).map(|info| &info.file);
        for spans in spans.chunk_by(|a, b| file_of(a.0) == file_of(b.0)) {
            self.fill(&mut piece, spans, checkpoint, source).await?;
            let Some(&(last, span)) = spans.last() else {
                continue;
            };
            let is_last_row = tensors
                .get(last)
                .is_some_and(|info| span.row + span.rows == info.rows());
            if is_last_row && file_of(last) != file_of(last + 1) {
                let files = checkpoint.files().iter();
                for file in files.filter(|file| Some(&file.path) == file_of(last)) {
                    if source.finish(&file.path, file.bytes).await? == Some(false) {
                        return Err(IngestError::Changed {
                            path: file.path.clone(),
                        });
                    }
                }
            }
        }
        Ok(piece)
    }

    /// Packs neighbouring spans, all from one file, into a piece.
    async fn fill(
        &self,
        piece: &mut [u8],
        spans: &[(usize, Span)],
        checkpoint: &Checkpoint<S>,
        source: &Hashing<'a, S>,
    ) -> Result<(), IngestError> {
        let plan = &self.ingest.plan;
        let tensors = checkpoint.tensors();
        let (Some(&(first, from)), Some(&(last, to))) = (spans.first(), spans.last()) else {
            return Ok(());
        };
        let first = Row {
            tensor: first,
            row: from.row,
        };
        let end = Row {
            tensor: last,
            row: to.row + to.rows,
        };
        let mut slices =
            Slices::between(source, tensors, checkpoint.overlay(), PORTION, first, end);
        let mut spans = spans.iter().peekable();
        let mut rows = Packed::default();
        while let Some(slice) = slices.next().await? {
            while spans
                .next_if(|(tensor, _)| *tensor < slice.tensor)
                .is_some()
            {}
            let (Some((_, span)), Some(info)) = (spans.peek(), tensors.get(slice.tensor)) else {
                break;
            };
            let storage = plan.tensors[slice.tensor].storage;
            pack_rows(storage, info, &slice.bytes, &mut rows).map_err(|reason| {
                IngestError::Quantize {
                    tensor: info.name.clone(),
                    reason: reason.in_rows_from(slice.rows.start),
                }
            })?;
            let (weight_bytes, scale_bytes) = storage.row_bytes(info.cols());
            let row = slice.rows.start - span.row;
            place(piece, span.weights + row * weight_bytes, &rows.weights);
            place(piece, span.scales + row * scale_bytes, &rows.scales);
        }
        Ok(())
    }
}

fn place(piece: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = piece.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}

/// Rows of a checkpoint as a piece holds them.
fn pack_rows(
    storage: Storage,
    info: &TensorInfo,
    bytes: &[u8],
    out: &mut Packed,
) -> Result<(), QuantizeError> {
    match storage {
        Storage::Matrix(precision) => pack(precision, info.dtype, info.cols(), bytes, out),
        Storage::Numbers => {
            out.scales.clear();
            out.weights.clear();
            match info.dtype {
                Dtype::F32 => out.weights.extend_from_slice(bytes),
                Dtype::BF16 => out
                    .weights
                    .extend(bytes.chunks_exact(2).flat_map(|b| [0, 0, b[0], b[1]])),
                Dtype::F16 => out.weights.extend(
                    bytes
                        .chunks_exact(2)
                        .flat_map(|b| widen_f16([b[0], b[1]]).to_le_bytes()),
                ),
            }
            Ok(())
        }
    }
}
