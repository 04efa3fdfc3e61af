//! How far a model is, in bytes.

use super::ingest::{Material, Progress, Stage};
use super::plan::Plan;
use crate::source::Source;

/// Counts bytes by pieces.
pub(super) struct Tally {
    /// For each piece the bytes read for it and the bytes it has.
    pieces: Vec<(u64, u64)>,
    read: u64,
    pub(super) stored: u64,
    total_read: u64,
    total_stored: u64,
}

impl Tally {
    pub(super) fn new<S: Source>(plan: &Plan, material: &Material<'_, S>) -> Self {
        let mut pieces: Vec<(u64, u64)> = (0..plan.pieces())
            .map(|index| (0, plan.piece_len(index) as u64))
            .collect();
        match material {
            Material::Packed(_) => pieces.iter_mut().for_each(|(read, bytes)| *read = *bytes),
            Material::Checkpoint(checkpoint) => {
                for (tensor, info) in plan.tensors.iter().zip(checkpoint.tensors()) {
                    for span in &tensor.spans {
                        if let Some((read, _)) = pieces.get_mut(span.piece) {
                            *read += span.rows as u64 * info.row_bytes() as u64;
                        }
                    }
                }
            }
        }
        Self {
            read: 0,
            stored: 0,
            total_read: pieces.iter().map(|(read, _)| read).sum(),
            total_stored: pieces.iter().map(|(_, stored)| stored).sum(),
            pieces,
        }
    }

    pub(super) fn add(&mut self, index: usize) {
        if let Some((read, stored)) = self.pieces.get(index) {
            self.read += read;
            self.stored += stored;
        }
    }

    pub(super) fn progress(&self, stage: Stage) -> Progress {
        Progress {
            stage,
            read_bytes: self.read,
            total_read_bytes: self.total_read,
            stored_bytes: self.stored,
            total_stored_bytes: self.total_stored,
        }
    }

    pub(super) fn report(&self, stage: Stage, on_progress: &mut dyn FnMut(Progress)) {
        on_progress(self.progress(stage));
    }
}
