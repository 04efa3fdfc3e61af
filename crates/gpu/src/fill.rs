//! Weights made up on the GPU: noise of a sensible scale, laid out as packed weights are.

use bytemuck::{Pod, Zeroable};
use paligemma_checkpoint::Precision;

use crate::matrix::Matrix;
use crate::program::{Recorder, Resource};
use crate::shader;
use crate::tensor::Tensor;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct FillParams {
    words: u32,
    row_words: u32,
    columns: u32,
    kind: u32,
    seed: u32,
    exponent: i32,
    offset: f32,
}

/// A kind of words, as `shaders/fill.wesl` numbers them.
#[derive(Clone, Copy)]
enum Words {
    F32,
    F16,
    Bf16,
    Bytes,
    Nibbles,
    Scales,
    Pairs,
}

impl Recorder {
    /// Fills a matrix with noise, the same for the same seed. Products with numbers around 1 are
    /// around 1.
    pub fn fill_matrix(&mut self, w: &Matrix, seed: u32) {
        let columns = w.columns();
        let (codes, scales) = match w.precision() {
            Precision::F32 => (Words::F32, None),
            Precision::F16 => (Words::F16, None),
            Precision::BF16 => (Words::Bf16, None),
            Precision::Q8 { group } => {
                (Words::Bytes, Some((Words::Scales, columns.div_ceil(group))))
            }
            Precision::Q4 { group } => (
                Words::Nibbles,
                Some((Words::Scales, columns.div_ceil(group))),
            ),
            Precision::Int4 { group } => (
                Words::Nibbles,
                Some((Words::Pairs, 2 * columns.div_ceil(group))),
            ),
        };
        // Deviations of uniform nibbles and bytes.
        let deviation = match codes {
            Words::Nibbles => 4.6,
            _ => 73.0,
        };
        // The least at which every number is a normal half.
        let least = match scales {
            Some((Words::Pairs, _)) => -10,
            _ => -14,
        };
        let unit = 1.0 / (deviation * (columns.max(1) as f32).sqrt());
        let exponent = (unit.log2().round() as i32).max(least);
        let layout = w.precision().layout(columns);
        let planes = [
            Some((codes, columns, layout.weight_bytes)),
            scales.map(|(kind, count)| (kind, count, layout.scale_bytes)),
        ];
        for (shard, (rows, buffers)) in w.shards().enumerate() {
            for (i, (plane, buffer)) in planes.iter().flatten().zip(buffers).enumerate() {
                let (kind, columns, row_bytes) = *plane;
                let params = FillParams {
                    words: (rows.len() * row_bytes / 4) as u32,
                    row_words: (row_bytes / 4) as u32,
                    columns: columns as u32,
                    kind: kind as u32,
                    seed: plane_seed(seed, shard, i),
                    exponent,
                    offset: 0.0,
                };
                self.fill(buffer.into(), params);
            }
        }
    }

    /// Fills a tensor with `offset` plus noise of ±127 times 2^`exponent`, padding left alone.
    pub fn fill_tensor(&mut self, y: &Tensor, seed: u32, exponent: i32, offset: f32) {
        let params = FillParams {
            words: (y.rows() * y.stride()) as u32,
            row_words: y.stride() as u32,
            columns: y.columns() as u32,
            kind: Words::F32 as u32,
            seed,
            exponent: exponent.clamp(-126, 120),
            offset,
        };
        self.fill(y.into(), params);
    }

    fn fill(&mut self, words: Resource, params: FillParams) {
        let groups = [u64::from(params.words.div_ceil(64)), 1, 1];
        let cost = 16 * u64::from(params.words);
        let bytes = bytemuck::bytes_of(&params);
        self.dispatch(&shader::FILL, vec![words], bytes, groups, cost);
    }
}

/// Planes of one matrix have noise of their own.
fn plane_seed(seed: u32, shard: usize, plane: usize) -> u32 {
    seed.wrapping_add((2 * shard + plane) as u32)
}
