//! Rows as signed bytes beside their numbers, for products that read them so: who writes them, and
//! as long as they are what the numbers are.
//!
//! A row is packed by the kernel that wrote it, if that can: what was recorded of it becomes a dispatch
//! that packs, too, when a product asks for the bytes. Nothing is packed that nobody asks for.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::error::GpuError;
use crate::pipelines::Constants;
use crate::program::{Recorder, Resource};
use crate::shader::{self, Shader};
use crate::tensor::{Indices, Tensor};

/// Numbers that have a step of their own.
pub(crate) const GROUP: usize = 32;
/// Numbers of a workgroup of `pack_row`.
const AT_ONCE: usize = 4096;

/// A row in bytes: four to a word, and for each 32 what a step of one is worth.
#[derive(Clone)]
pub(crate) struct PackedRow {
    pub(crate) bytes: Indices,
    pub(crate) steps: Tensor,
}

impl PackedRow {
    pub(crate) fn resources(&self) -> [Resource; 2] {
        [(&self.bytes).into(), (&self.steps).into()]
    }
}

/// The kernel that packs what it writes beside doing what another does, with the same resources and
/// two more.
pub(crate) struct Packing {
    pub(crate) shader: &'static Shader,
    pub(crate) constants: Vec<(&'static str, f64)>,
    pub(crate) workgroups: [u64; 3],
}

/// Where a tensor is.
#[derive(Clone)]
struct Place {
    buffer: Buffer,
    bytes: Range<u64>,
}

impl Place {
    fn of(tensor: &Tensor) -> Self {
        let start = tensor.byte_offset();
        Self {
            buffer: tensor.buffer.clone(),
            bytes: start..start + tensor.byte_len(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.buffer.is(&other.buffer) && self.bytes == other.bytes
    }

    fn meets(&self, buffer: &Buffer, bytes: &Range<u64>) -> bool {
        self.buffer.is(buffer) && self.bytes.start < bytes.end && bytes.start < self.bytes.end
    }
}

/// How a row's bytes come about.
enum Bytes {
    /// The step of this number wrote the numbers, and could pack them.
    Possible(usize, Packing),
    /// They are there.
    There(PackedRow),
}

/// Rows of a program that is being recorded.
#[derive(Default)]
pub(crate) struct PackedRows {
    // Of rows that nothing has written since.
    known: Vec<(Place, Bytes)>,
    // What a row is packed into whenever it is: its bytes are done with before it is written again.
    made: Vec<(Place, PackedRow)>,
}

impl PackedRows {
    /// Something is written: what was known of rows there is no longer so.
    pub(crate) fn forget(&mut self, buffer: &Buffer, bytes: &Range<u64>) {
        self.known.retain(|(place, _)| !place.meets(buffer, bytes));
    }
}

/// Whether the row can be packed: a single one of whole groups, those that are padded included.
pub(crate) fn is_packable(x: &Tensor) -> bool {
    x.rows() == 1 && x.stride().is_multiple_of(GROUP) && x.stride() - x.columns() < GROUP
}

impl Recorder {
    /// Records a dispatch that writes the row `y`, and could pack it, too.
    #[allow(clippy::too_many_arguments)] // one more than a dispatch has
    pub(crate) fn dispatch_packable(
        &mut self,
        shader: &'static Shader,
        constants: &Constants,
        resources: Vec<Resource>,
        parameters: &[u8],
        workgroups: [u64; 3],
        cost: u64,
        packing: Option<(&Tensor, Packing)>,
    ) {
        let step = self.step_count();
        self.dispatch_with(shader, constants, resources, parameters, workgroups, cost);
        let is_recorded = self.step_count() > step;
        if let Some((y, packing)) = packing.filter(|(y, _)| is_recorded && is_packable(y)) {
            let possible = Bytes::Possible(step, packing);
            self.packed.known.push((Place::of(y), possible));
        }
    }

    /// The bytes of a row as its numbers are at this point of the program.
    pub(crate) fn packed_row(&mut self, x: &Tensor) -> Result<PackedRow, GpuError> {
        let place = Place::of(x);
        let rows = &mut self.packed;
        let known = rows.known.iter().position(|(known, _)| known.is(&place));
        let found = known.map(|at| rows.known.swap_remove(at).1);
        let row = match found {
            Some(Bytes::There(row)) => row,
            Some(Bytes::Possible(step, packing)) => {
                let row = self.room_for(x, &place)?;
                self.also_pack(step, packing, row.resources())?;
                row
            }
            None => {
                let row = self.room_for(x, &place)?;
                self.pack_row(x, &row.bytes, &row.steps);
                row
            }
        };
        let there = Bytes::There(row.clone());
        self.packed.known.push((place, there));
        Ok(row)
    }

    fn room_for(&mut self, x: &Tensor, place: &Place) -> Result<PackedRow, GpuError> {
        let mut made = self.packed.made.iter();
        if let Some((_, row)) = made.find(|(known, _)| known.is(place)) {
            return Ok(row.clone());
        }
        let row = PackedRow {
            bytes: self.gpu.indices("packed row", x.stride() / 4)?,
            steps: self
                .gpu
                .tensor("steps of a packed row", 1, x.stride() / GROUP)?,
        };
        self.packed.made.push((place.clone(), row.clone()));
        Ok(row)
    }

    /// A row in bytes, four to a word, and what a step of one is worth for each 32 of them: x
    /// `[1, columns]` with rows of whole groups of 32, bytes `[columns / 4]`, steps `[1, columns / 32]`.
    /// Bytes are whole multiples of steps, of which the largest of 32 numbers has 127; where one of them
    /// is infinite or none, the step is none.
    pub fn pack_row(&mut self, x: &Tensor, bytes: &Indices, steps: &Tensor) {
        let fits = is_packable(x)
            && bytes.len() >= x.stride() / 4
            && steps.rows() == 1
            && steps.columns() >= x.stride() / GROUP;
        if !fits {
            let detail = bytes.len().to_string();
            return self.misfit(&shader::PACK_ROW, &[x, steps], detail);
        }
        self.dispatch(
            &shader::PACK_ROW,
            vec![x.into(), bytes.into(), steps.into()],
            bytemuck::bytes_of(&((x.stride() / 4) as u32)),
            [x.stride().div_ceil(AT_ONCE) as u64, 1, 1],
            0,
        );
    }

    /// What products of bytes read of the row, for tests: see [`Recorder::pack_row`].
    #[doc(hidden)]
    pub fn packed_form(&mut self, x: &Tensor) -> Option<(Indices, Tensor)> {
        if !is_packable(x) {
            return None;
        }
        match self.packed_row(x) {
            Ok(row) => Some((row.bytes, row.steps)),
            Err(error) => {
                self.fail(error);
                None
            }
        }
    }
}
