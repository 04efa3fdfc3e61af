//! Attention of the one row of a decoding step, in one kernel, or in two when there are many
//! positions to share out.

use bytemuck::{Pod, Zeroable};

use crate::attention::{Attention, Heads, MAX_HEAD_DIM};
use crate::buffer::Buffer;
use crate::cache::KvCache;
use crate::error::GpuError;
use crate::packed::{GROUP, Packing};
use crate::program::{Recorder, Resource};
use crate::shader;
use crate::tensor::{Indices, Tensor};

/// Parts that `merge_attention` puts together at most.
const MAX_PARTS: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct DecodeParams {
    heads: u32,
    queries_per_kv: u32,
    head_dim: u32,
    vectors: u32,
    capacity: u32,
    rotary: u32,
    first_position: u32,
    window: u32,
    scale: f32,
    parts: u32,
    stride: u32,
}

/// Into how many parts the keys of a cache for `capacity` positions are shared out.
fn parts_of(capacity: usize, serial: bool) -> usize {
    // A GPU has many more cores than there are heads, and waits for memory less the more of them
    // ask: a part is one or two tiles of 32 keys. On the CPU there are few cores, and for few
    // positions the second kernel costs more than it saves.
    let (most_in_one, in_a_part, most_parts) = match serial {
        true => (1024, 256, 16),
        false => (32, 32, MAX_PARTS),
    };
    if capacity <= most_in_one {
        return 1;
    }
    (capacity / in_a_part).clamp(1, most_parts)
}

impl Recorder {
    /// [`Recorder::split_heads`] and [`Recorder::attention`] in one, for a single row at sequence
    /// index `span[0]` that is not before others of the prefix: x `[1, (heads + 2 * kv_heads) *
    /// head_dim]`, y `[1, heads * head_dim]`. Its key and value are in the cache afterwards. Large
    /// caches are shared out, which sums in another order than a small one.
    pub fn decode_attention(
        &mut self,
        x: &Tensor,
        layout: Heads<'_>,
        cache: &KvCache,
        span: &Indices,
        how: Attention,
        y: &Tensor,
    ) {
        let parts = parts_of(cache.capacity, self.gpu.is_serial());
        self.decode_attention_in(parts, x, layout, cache, span, how, y);
    }

    /// The same with the keys shared out into so many parts.
    #[doc(hidden)]
    #[allow(clippy::too_many_arguments)] // one more than what everybody calls
    pub fn decode_attention_in(
        &mut self,
        parts: usize,
        x: &Tensor,
        layout: Heads<'_>,
        cache: &KvCache,
        span: &Indices,
        how: Attention,
        y: &Tensor,
    ) {
        let shader = self.gpu.decode_attention(cache.precision());
        let (heads, head_dim) = (layout.heads, layout.head_dim);
        let fits = layout.fits(x, cache)
            && x.rows() == 1
            && y.rows() == 1
            && y.columns() == heads * head_dim
            && how.heads == heads
            && heads > 0
            && head_dim <= MAX_HEAD_DIM
            && (1..=MAX_PARTS).contains(&parts)
            && span.len() >= 2;
        if !fits {
            let all = [x, &cache.keys, y];
            return self.misfit(shader, &all, format!("{layout:?}"));
        }
        let padded = cache.padded_dim();
        let (sums, partial) = match self.parts_of_keys(heads, parts, head_dim, y) {
            Ok(both) => both,
            Err(error) => return self.fail(error),
        };
        let queries_per_kv = heads / cache.kv_heads.max(1);
        // GPUs read keys and values once for two heads that share them, which is what the kernel assumes.
        let shared = queries_per_kv.is_multiple_of(2);
        let mut constants = how.constants();
        let queries = match (self.gpu.is_serial(), shared) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => {
                constants.push(("1", 1.0));
                1
            }
        };
        let (table, first_position) = layout.table_or(x);
        let params = DecodeParams {
            heads: heads as u32,
            queries_per_kv: queries_per_kv as u32,
            head_dim: head_dim as u32,
            vectors: (padded / 4) as u32,
            capacity: cache.capacity as u32,
            rotary: layout.rotary.is_some().into(),
            first_position: first_position as u32,
            window: how.window.unwrap_or(0) as u32,
            scale: how.scale,
            parts: parts as u32,
            stride: if parts == 1 { head_dim } else { padded } as u32,
        };
        self.dispatch_with(
            shader,
            &constants,
            vec![
                x.into(),
                table.into(),
                span.into(),
                (&cache.keys).into(),
                (&cache.values).into(),
                (&partial).into(),
                Resource::from(&sums),
            ],
            bytemuck::bytes_of(&params),
            [(heads / queries) as u64, parts as u64, 1],
            (2 * heads * head_dim * cache.capacity) as u64,
        );
        if parts > 1 {
            let params = [parts, head_dim, padded / 4].map(|n| n as u32);
            let workgroups = [heads as u64, head_dim.div_ceil(64) as u64, 1];
            let packing = Packing {
                shader: &shader::MERGE_ATTENTION_PACKS,
                constants: Vec::new(),
                workgroups,
            };
            // No workgroup has all of a group that two heads share.
            let packs = head_dim.is_multiple_of(GROUP);
            self.dispatch_packable(
                &shader::MERGE_ATTENTION,
                &[],
                vec![(&partial).into(), Resource::from(&sums), y.into()],
                bytemuck::cast_slice(&params),
                workgroups,
                0,
                packs.then_some((y, packing)),
            );
        }
    }

    /// Where the parts of the keys leave their highest score and sum, and what they sum up to: with
    /// a single one y itself, else memory that the layers of a program share.
    fn parts_of_keys(
        &mut self,
        heads: usize,
        parts: usize,
        head_dim: usize,
        y: &Tensor,
    ) -> Result<(Buffer, Tensor), GpuError> {
        let key = [heads, parts, head_dim];
        if let Some(made) = self.parts.get(&key) {
            return Ok(match parts {
                1 => (made.0.clone(), y.clone()),
                _ => made.clone(),
            });
        }
        let usage = wgpu::BufferUsages::STORAGE;
        let bytes = (heads * parts * 8) as u64;
        let sums = self.gpu.buffer("attention sums", bytes, usage)?;
        let padded = head_dim.next_multiple_of(4);
        let partial = match parts {
            1 => y.clone(),
            _ => self
                .gpu
                .tensor_with_stride("attention parts", heads * parts, head_dim, padded)?,
        };
        self.parts.insert(key, (sums.clone(), partial.clone()));
        Ok((sums, partial))
    }
}
