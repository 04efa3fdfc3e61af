//! Multi-head attention over a key-value cache: the rotary table, and the kernels.

use bytemuck::{Pod, Zeroable};

use crate::cache::KvCache;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::program::{Recorder, stretch};
use crate::shader;
use crate::tensor::{Indices, Tensor};

/// Largest head dimension of the kernels for attention: they have room for 64 vec4s.
pub(crate) const MAX_HEAD_DIM: usize = 256;

/// How projections are laid out by head.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Numbers in a head, at most 256.
    pub head_dim: usize,
    /// Cosine and sine table `[positions, head_dim]` (pairs), and the rotary position of sequence
    /// index 0; none: no rotary embedding.
    pub rotary: Option<(&'a RotaryTable, usize)>,
}

impl<'a> Heads<'a> {
    /// Whether x `[rows, (heads + 2 * kv_heads) * head_dim]` and the cache are of these heads.
    pub(crate) fn fits(&self, x: &Tensor, cache: &KvCache) -> bool {
        x.columns() == (self.heads + 2 * self.kv_heads) * self.head_dim
            && self.heads.is_multiple_of(self.kv_heads.max(1))
            && self.rotary.is_none_or(|(table, first)| {
                table.0.columns() == self.head_dim && table.0.rows() >= first + cache.capacity
            })
            && cache.head_dim == self.head_dim
            && cache.kv_heads == self.kv_heads
    }

    /// The rotary table, or something else to bind, and the position of sequence index 0.
    pub(crate) fn table_or(&self, other: &'a Tensor) -> (&'a Tensor, usize) {
        match self.rotary {
            Some((table, first)) => (&table.0, first),
            None => (other, 0),
        }
    }
}

/// Cosines and sines of rotary embedding for positions `0..positions`.
#[derive(Clone)]
pub struct RotaryTable(Tensor);

impl std::fmt::Debug for RotaryTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RotaryTable[{}, {}]", self.0.rows(), self.0.columns())
    }
}

/// How queries attend.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Multiplied with each product of a query and a key.
    pub scale: f32,
    /// Soft cap of the scores.
    pub soft_cap: Option<f32>,
    /// Queries after the prefix see this many latest positions, themselves included.
    pub window: Option<usize>,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SplitParams {
    rows: u32,
    first_row: u32,
    q_rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vectors: u32,
    capacity: u32,
    stride: u32,
    rotary: u32,
    first_position: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct WeightsParams {
    rows: u32,
    first_row: u32,
    written: u32,
    queries_per_kv: u32,
    vectors: u32,
    capacity: u32,
    keys: u32,
    y_stride: u32,
    window: u32,
    scale: f32,
    cap: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct AttentionParams {
    rows: u32,
    first_row: u32,
    last_row: u32,
    queries_per_kv: u32,
    head_dim: u32,
    vectors: u32,
    capacity: u32,
    y_stride: u32,
    window: u32,
    scale: f32,
}

impl Attention {
    /// What the kernels are told when they are compiled: nothing is left in them of a soft cap that a
    /// model does not have.
    pub(crate) fn constants(self) -> Vec<(&'static str, f64)> {
        constant_of_cap(self.soft_cap).into_iter().collect()
    }
}

/// See [`Attention::constants`].
pub(crate) fn constant_of_cap(cap: Option<f32>) -> Option<(&'static str, f64)> {
    // What is infinite bounds nothing, and browsers refuse it.
    let cap = cap.filter(|cap| cap.is_finite())?;
    Some(("4", f64::from(cap)))
}

impl Gpu {
    /// Queries by head: `[heads, rows, head_dim]`, heads padded to a multiple of four.
    ///
    /// # Errors
    /// More bytes than one binding may have.
    pub fn queries(&self, heads: usize, rows: usize, head_dim: usize) -> Result<Tensor, GpuError> {
        let stride = head_dim.next_multiple_of(4);
        self.tensor_with_stride("queries", heads * rows, head_dim, stride)
    }

    /// Cosines and sines for `positions` positions: pair i of position p turns by
    /// p * theta^(-2 i / head_dim), computed in f32 as transformers does.
    ///
    /// # Errors
    /// More bytes than one binding may have.
    pub fn rotary_table(
        &self,
        positions: usize,
        head_dim: usize,
        theta: f64,
    ) -> Result<RotaryTable, GpuError> {
        let table = self.tensor_with_stride("rotary", positions, head_dim, head_dim)?;
        let frequencies: Vec<f32> = (0..head_dim / 2)
            .map(|i| {
                let exponent = (2 * i) as f32 / head_dim as f32;
                1.0 / (theta as f32).powf(exponent)
            })
            .collect();
        const AT_ONCE: usize = 256;
        let mut rows = Vec::with_capacity(AT_ONCE * head_dim);
        for first in (0..positions).step_by(AT_ONCE) {
            rows.clear();
            for position in first..(first + AT_ONCE).min(positions) {
                for frequency in &frequencies {
                    let angle = position as f32 * frequency;
                    rows.extend([angle.cos(), angle.sin()]);
                }
            }
            self.write(&table, first, &rows)?;
        }
        Ok(RotaryTable(table))
    }
}

impl Recorder {
    /// Lays projections out by head: x `[rows, (heads + 2 * kv_heads) * head_dim]`, a row's queries,
    /// keys and values one after the other. Queries go to q (see [`Gpu::queries`]) from its row
    /// `first_row` on, keys and values into the cache at the sequence indices that begin at
    /// `span[0] + first_row`; rotates queries and keys if asked.
    pub fn split_heads(
        &mut self,
        x: &Tensor,
        first_row: usize,
        how: Heads<'_>,
        span: &Indices,
        q: &Tensor,
        cache: &KvCache,
    ) {
        let shader = cache.pick([
            &shader::SPLIT_HEADS,
            &shader::SPLIT_HEADS_KV16,
            &shader::SPLIT_HEADS_KV8,
        ]);
        let (rows, q_rows) = (x.rows(), q.rows() / how.heads.max(1));
        let fits = how.fits(x, cache)
            && q.rows().is_multiple_of(how.heads.max(1))
            && first_row + rows <= q_rows
            && q.columns() == how.head_dim
            && q.stride() == cache.padded_dim()
            && span.len() >= 2
            && q_rows <= cache.capacity;
        if !fits {
            let all = [x, q, &cache.keys];
            return self.misfit(shader, &all, format!("{how:?}"));
        }
        let (table, first_position) = how.table_or(x);
        let params = SplitParams {
            rows: rows as u32,
            first_row: first_row as u32,
            q_rows: q_rows as u32,
            heads: how.heads as u32,
            kv_heads: how.kv_heads as u32,
            head_dim: how.head_dim as u32,
            vectors: (q.stride() / 4) as u32,
            capacity: cache.capacity as u32,
            stride: x.stride() as u32,
            rotary: how.rotary.is_some().into(),
            first_position: first_position as u32,
        };
        let width = q.stride() / 4 * (how.heads + 2 * how.kv_heads);
        self.dispatch(
            shader,
            vec![
                x.into(),
                table.into(),
                span.into(),
                q.into(),
                (&cache.keys).into(),
                (&cache.values).into(),
            ],
            bytemuck::bytes_of(&params),
            [width.div_ceil(64) as u64, rows as u64, 1],
            0,
        );
    }

    /// Attention of q (see [`Gpu::queries`]), whose rows have the sequence indices that begin at
    /// `span[0]`, over the cache, with a bidirectional prefix of length `span[1]`; y is
    /// `[rows, heads * head_dim]`.
    pub fn attention(
        &mut self,
        q: &Tensor,
        cache: &KvCache,
        span: &Indices,
        how: Attention,
        y: &Tensor,
    ) {
        let (shader, queries) = self.gpu.attention(cache.precision());
        let rows = y.rows();
        let fits = how.heads > 0
            && q.rows() == how.heads * rows
            && q.columns() == cache.head_dim
            && q.stride() == cache.padded_dim()
            && y.columns() == how.heads * cache.head_dim
            && how.heads.is_multiple_of(cache.kv_heads.max(1))
            && cache.head_dim <= MAX_HEAD_DIM
            && span.len() >= 2;
        if !fits {
            let all = [q, &cache.keys, y];
            return self.misfit(shader, &all, format!("{how:?}"));
        }
        let cost_of_a_row = 2 * y.columns() as u64 * cache.capacity as u64;
        let at_once = stretch(rows, cost_of_a_row, self.gpu.stretch_cost());
        for first in (0..rows).step_by(at_once) {
            let count = at_once.min(rows - first);
            let params = AttentionParams {
                rows: rows as u32,
                first_row: first as u32,
                last_row: (first + count) as u32,
                queries_per_kv: (how.heads / cache.kv_heads.max(1)) as u32,
                head_dim: cache.head_dim as u32,
                vectors: (q.stride() / 4) as u32,
                capacity: cache.capacity as u32,
                y_stride: y.stride() as u32,
                window: how.window.unwrap_or(0) as u32,
                scale: how.scale,
            };
            self.dispatch_with(
                shader,
                &how.constants(),
                vec![
                    q.into(),
                    (&cache.keys).into(),
                    (&cache.values).into(),
                    span.into(),
                    y.into(),
                ],
                bytemuck::bytes_of(&params),
                [count.div_ceil(queries) as u64, how.heads as u64, 1],
                count as u64 * cost_of_a_row,
            );
        }
    }

    /// The weights with which [`Recorder::attention`] of the same operands sums values: softmax
    /// rows over the cache's first positions, y `[heads * rows, positions]`, of the queries from
    /// `first_row` on. What a query does not see has the weight 0.
    pub fn attention_weights(
        &mut self,
        q: &Tensor,
        cache: &KvCache,
        span: &Indices,
        how: Attention,
        first_row: usize,
        y: &Tensor,
    ) {
        let shader = cache.pick([
            &shader::ATTENTION_WEIGHTS,
            &shader::ATTENTION_WEIGHTS_KV16,
            &shader::ATTENTION_WEIGHTS_KV8,
        ]);
        let heads = how.heads.max(1);
        let (rows, written) = (q.rows() / heads, y.rows() / heads);
        let fits = how.heads > 0
            && q.rows() == heads * rows
            && y.rows() == heads * written
            && first_row + written <= rows
            && q.columns() == cache.head_dim
            && q.stride() == cache.padded_dim()
            && y.columns() <= cache.capacity
            && how.heads.is_multiple_of(cache.kv_heads.max(1))
            && cache.head_dim <= MAX_HEAD_DIM
            && span.len() >= 2;
        if !fits {
            let all = [q, &cache.keys, y];
            let detail = format!("{how:?} from row {first_row}");
            return self.misfit(shader, &all, detail);
        }
        let params = WeightsParams {
            rows: rows as u32,
            first_row: first_row as u32,
            written: written as u32,
            queries_per_kv: (heads / cache.kv_heads.max(1)) as u32,
            vectors: (q.stride() / 4) as u32,
            capacity: cache.capacity as u32,
            keys: y.columns() as u32,
            y_stride: y.stride() as u32,
            window: how.window.unwrap_or(0) as u32,
            scale: how.scale,
            cap: how.soft_cap.unwrap_or(0.0),
        };
        self.dispatch(
            shader,
            vec![q.into(), (&cache.keys).into(), span.into(), y.into()],
            bytemuck::bytes_of(&params),
            [written as u64, heads as u64, 1],
            2 * (y.rows() * y.columns() * cache.head_dim) as u64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WebGPU throws at a constant that is no finite number.
    #[test]
    fn a_cap_that_bounds_nothing_is_none() {
        assert_eq!(constant_of_cap(Some(50.0)), Some(("4", 50.0)));
        for nothing in [None, Some(f32::INFINITY), Some(f32::NAN)] {
            assert_eq!(constant_of_cap(nothing), None);
        }
    }
}
