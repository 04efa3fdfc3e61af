use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use paligemma_checkpoint::{Packed, Precision, RowLayout};

use crate::buffer::Buffer;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::shader::{self, Shader};
use crate::upload::{Destination, HostBytes};

/// Inputs that a shader reads at a time; rows are padded with zeros to a multiple of it.
pub(crate) const BLOCK: usize = 8;

/// A weight matrix `[rows, columns]` on the GPU, packed in one of the [`Precision`]s.
///
/// What a precision means is known to `paligemma_checkpoint`, which packs, to
/// `shaders/shared/weight.wesl`, which reads, and here, nowhere else. A matrix larger than a
/// storage binding may be is split into shards of whole rows. A clone is the same memory.
#[derive(Clone)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    precision: Precision,
    layout: RowLayout,
    rows_per_shard: usize,
    shards: Vec<Planes>,
}

/// Some rows of a matrix.
#[derive(Clone)]
struct Planes {
    weights: Buffer,
    scales: Option<Buffer>,
}

/// `WeightShape` of `shaders/shared/weight.wesl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct WeightShape {
    rows: u32,
    blocks: u32,
    group_shift: u32,
    scale_stride: u32,
}

impl Matrix {
    /// Output features, or vocabulary entries.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How it is stored.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Into how many buffers it is split.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Blocks of eight inputs in a row.
    pub(crate) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    pub(crate) fn shape(&self, rows: usize) -> WeightShape {
        let group = match self.precision {
            Precision::F32 | Precision::F16 | Precision::BF16 => BLOCK,
            Precision::Q8 { group } | Precision::Q4 { group } | Precision::Int4 { group } => group,
        };
        WeightShape {
            rows: rows as u32,
            blocks: self.blocks() as u32,
            group_shift: (group / BLOCK).max(1).ilog2(),
            scale_stride: (self.layout.scale_bytes / 4) as u32,
        }
    }

    pub(crate) fn shards(
        &self,
    ) -> impl Iterator<Item = (Range<usize>, impl Iterator<Item = &Buffer>)> {
        self.shards.iter().enumerate().map(|(i, planes)| {
            let start = i * self.rows_per_shard;
            let rows = start..(start + self.rows_per_shard).min(self.rows);
            (rows, std::iter::once(&planes.weights).chain(&planes.scales))
        })
    }

    /// What computes with it.
    pub(crate) fn kernels(&self) -> Kernels {
        kernels(self.precision, self.blocks())
    }
}

/// The kernels for one way of storing weights.
pub(crate) struct Kernels {
    pub(crate) matmul: &'static Shader,
    pub(crate) matmul_tiled: &'static Shader,
    pub(crate) matmul_half: Option<&'static Shader>,
    pub(crate) matmul_cooperative: Option<Cooperative>,
    pub(crate) matmul_dots: Option<&'static Shader>,
    pub(crate) matvec: Matvec,
    pub(crate) matvec_geglu: Matvec,
    pub(crate) embed: &'static Shader,
}

/// A product of a single row, for every adapter and for those with subgroups.
#[derive(Clone, Copy)]
pub(crate) struct Matvec {
    pub(crate) plain: &'static Shader,
    pub(crate) fours: &'static Shader,
    pub(crate) subgroups: Option<&'static Shader>,
    pub(crate) bytes: Option<&'static Shader>,
    /// The same, which packs what it writes, too.
    pub(crate) packs: Option<&'static Shader>,
    /// With the norm before it inside.
    pub(crate) norms: Option<&'static Shader>,
    /// Inputs that an invocation reads at a time of those in bytes.
    pub(crate) at_once: usize,
}

/// A product of many rows by cooperative matrices of either size.
#[derive(Clone, Copy)]
pub(crate) struct Cooperative {
    pub(crate) eight: &'static Shader,
    pub(crate) sixteen: &'static Shader,
}

macro_rules! kernels {
    ($matvec:ident $(+ $matvec_subgroups:ident)? | $fours:ident $(+ $bytes:ident of $at_once:literal)?, $geglu:ident $(+ $geglu_subgroups:ident)? | $geglu_fours:ident $(+ $geglu_bytes:ident + $packs:ident)?, $matmul:ident, $tiled:ident $(+ $half:ident + $dots:ident)?, $embed:ident) => {
        Kernels {
            matmul: &shader::$matmul,
            matmul_tiled: &shader::$tiled,
            matmul_half: [$(&shader::$half)?].first().copied(),
            matmul_cooperative: None,
            matmul_dots: [$(&shader::$dots)?].first().copied(),
            matvec: Matvec {
                plain: &shader::$matvec,
                fours: &shader::$fours,
                subgroups: [$(&shader::$matvec_subgroups)?].first().copied(),
                bytes: [$(&shader::$bytes)?].first().copied(),
                packs: None,
                norms: None,
                at_once: 0 $(+ $at_once)?,
            },
            matvec_geglu: Matvec {
                plain: &shader::$geglu,
                fours: &shader::$geglu_fours,
                subgroups: [$(&shader::$geglu_subgroups)?].first().copied(),
                bytes: [$(&shader::$geglu_bytes)?].first().copied(),
                packs: [$(&shader::$packs)?].first().copied(),
                norms: None,
                at_once: 0 $(+ $at_once)?,
            },
            embed: &shader::$embed,
        }
    };
}

/// Those for rows of so many blocks.
pub(crate) fn kernels(precision: Precision, blocks: usize) -> Kernels {
    let mut kernels = Kernels {
        matmul_cooperative: cooperative(precision),
        ..by_table(precision, blocks)
    };
    if let Some([linear, geglu]) = norms(precision, blocks) {
        kernels.matvec.norms = Some(linear);
        kernels.matvec_geglu.norms = Some(geglu);
    }
    kernels
}

/// Products with the norm before them inside: the plain one, and that of gates and ups.
fn norms(precision: Precision, blocks: usize) -> Option<[&'static Shader; 2]> {
    let of = match precision {
        Precision::F32 => [
            &shader::MATVEC_FOURS_F32_NORMS,
            &shader::MATVEC_GEGLU_FOURS_F32_NORMS,
        ],
        Precision::F16 => [
            &shader::MATVEC_FOURS_F16_NORMS,
            &shader::MATVEC_GEGLU_FOURS_F16_NORMS,
        ],
        Precision::BF16 => [
            &shader::MATVEC_FOURS_BF16_NORMS,
            &shader::MATVEC_GEGLU_FOURS_BF16_NORMS,
        ],
        _ if !is_wide(precision, blocks) => return None,
        Precision::Q8 { .. } => [
            &shader::MATVEC_FOURS_Q8_WIDE_NORMS,
            &shader::MATVEC_GEGLU_FOURS_Q8_WIDE_NORMS,
        ],
        Precision::Q4 { .. } => [
            &shader::MATVEC_FOURS_Q4_WIDE_NORMS,
            &shader::MATVEC_GEGLU_FOURS_Q4_WIDE_NORMS,
        ],
        Precision::Int4 { .. } => [
            &shader::MATVEC_FOURS_INT4_WIDE_NORMS,
            &shader::MATVEC_GEGLU_FOURS_INT4_WIDE_NORMS,
        ],
    };
    Some(of)
}

/// Rows and groups of whole chunks of 32 inputs are read 16 bytes at a time.
fn is_wide(precision: Precision, blocks: usize) -> bool {
    match precision {
        Precision::F32 | Precision::F16 | Precision::BF16 => false,
        Precision::Q8 { group } | Precision::Q4 { group } | Precision::Int4 { group } => {
            blocks.is_multiple_of(4) && group.is_multiple_of(32)
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn cooperative(precision: Precision) -> Option<Cooperative> {
    match precision {
        Precision::Q8 { group } if group.is_multiple_of(32) => Some(Cooperative {
            eight: &shader::MATMUL_COOPERATIVE_Q8,
            sixteen: &shader::MATMUL_COOPERATIVE_Q8_SIXTEEN,
        }),
        Precision::Q4 { group } if group.is_multiple_of(32) => Some(Cooperative {
            eight: &shader::MATMUL_COOPERATIVE_Q4,
            sixteen: &shader::MATMUL_COOPERATIVE_Q4_SIXTEEN,
        }),
        _ => None,
    }
}

#[cfg(target_arch = "wasm32")]
fn cooperative(_: Precision) -> Option<Cooperative> {
    None
}

/// All but those that a table of two columns does not tell.
#[rustfmt::skip] // a table
fn by_table(precision: Precision, blocks: usize) -> Kernels {
    match (precision, is_wide(precision, blocks)) {
        (Precision::F32, _) => kernels!(MATVEC_F32 | MATVEC_FOURS_F32, MATVEC_GEGLU_F32 | MATVEC_GEGLU_FOURS_F32, MATMUL_F32, MATMUL_TILED_F32, EMBED_F32),
        (Precision::F16, _) => kernels!(MATVEC_F16 | MATVEC_FOURS_F16, MATVEC_GEGLU_F16 | MATVEC_GEGLU_FOURS_F16, MATMUL_F16, MATMUL_TILED_F16, EMBED_F16),
        (Precision::BF16, _) => kernels!(MATVEC_BF16 | MATVEC_FOURS_BF16, MATVEC_GEGLU_BF16 | MATVEC_GEGLU_FOURS_BF16, MATMUL_BF16, MATMUL_TILED_BF16, EMBED_BF16),
        (Precision::Q8 { .. }, false) => kernels!(MATVEC_Q8 | MATVEC_FOURS_Q8, MATVEC_GEGLU_Q8 | MATVEC_GEGLU_FOURS_Q8, MATMUL_Q8, MATMUL_TILED_Q8, EMBED_Q8),
        (Precision::Q8 { .. }, true) => kernels!(MATVEC_Q8_WIDE + MATVEC_Q8_WIDE_SUBGROUPS | MATVEC_FOURS_Q8_WIDE + MATVEC_FOURS_Q8_WIDE_BYTES of 16, MATVEC_GEGLU_Q8_WIDE + MATVEC_GEGLU_Q8_WIDE_SUBGROUPS | MATVEC_GEGLU_FOURS_Q8_WIDE + MATVEC_GEGLU_FOURS_Q8_WIDE_BYTES + MATVEC_GEGLU_FOURS_Q8_WIDE_BYTES_PACKS, MATMUL_Q8, MATMUL_TILED_Q8 + MATMUL_HALF_Q8 + MATMUL_DOTS_Q8, EMBED_Q8),
        (Precision::Q4 { .. }, false) => kernels!(MATVEC_Q4 | MATVEC_FOURS_Q4, MATVEC_GEGLU_Q4 | MATVEC_GEGLU_FOURS_Q4, MATMUL_Q4, MATMUL_TILED_Q4, EMBED_Q4),
        (Precision::Q4 { .. }, true) => kernels!(MATVEC_Q4_WIDE + MATVEC_Q4_WIDE_SUBGROUPS | MATVEC_FOURS_Q4_WIDE + MATVEC_FOURS_Q4_WIDE_BYTES of 32, MATVEC_GEGLU_Q4_WIDE + MATVEC_GEGLU_Q4_WIDE_SUBGROUPS | MATVEC_GEGLU_FOURS_Q4_WIDE + MATVEC_GEGLU_FOURS_Q4_WIDE_BYTES + MATVEC_GEGLU_FOURS_Q4_WIDE_BYTES_PACKS, MATMUL_Q4, MATMUL_TILED_Q4 + MATMUL_HALF_Q4 + MATMUL_DOTS_Q4, EMBED_Q4),
        (Precision::Int4 { .. }, false) => kernels!(MATVEC_INT4 | MATVEC_FOURS_INT4, MATVEC_GEGLU_INT4 | MATVEC_GEGLU_FOURS_INT4, MATMUL_INT4, MATMUL_TILED_INT4, EMBED_INT4),
        (Precision::Int4 { .. }, true) => kernels!(MATVEC_INT4_WIDE + MATVEC_INT4_WIDE_SUBGROUPS | MATVEC_FOURS_INT4_WIDE, MATVEC_GEGLU_INT4_WIDE + MATVEC_GEGLU_INT4_WIDE_SUBGROUPS | MATVEC_GEGLU_FOURS_INT4_WIDE, MATMUL_INT4, MATMUL_TILED_INT4, EMBED_INT4),
    }
}

impl Gpu {
    /// Room for a matrix, zeroed.
    ///
    /// # Errors
    /// A single row larger than a binding may be, or a group that is no power of two of blocks.
    pub fn matrix(
        &self,
        label: &str,
        rows: usize,
        columns: usize,
        precision: Precision,
    ) -> Result<Matrix, GpuError> {
        let layout = precision.layout(columns);
        if let Precision::Q8 { group } | Precision::Q4 { group } | Precision::Int4 { group } =
            precision
            && !(group.is_multiple_of(BLOCK) && (group / BLOCK).is_power_of_two())
        {
            return Err(GpuError::Shape {
                kernel: "matrix",
                detail: format!("{label} in groups of {group}"),
            });
        }
        let largest = layout.weight_bytes.max(layout.scale_bytes) as u64;
        let available = self.info().max_binding_bytes;
        if largest > available {
            return Err(GpuError::LimitTooSmall {
                what: format!("a row of {label} [{rows}, {columns}]"),
                needed: largest,
                limit: "maxStorageBufferBindingSize".to_owned(),
                available,
            });
        }
        let rows_per_shard = usize::try_from(available / largest.max(1))
            .unwrap_or(usize::MAX)
            .min(rows)
            .max(1);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let plane = |count: usize, bytes: usize| {
            let bytes = count as u64 * bytes as u64;
            self.buffer(label, bytes, usage)
        };
        let mut shards = Vec::new();
        for start in (0..rows).step_by(rows_per_shard) {
            let count = rows_per_shard.min(rows - start);
            shards.push(Planes {
                weights: plane(count, layout.weight_bytes)?,
                scales: match layout.scale_bytes {
                    0 => None,
                    bytes => Some(plane(count, bytes)?),
                },
            });
        }
        Ok(Matrix {
            rows,
            columns,
            precision,
            layout,
            rows_per_shard,
            shards,
        })
    }

    /// Uploads whole rows, packed in the matrix's precision.
    ///
    /// # Errors
    /// Rows outside the matrix, or planes that are not so many rows.
    pub fn write_matrix(
        &self,
        to: &Matrix,
        rows: Range<usize>,
        packed: &Packed,
    ) -> Result<(), GpuError> {
        let RowLayout {
            weight_bytes,
            scale_bytes,
        } = to.layout;
        let fits = packed.weights.len() == rows.len() * weight_bytes
            && packed.scales.len() == rows.len() * scale_bytes;
        if !fits {
            return Err(misplaced(to, &rows, packed.weights.len()));
        }
        self.write_planes(to, rows, (&packed.weights, 0), (&packed.scales, 0))
    }

    /// Uploads whole rows from `bytes`, in which their weights begin at byte `weights` and their
    /// scales at byte `scales`.
    ///
    /// # Errors
    /// Rows outside the matrix, or planes outside the bytes.
    pub fn write_packed_rows(
        &self,
        to: &Matrix,
        rows: Range<usize>,
        bytes: &impl HostBytes,
        weights: usize,
        scales: usize,
    ) -> Result<(), GpuError> {
        self.write_planes(to, rows, (bytes, weights), (bytes, scales))
    }

    fn write_planes<B: HostBytes>(
        &self,
        to: &Matrix,
        rows: Range<usize>,
        weights: (&B, usize),
        scales: (&B, usize),
    ) -> Result<(), GpuError> {
        let RowLayout {
            weight_bytes,
            scale_bytes,
        } = to.layout;
        let holds = |(bytes, start): (&B, usize), row_bytes: usize| {
            let end = rows.len().checked_mul(row_bytes);
            let end = end.and_then(|length| start.checked_add(length));
            end.is_some_and(|end| end <= bytes.byte_len())
        };
        let fits = rows.start <= rows.end
            && rows.end <= to.rows
            && holds(weights, weight_bytes)
            && holds(scales, scale_bytes);
        if !fits {
            return Err(misplaced(to, &rows, weights.0.byte_len()));
        }
        let mut row = rows.start;
        while row < rows.end {
            let shard = row / to.rows_per_shard;
            let first = shard * to.rows_per_shard;
            let end = rows.end.min(first + to.rows_per_shard);
            let planes = &to.shards[shard];
            let write = |buffer: &Buffer, (bytes, start): (&B, usize), row_bytes: usize| {
                let from = start + (row - rows.start) * row_bytes;
                let destination = Destination {
                    queue: &self.0.queue,
                    buffer: buffer.raw(),
                    at: ((row - first) * row_bytes) as u64,
                };
                bytes.upload(from..from + (end - row) * row_bytes, destination);
            };
            write(&planes.weights, weights, weight_bytes);
            if let Some(buffer) = &planes.scales {
                write(buffer, scales, scale_bytes);
            }
            row = end;
        }
        Ok(())
    }
}

fn misplaced(to: &Matrix, rows: &Range<usize>, bytes: usize) -> GpuError {
    GpuError::Shape {
        kernel: "write_matrix",
        detail: format!(
            "{bytes} bytes as rows {rows:?} of [{}, {}]",
            to.rows, to.columns
        ),
    }
}
