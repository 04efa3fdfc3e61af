//! The key-value cache of a layer: how it is stored, copied, read and written.

use std::fmt;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::program::Recorder;
use crate::shader::Shader;
use crate::tensor::Tensor;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachePrecision {
    /// 32-bit floats: nothing is lost.
    #[default]
    F32,
    /// 16-bit floats: half the memory and half of what a step of decoding reads of it. They are
    /// computed with as 32-bit floats.
    F16,
    /// Signed bytes, and for each head of each position a 32-bit float that they are multiples of:
    /// the largest magnitude over 127. About half of 16-bit floats; rounding is felt: up to
    /// 1 / 254 of that magnitude.
    Int8,
}

/// Keys and values of one layer: each `[kv_heads, capacity, head_dim]`, heads padded to a
/// multiple of four.
#[derive(Clone)]
pub struct KvCache {
    /// Keys, after rotary embedding. 16-bit floats are two to a column, bytes four, and behind
    /// those comes what they are multiples of.
    pub keys: Tensor,
    /// Values.
    pub values: Tensor,
    pub(crate) kv_heads: usize,
    pub(crate) capacity: usize,
    pub(crate) head_dim: usize,
    precision: CachePrecision,
}

impl KvCache {
    /// Sequence positions it holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How it is kept.
    #[must_use]
    pub fn precision(&self) -> CachePrecision {
        self.precision
    }

    /// Bytes of one position, keys and values, padding included.
    #[must_use]
    pub fn bytes_per_position(&self) -> usize {
        2 * self.kv_heads * self.keys.stride() * 4
    }

    /// Numbers of a head, padding included.
    pub(crate) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(4)
    }

    /// Of the kernels for 32, 16 and 8 bits the one for this cache.
    pub(crate) fn pick(&self, kernels: [&'static Shader; 3]) -> &'static Shader {
        self.precision.pick(kernels)
    }
}

impl CachePrecision {
    pub(crate) fn pick(self, [f32, f16, int8]: [&'static Shader; 3]) -> &'static Shader {
        match self {
            Self::F32 => f32,
            Self::F16 => f16,
            Self::Int8 => int8,
        }
    }
}

impl fmt::Display for CachePrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

impl CachePrecision {
    /// Bytes of a head of so many numbers.
    #[must_use]
    pub fn head_bytes(self, head_dim: usize) -> usize {
        4 * self.head_words(head_dim.next_multiple_of(4))
    }

    fn head_words(self, padded: usize) -> usize {
        match self {
            Self::F32 => padded,
            Self::F16 => padded / 2,
            Self::Int8 => padded / 4 + 1,
        }
    }
}

impl Gpu {
    /// An empty cache for `capacity` positions.
    ///
    /// # Errors
    /// More bytes than one binding may have.
    pub fn kv_cache(
        &self,
        kv_heads: usize,
        capacity: usize,
        head_dim: usize,
        precision: CachePrecision,
    ) -> Result<KvCache, GpuError> {
        let padded = head_dim.next_multiple_of(4);
        let (columns, stride) = match precision {
            CachePrecision::F32 => (head_dim, padded),
            other => (other.head_words(padded), other.head_words(padded)),
        };
        let rows = kv_heads * capacity;
        Ok(KvCache {
            keys: self.tensor_with_stride("keys", rows, columns, stride)?,
            values: self.tensor_with_stride("values", rows, columns, stride)?,
            kv_heads,
            capacity,
            head_dim,
            precision,
        })
    }

    /// Puts keys and values into the first positions: each `[kv_heads, positions, head_dim]`.
    ///
    /// # Errors
    /// More positions than there is room for, or other numbers than so many.
    pub fn write_cache(&self, to: &KvCache, both: [&[f32]; 2]) -> Result<(), GpuError> {
        let heads = to.kv_heads.max(1);
        for (tensor, numbers) in [&to.keys, &to.values].into_iter().zip(both) {
            let per_head = numbers.len() / heads;
            let positions = per_head / to.head_dim.max(1);
            if positions * heads * to.head_dim != numbers.len() || positions > to.capacity {
                return Err(GpuError::Shape {
                    kernel: "write_cache",
                    detail: format!(
                        "{} numbers into [{heads}, {}, {}]",
                        numbers.len(),
                        to.capacity,
                        to.head_dim
                    ),
                });
            }
            for (head, numbers) in numbers.chunks(per_head.max(1)).enumerate() {
                let row = head * to.capacity;
                match to.precision {
                    CachePrecision::F32 => self.write(tensor, row, numbers)?,
                    CachePrecision::F16 => self.write(tensor, row, &halves(numbers, to))?,
                    CachePrecision::Int8 => self.write(tensor, row, &bytes(numbers, to))?,
                }
            }
        }
        Ok(())
    }

    /// Keys and values of the first positions: each `[kv_heads, positions, head_dim]`.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_cache(
        &self,
        from: &KvCache,
        positions: usize,
    ) -> Result<[Vec<f32>; 2], GpuError> {
        let mut both = [Vec::new(), Vec::new()];
        for (tensor, out) in [&from.keys, &from.values].into_iter().zip(&mut both) {
            let all = self.read_tensor(tensor).await?;
            let columns = tensor.columns().max(1);
            for head in all.chunks(from.capacity.max(1) * columns) {
                for row in head.chunks(columns).take(positions) {
                    match from.precision {
                        CachePrecision::F32 => out.extend_from_slice(row),
                        CachePrecision::F16 => out.extend(from_halves(row, from.head_dim)),
                        CachePrecision::Int8 => out.extend(from_bytes(row, from.head_dim)),
                    }
                }
            }
        }
        Ok(both)
    }
}

/// Rows of numbers as 16-bit floats, two to a word, in the bits of 32-bit floats.
fn halves(numbers: &[f32], cache: &KvCache) -> Vec<f32> {
    let mut words = Vec::new();
    for row in numbers.chunks(cache.head_dim.max(1)) {
        let half = |i: usize| {
            // As the kernels do it: what is too large becomes the largest that there is.
            let number = row.get(i).unwrap_or(&0.0).clamp(-65504.0, 65504.0);
            u32::from(half::f16::from_f32(number).to_bits())
        };
        let pairs = (0..cache.padded_dim()).step_by(2);
        words.extend(pairs.map(|i| f32::from_bits(half(i) | half(i + 1) << 16)));
    }
    words
}

fn from_halves(words: &[f32], head_dim: usize) -> impl Iterator<Item = f32> {
    let halves = words.iter().flat_map(|word| {
        let bits = word.to_bits();
        [bits as u16, (bits >> 16) as u16]
    });
    let numbers = halves.map(|bits| half::f16::from_bits(bits).to_f32());
    numbers.take(head_dim)
}

/// Rows of numbers as bytes, four to a word, and what they are multiples of, in the bits of 32-bit
/// floats: as `shaders/shared/bytes.wesl` does it.
fn bytes(numbers: &[f32], cache: &KvCache) -> Vec<f32> {
    let mut words = Vec::new();
    for row in numbers.chunks(cache.head_dim.max(1)) {
        let largest = row.iter().fold(0.0, |largest: f32, x| {
            if largest.is_nan() || x.is_nan() {
                f32::NAN
            } else {
                largest.max(x.abs())
            }
        });
        let step = if largest.is_nan() {
            f32::NAN
        } else {
            largest.min(f32::MAX) * (1.0 / 127.0)
        };
        let code = |i: usize| {
            let code = (row.get(i).unwrap_or(&0.0) / step).round_ties_even();
            code.clamp(-127.0, 127.0) as i8 as u8
        };
        let quads = (0..cache.padded_dim()).step_by(4);
        words.extend(quads.map(|i| {
            let codes = [code(i), code(i + 1), code(i + 2), code(i + 3)];
            f32::from_bits(u32::from_le_bytes(codes))
        }));
        words.push(step);
    }
    words
}

fn from_bytes(words: &[f32], head_dim: usize) -> impl Iterator<Item = f32> {
    let (step, codes) = words.split_last().unwrap_or((&0.0, &[]));
    let codes = codes.iter().flat_map(|word| word.to_bits().to_le_bytes());
    codes
        .map(move |code| step * f32::from(code as i8))
        .take(head_dim)
}

impl Recorder {
    /// Copies the keys and values of these positions to another cache of the same shape.
    pub fn copy_positions(
        &mut self,
        source: &KvCache,
        target: &KvCache,
        positions: std::ops::Range<usize>,
    ) {
        let shape = |cache: &KvCache| {
            (
                cache.kv_heads,
                cache.capacity,
                cache.head_dim,
                cache.precision,
            )
        };
        if shape(source) != shape(target) || positions.end > source.capacity {
            return self.fail(GpuError::Shape {
                kernel: "copy_positions",
                detail: format!("{positions:?} of {:?}, {:?}", shape(source), shape(target)),
            });
        }
        for head in 0..source.kv_heads {
            let first = head * source.capacity;
            let (row, count) = (first + positions.start, positions.len());
            self.copy_rows(&source.keys, row, count, &target.keys, row);
            self.copy_rows(&source.values, row, count, &target.values, row);
        }
    }

    /// Copies the first `positions` of a cache into another of the same heads.
    pub fn copy_cache(&mut self, from: &KvCache, positions: usize, to: &KvCache) {
        let fits = from.kv_heads == to.kv_heads
            && from.head_dim == to.head_dim
            && from.precision == to.precision
            && positions <= from.capacity.min(to.capacity);
        if !fits {
            return self.fail(GpuError::Shape {
                kernel: "copy_cache",
                detail: format!("{positions} of {} to {}", from.capacity, to.capacity),
            });
        }
        for head in 0..from.kv_heads {
            let (source, target) = (head * from.capacity, head * to.capacity);
            self.copy_rows(&from.keys, source, positions, &to.keys, target);
            self.copy_rows(&from.values, source, positions, &to.values, target);
        }
    }
}
