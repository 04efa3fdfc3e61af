use std::ops::Range;

use paligemma_checkpoint::Dtype;

use crate::buffer::Buffer;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::upload::{Destination, HostBytes};

/// f32 numbers on the GPU: `[rows, columns]`, each row padded with zeros to `stride` floats.
///
/// The padding makes every row whole blocks of eight for the matrix products. Kernels never write
/// it, and buffers start as zeros, so it stays zero.
#[derive(Clone)]
pub struct Tensor {
    pub(crate) buffer: Buffer,
    offset: usize, // floats before the first row
    rows: usize,
    columns: usize,
    stride: usize,
}

impl Tensor {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row, padding not counted.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Floats from one row to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The same memory, these rows only. They must begin at a multiple of 256 bytes, where a
    /// binding can begin; any multiple of eight rows does when rows are padded to eight.
    ///
    /// # Errors
    /// A range outside the tensor or at an unaligned row.
    pub fn slice_rows(&self, rows: Range<usize>) -> Result<Self, GpuError> {
        let aligned = (rows.start * self.stride * 4).is_multiple_of(256);
        if rows.start > rows.end || rows.end > self.rows || !aligned {
            return Err(GpuError::Shape {
                kernel: "slice_rows",
                detail: format!("rows {rows:?} of {}", self.rows),
            });
        }
        Ok(Self {
            offset: self.offset + rows.start * self.stride,
            rows: rows.len(),
            ..self.clone()
        })
    }

    /// Some columns of a single row, to be written as a row of their own. A kernel can bind them
    /// only where they begin at a multiple of 256 bytes.
    ///
    /// # Errors
    /// More rows than one, or columns that there are not.
    pub fn slice_columns(&self, columns: Range<usize>) -> Result<Self, GpuError> {
        if self.rows != 1 || columns.start > columns.end || columns.end > self.columns {
            return Err(GpuError::Shape {
                kernel: "slice_columns",
                detail: format!("columns {columns:?} of [{}, {}]", self.rows, self.columns),
            });
        }
        Ok(Self {
            offset: self.offset + columns.start,
            columns: columns.len(),
            stride: columns.len(),
            ..self.clone()
        })
    }

    pub(crate) fn byte_offset(&self) -> u64 {
        (self.offset * 4) as u64
    }

    pub(crate) fn byte_len(&self) -> u64 {
        (self.rows * self.stride * 4) as u64
    }
}

/// u32 numbers on the GPU: token ids, positions, spans.
#[derive(Clone)]
pub struct Indices {
    pub(crate) buffer: Buffer,
    len: usize,
}

impl Indices {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

const STORAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_DST)
    .union(wgpu::BufferUsages::COPY_SRC);

impl Gpu {
    /// Zeros, `[rows, columns]`, rows padded to a multiple of eight.
    ///
    /// # Errors
    /// More bytes than one buffer or one binding may have.
    pub fn tensor(&self, label: &str, rows: usize, columns: usize) -> Result<Tensor, GpuError> {
        self.tensor_with_stride(label, rows, columns, columns.next_multiple_of(8))
    }

    /// Zeros, `[rows, columns]`, rows padded to `stride`.
    ///
    /// # Errors
    /// More bytes than one buffer or one binding may have.
    pub fn tensor_with_stride(
        &self,
        label: &str,
        rows: usize,
        columns: usize,
        stride: usize,
    ) -> Result<Tensor, GpuError> {
        let bytes = (rows as u64) * (stride as u64) * 4;
        let available = self.info().max_binding_bytes;
        if bytes > available {
            return Err(GpuError::LimitTooSmall {
                what: format!("{label} [{rows}, {columns}]"),
                needed: bytes,
                limit: "maxStorageBufferBindingSize".to_owned(),
                available,
            });
        }
        Ok(Tensor {
            buffer: self.buffer(label, bytes, STORAGE)?,
            offset: 0,
            rows,
            columns,
            stride,
        })
    }

    /// `count` numbers, uninitialised by us (zeros).
    ///
    /// # Errors
    /// More bytes than one buffer may have.
    pub fn indices(&self, label: &str, count: usize) -> Result<Indices, GpuError> {
        Ok(Indices {
            buffer: self.buffer(label, (count as u64) * 4, STORAGE)?,
            len: count,
        })
    }

    /// Uploads rows of f32 numbers; `values.len()` must be a whole number of rows.
    ///
    /// # Errors
    /// Rows outside the tensor.
    pub fn write(&self, to: &Tensor, first_row: usize, values: &[f32]) -> Result<(), GpuError> {
        let columns = to.columns.max(1);
        let rows = values.len() / columns;
        if rows * columns != values.len() || first_row + rows > to.rows {
            return Err(GpuError::Shape {
                kernel: "write",
                detail: format!(
                    "{} numbers at row {first_row} of [{}, {}]",
                    values.len(),
                    to.rows,
                    to.columns
                ),
            });
        }
        let at = to.byte_offset() + (first_row * to.stride * 4) as u64;
        if to.stride == columns {
            let bytes = bytemuck::cast_slice(values);
            self.0.queue.write(to.buffer.raw(), at, bytes);
            return Ok(());
        }
        // Padding between rows: write it as the zeros it is, in pieces that stay small.
        let rows_at_once = (1 << 18) / to.stride.max(1) + 1;
        let mut padded = Vec::new();
        for (piece, chunk) in values.chunks(rows_at_once * columns).enumerate() {
            padded.clear();
            for row in chunk.chunks(columns) {
                padded.extend_from_slice(row);
                padded.resize(padded.len() + to.stride - columns, 0.0);
            }
            self.0.queue.write(
                to.buffer.raw(),
                at + (piece * rows_at_once * to.stride * 4) as u64,
                bytemuck::cast_slice(&padded),
            );
        }
        Ok(())
    }

    /// Uploads rows stored as `dtype` (little-endian), widened to f32.
    ///
    /// # Errors
    /// Rows outside the tensor.
    pub fn write_widened(
        &self,
        to: &Tensor,
        first_row: usize,
        dtype: Dtype,
        bytes: &[u8],
    ) -> Result<(), GpuError> {
        self.write(to, first_row, &widen(dtype, bytes))
    }

    /// Uploads rows of little-endian f32 numbers, without padding between them, that begin at
    /// byte `from`.
    ///
    /// # Errors
    /// Rows outside the tensor or the bytes.
    pub fn write_packed_numbers(
        &self,
        to: &Tensor,
        rows: Range<usize>,
        bytes: &impl HostBytes,
        from: usize,
    ) -> Result<(), GpuError> {
        let row_bytes = to.columns * 4;
        let end = rows.len().checked_mul(row_bytes);
        let end = end.and_then(|length| from.checked_add(length));
        let fits = rows.start <= rows.end
            && rows.end <= to.rows
            && end.is_some_and(|end| end <= bytes.byte_len());
        if !fits {
            return Err(GpuError::Shape {
                kernel: "write_packed_numbers",
                detail: format!("rows {rows:?} of [{}, {}]", to.rows, to.columns),
            });
        }
        // Rows with padding between them go one by one: there are few, and the padding stays zero.
        let at_once = if to.stride == to.columns {
            rows.len()
        } else {
            1
        };
        for (step, row) in rows.clone().step_by(at_once.max(1)).enumerate() {
            let start = from + step * at_once * row_bytes;
            let destination = Destination {
                queue: &self.0.queue,
                buffer: to.buffer.raw(),
                at: to.byte_offset() + (row * to.stride * 4) as u64,
            };
            bytes.upload(start..start + at_once * row_bytes, destination);
        }
        Ok(())
    }

    /// Uploads numbers from the start.
    ///
    /// # Errors
    /// More numbers than there is room for.
    pub fn write_indices(&self, to: &Indices, values: &[u32]) -> Result<(), GpuError> {
        if values.len() > to.len {
            return Err(GpuError::Shape {
                kernel: "write_indices",
                detail: format!("{} numbers into {}", values.len(), to.len),
            });
        }
        self.0
            .queue
            .write(to.buffer.raw(), 0, bytemuck::cast_slice(values));
        Ok(())
    }
}

fn widen(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Dtype::F16 => bytes
            .chunks_exact(2)
            .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        Dtype::BF16 => bytes
            .chunks_exact(2)
            .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
    }
}
