use std::ops::Range;

use paligemma_checkpoint::Dtype;

use crate::buffer::Buffer;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::shader::{self, Shader};

/// Inputs that a shader reads at a time; rows are padded with zeros to a multiple of it.
const BLOCK: usize = 8;

/// A weight matrix `[rows, columns]` on the GPU, stored as it was published.
///
/// The storage type is known here and in `shaders/shared/weight.wesl`, nowhere else. A matrix
/// larger than a storage binding may be is split into shards of whole rows.
pub struct Matrix {
    rows: usize,
    columns: usize,
    dtype: Dtype,
    rows_per_shard: usize,
    shards: Vec<Buffer>,
}

/// Some rows of a matrix in one buffer.
pub(crate) struct Shard<'a> {
    pub(crate) buffer: &'a Buffer,
    pub(crate) rows: Range<usize>,
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

    /// Into how many buffers it is split.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Blocks of eight inputs in a row.
    pub(crate) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = Shard<'_>> {
        self.shards.iter().enumerate().map(|(i, buffer)| {
            let start = i * self.rows_per_shard;
            Shard {
                buffer,
                rows: start..(start + self.rows_per_shard).min(self.rows),
            }
        })
    }

    pub(crate) fn matmul(&self) -> &'static Shader {
        match self.dtype {
            Dtype::F32 => &shader::MATMUL_F32,
            Dtype::F16 => &shader::MATMUL_F16,
            Dtype::BF16 => &shader::MATMUL_BF16,
        }
    }

    pub(crate) fn matvec(&self) -> &'static Shader {
        match self.dtype {
            Dtype::F32 => &shader::MATVEC_F32,
            Dtype::F16 => &shader::MATVEC_F16,
            Dtype::BF16 => &shader::MATVEC_BF16,
        }
    }

    pub(crate) fn embed(&self) -> &'static Shader {
        match self.dtype {
            Dtype::F32 => &shader::EMBED_F32,
            Dtype::F16 => &shader::EMBED_F16,
            Dtype::BF16 => &shader::EMBED_BF16,
        }
    }

    fn row_bytes(&self) -> usize {
        self.blocks() * BLOCK * self.dtype.size()
    }
}

impl Gpu {
    /// Room for a matrix, zeroed.
    ///
    /// # Errors
    /// A single row larger than a binding may be.
    pub fn matrix(
        &self,
        label: &str,
        rows: usize,
        columns: usize,
        dtype: Dtype,
    ) -> Result<Matrix, GpuError> {
        let mut matrix = Matrix {
            rows,
            columns,
            dtype,
            rows_per_shard: rows,
            shards: Vec::new(),
        };
        let row_bytes = matrix.row_bytes() as u64;
        let available = self.info().max_binding_bytes;
        if row_bytes > available {
            return Err(GpuError::LimitTooSmall {
                what: format!("a row of {label} [{rows}, {columns}]"),
                needed: row_bytes,
                limit: "maxStorageBufferBindingSize".to_owned(),
                available,
            });
        }
        matrix.rows_per_shard = usize::try_from(available / row_bytes.max(1))
            .unwrap_or(usize::MAX)
            .min(rows)
            .max(1);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        for start in (0..rows).step_by(matrix.rows_per_shard) {
            let count = matrix.rows_per_shard.min(rows - start) as u64;
            let shard = self.buffer(label, count * row_bytes, usage)?;
            matrix.shards.push(shard);
        }
        Ok(matrix)
    }

    /// Uploads whole rows as they are in a checkpoint: little-endian, no padding.
    ///
    /// # Errors
    /// Rows outside the matrix, or bytes that are not so many rows.
    pub fn write_matrix(
        &self,
        to: &Matrix,
        rows: Range<usize>,
        bytes: &[u8],
    ) -> Result<(), GpuError> {
        let stored = to.columns * to.dtype.size();
        if rows.start > rows.end || rows.end > to.rows || bytes.len() != rows.len() * stored {
            return Err(GpuError::Shape {
                kernel: "write_matrix",
                detail: format!(
                    "{} bytes as rows {rows:?} of [{}, {}]",
                    bytes.len(),
                    to.rows,
                    to.columns
                ),
            });
        }
        let padded = to.row_bytes();
        let mut scratch = Vec::new();
        let mut row = rows.start;
        while row < rows.end {
            let shard = row / to.rows_per_shard;
            let end = rows.end.min((shard + 1) * to.rows_per_shard);
            let source = &bytes[(row - rows.start) * stored..(end - rows.start) * stored];
            let data = if stored == padded {
                source
            } else {
                scratch.clear();
                for one in source.chunks(stored) {
                    scratch.extend_from_slice(one);
                    scratch.resize(scratch.len() + padded - stored, 0);
                }
                &scratch
            };
            let at = ((row - shard * to.rows_per_shard) * padded) as u64;
            self.0.queue.write_buffer(to.shards[shard].raw(), at, data);
            row = end;
        }
        Ok(())
    }
}
