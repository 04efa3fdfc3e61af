use std::collections::HashMap;

use crate::buffer::Buffer;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::matrix::Matrix;
use crate::packed::{PackedRows, Packing};
use crate::pipelines::Constants;
use crate::replay::Replay;
use crate::shader::{Binding, Shader};
use crate::tensor::{Indices, Tensor};

/// Most multiply-adds after which work is handed to the driver: short slices keep a browser's frames
/// smooth and stay far from the time at which drivers kill a submission. Once it is known how slow an
/// adapter is there are fewer: see [`Gpu::compute`]. A kernel that would do
/// more in one dispatch is recorded in stretches of rows.
pub(crate) const SLICE: u64 = 20_000_000_000;

/// Rows of a stretch so that none costs more than a slice: whole tiles of 32, which also begin
/// where a binding can.
pub(crate) fn stretch(rows: usize, cost_of_a_row: u64, slice: u64) -> usize {
    let most = usize::try_from(slice / cost_of_a_row.max(1)).unwrap_or(usize::MAX);
    (most / 32 * 32).clamp(32, rows.max(32))
}

/// Uniform bindings begin at multiples of this (WebGPU's default alignment).
const UNIFORM_ALIGNMENT: usize = 256;

/// Recorded GPU work: pipelines, bind groups and copies, ready to be submitted again and again.
#[derive(Default)]
pub struct Program {
    // Before the steps: it waits for the GPU, which uses their buffers.
    pub(crate) replay: Replay,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone)]
pub(crate) enum Step {
    Dispatch {
        shader: &'static Shader,
        #[cfg_attr(not(vulkan), expect(dead_code, reason = "read for replay"))]
        constants: Vec<(&'static str, f64)>,
        // Bytes that are bound, or that are read and written as far as that is known.
        bytes: u64,
        pipeline: wgpu::ComputePipeline,
        bind_group: wgpu::BindGroup,
        // What the bind group refers to: without an owner, buffers would be destroyed.
        #[cfg_attr(not(vulkan), expect(dead_code, reason = "read for replay"))]
        bound: Vec<Bound>,
        workgroups: [u32; 3],
        cost: u64,
    },
    Copy {
        source: Buffer,
        source_offset: u64,
        target: Buffer,
        target_offset: u64,
        bytes: u64,
    },
}

/// A part of a buffer under the number of a binding.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) binding: u32,
    #[cfg_attr(not(vulkan), expect(dead_code, reason = "read for replay"))]
    pub(crate) kind: Binding,
    pub(crate) buffer: Buffer,
    pub(crate) bytes: std::ops::Range<u64>,
}

impl Step {
    /// Multiply-adds.
    pub(crate) fn cost(&self) -> u64 {
        match self {
            Self::Dispatch { cost, .. } => *cost,
            Self::Copy { .. } => 0,
        }
    }

    /// It goes into a slice that has cost so much: into an empty one whatever it costs.
    pub(crate) fn fits(&self, spent: u64, slice: u64) -> bool {
        spent == 0 || spent.saturating_add(self.cost()) <= slice
    }
}

impl Program {
    /// Number of compute dispatches.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        let dispatch = |step: &&Step| matches!(step, Step::Dispatch { .. });
        self.steps.iter().filter(dispatch).count()
    }

    /// Names of the kernels that are dispatched, in order.
    pub fn kernels(&self) -> impl Iterator<Item = &'static str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Dispatch { shader, .. } => Some(shader.name),
            Step::Copy { .. } => None,
        })
    }
}

/// Records a [`Program`]. The functions that record kernels are in files by what they
/// compute, `kernels.rs` and others.
///
/// Recording never fails half-way: the first error is kept and returned by [`Recorder::finish`],
/// so that a model's forward pass reads as what it computes.
pub struct Recorder {
    pub(crate) gpu: Gpu,
    pub(crate) steps: Vec<Recorded>,
    pub(crate) uniforms: Vec<u8>,
    // Inputs of products in 16-bit floats, by rows and words of a row; a product is done with them
    // before the next one begins.
    pub(crate) halves: HashMap<[usize; 2], (Indices, Tensor)>,
    // What decode attention finds in parts of the keys, by heads, parts and head dimension; as above.
    pub(crate) parts: HashMap<[usize; 3], (Buffer, Tensor)>,
    pub(crate) packed: PackedRows,
    pub(crate) error: Option<GpuError>,
}

pub(crate) enum Recorded {
    Dispatch {
        shader: &'static Shader,
        constants: Vec<(&'static str, f64)>,
        resources: Vec<Resource>,
        uniform: (usize, usize),
        workgroups: [u32; 3],
        cost: u64,
    },
    Copy(Step),
}

/// Part of a buffer that a kernel binds.
pub(crate) struct Resource {
    pub(crate) buffer: Buffer,
    offset: u64,
    size: Option<u64>,
}

impl Resource {
    pub(crate) fn bytes(&self) -> std::ops::Range<u64> {
        let whole = || self.buffer.raw().size().saturating_sub(self.offset);
        self.offset..self.offset + self.size.unwrap_or_else(whole)
    }
}

impl From<&Tensor> for Resource {
    fn from(tensor: &Tensor) -> Self {
        Self {
            buffer: tensor.buffer.clone(),
            offset: tensor.byte_offset(),
            size: Some(tensor.byte_len()),
        }
    }
}

impl From<&Indices> for Resource {
    fn from(indices: &Indices) -> Self {
        Self::from(&indices.buffer)
    }
}

impl From<&Buffer> for Resource {
    fn from(buffer: &Buffer) -> Self {
        Self {
            buffer: buffer.clone(),
            offset: 0,
            size: None,
        }
    }
}

impl Gpu {
    /// Starts recording.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder {
            gpu: self.clone(),
            steps: Vec::new(),
            uniforms: Vec::new(),
            halves: HashMap::new(),
            parts: HashMap::new(),
            packed: PackedRows::default(),
            error: None,
        }
    }
}

impl Recorder {
    /// Records a dispatch. `resources` are the storage bindings in the order of their numbers,
    /// `parameters` the bytes of the one uniform. `cost` is in multiply-adds.
    pub(crate) fn dispatch(
        &mut self,
        shader: &'static Shader,
        resources: Vec<Resource>,
        parameters: &[u8],
        workgroups: [u64; 3],
        cost: u64,
    ) {
        self.dispatch_with(shader, &[], resources, parameters, workgroups, cost);
    }

    /// The same with values for the shader's overridable constants.
    pub(crate) fn dispatch_with(
        &mut self,
        shader: &'static Shader,
        constants: &Constants,
        resources: Vec<Resource>,
        parameters: &[u8],
        workgroups: [u64; 3],
        cost: u64,
    ) {
        let shape = |detail| GpuError::Shape {
            kernel: shader.name,
            detail,
        };
        let storage = || storage_of(shader);
        if storage().count() != resources.len() || resources.len() + 1 != shader.bindings.len() {
            let detail = format!("{} resources for {:?}", resources.len(), shader.bindings);
            return self.fail(shape(detail));
        }
        // WebGPU refuses it too, but only after submission.
        for (kind, written) in storage().zip(&resources) {
            let same = |other: &&Resource| other.buffer.is(&written.buffer);
            if kind == Binding::ReadWrite && resources.iter().filter(same).count() > 1 {
                return self.fail(shape("an operand is read and written".to_owned()));
            }
        }
        if workgroups.contains(&0) {
            return; // nothing to do
        }
        let Ok(groups) = fold(workgroups, shader.folds) else {
            return self.fail(shape(format!("{workgroups:?} workgroups")));
        };
        let start = self.uniforms.len();
        self.uniforms.extend_from_slice(parameters);
        // Uniform bindings are whole multiples of 16 bytes.
        let size = parameters.len().next_multiple_of(16);
        let end = (start + size).next_multiple_of(UNIFORM_ALIGNMENT);
        self.uniforms.resize(end, 0);
        self.push(Recorded::Dispatch {
            shader,
            constants: constants.to_vec(),
            resources,
            uniform: (start, size),
            workgroups: groups,
            cost,
        });
    }

    /// Everything that is recorded comes by here: what it writes is not what it was.
    fn push(&mut self, step: Recorded) {
        match &step {
            Recorded::Dispatch {
                shader, resources, ..
            } => {
                for (kind, written) in storage_of(shader).zip(resources) {
                    if kind == Binding::ReadWrite {
                        self.packed.forget(&written.buffer, &written.bytes());
                    }
                }
            }
            Recorded::Copy(Step::Copy {
                target,
                target_offset,
                bytes,
                ..
            }) => {
                let written = *target_offset..*target_offset + *bytes;
                self.packed.forget(target, &written);
            }
            Recorded::Copy(Step::Dispatch { .. }) => {}
        }
        self.steps.push(step);
    }

    /// Dispatches and copies so far, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Makes the step of this number one that also packs what it writes, into these.
    pub(crate) fn also_pack(
        &mut self,
        step: usize,
        packing: Packing,
        into: [Resource; 2],
    ) -> Result<(), GpuError> {
        let misfit = |detail: &str| GpuError::Shape {
            kernel: packing.shader.name,
            detail: detail.to_owned(),
        };
        let Some(Recorded::Dispatch {
            shader,
            constants,
            resources,
            workgroups,
            ..
        }) = self.steps.get_mut(step)
        else {
            return Err(misfit("in place of a copy"));
        };
        let groups = fold(packing.workgroups, packing.shader.folds);
        *workgroups = groups.map_err(|()| misfit("too many workgroups"))?;
        resources.extend(into);
        if storage_of(packing.shader).count() != resources.len() {
            return Err(misfit("another number of resources"));
        }
        *shader = packing.shader;
        *constants = packing.constants;
        Ok(())
    }

    /// Records a copy between places that have been checked: buffer and byte offset of each.
    pub(crate) fn copy_bytes(&mut self, from: (&Buffer, u64), to: (&Buffer, u64), bytes: u64) {
        self.push(Recorded::Copy(Step::Copy {
            source: from.0.clone(),
            source_offset: from.1,
            target: to.0.clone(),
            target_offset: to.1,
            bytes,
        }));
    }

    pub(crate) fn fail(&mut self, error: GpuError) {
        self.error.get_or_insert(error);
    }

    /// For each shard of a matrix its rows, and the other operands followed by its planes: the
    /// order of `shaders/shared/weight.wesl`.
    pub(crate) fn shard_resources(
        matrix: &Matrix,
        others: impl Fn() -> Vec<Resource>,
    ) -> Vec<(std::ops::Range<usize>, Vec<Resource>)> {
        matrix
            .shards()
            .map(|(rows, planes)| {
                let mut resources = others();
                resources.extend(planes.map(Resource::from));
                (rows, resources)
            })
            .collect()
    }
}

/// The kinds of a shader's storage bindings, in the order of their numbers.
pub(crate) fn storage_of(shader: &Shader) -> impl Iterator<Item = Binding> + use<> {
    let kinds = shader.bindings.iter().map(|(_, kind)| *kind);
    kinds.filter(|kind| *kind != Binding::Uniform)
}

/// Splits a first dimension that is larger than a dispatch may have into two, for kernels that
/// compute their index from both.
fn fold([x, y, z]: [u64; 3], folds: bool) -> Result<[u32; 3], ()> {
    const MOST: u64 = 65_535;
    let (x, y) = if folds && x > MOST && y == 1 {
        (MOST, x.div_ceil(MOST))
    } else {
        (x, y)
    };
    if x > MOST || y > MOST || z > MOST {
        return Err(());
    }
    Ok([x as u32, y as u32, z as u32])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shapes of the released checkpoints whose products do not fit 32 bits.
    #[test]
    fn no_stretch_costs_more_than_a_slice() {
        let gate_28b = 4_608 * 36_864;
        let attention_896 = 8 * 4_096 * 1_152;
        for (rows, row) in [
            (4_352, gate_28b),
            (4_096, attention_896),
            (260, 16_384 * 2_048),
        ] {
            let at_once = stretch(rows, row, SLICE);
            assert!(at_once as u64 * row <= SLICE, "{rows} of {row}");
            assert!(at_once == rows || at_once.is_multiple_of(32));
        }
        assert_eq!(stretch(4_352, gate_28b, SLICE), 96);
        assert_eq!(stretch(100, 1, SLICE), 100);
        assert_eq!(stretch(1, u64::MAX, SLICE), 32);
        // Half of that where half fits.
        assert_eq!(stretch(4_352, gate_28b, SLICE / 2), 32);
        assert_eq!(stretch(4_352, gate_28b / 4, SLICE / 2), 224);
    }
}
