//! One typed function per kernel; each checks its shapes and records one dispatch (one per shard
//! for those that read a weight matrix).

use bytemuck::{Pod, Zeroable};

use crate::buffer::Buffer;
use crate::error::GpuError;
use crate::matrix::{Matrix, WeightShape};
use crate::program::{Recorder, Resource, stretch};
use crate::shader::{self, Shader};
use crate::tensor::{Indices, Tensor};

/// Logits that one workgroup of `argmax_parts` looks at.
const STRETCH: usize = 2048;

/// What follows a matrix product.
#[derive(Clone, Copy, Default)]
pub struct Linear<'a> {
    /// `[outputs]`, added first.
    pub bias: Option<&'a Tensor>,
    /// Then gelu, tanh-approximated.
    pub gelu: bool,
    /// Then add to the output instead of overwriting it.
    pub accumulate: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct LinearParams {
    shape: WeightShape,
    rows: u32,
    first_output: u32,
    y_stride: u32,
    has_bias: u32,
    gelu: u32,
    accumulate: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct EmbedParams {
    shape: WeightShape,
    rows: u32,
    first_row: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NormParams {
    columns: u32,
    stride: u32,
    eps: f32,
    accumulate: u32,
}

impl Recorder {
    /// y = act(x · wᵀ + bias), x `[rows, w.columns]`, y `[rows, w.rows]`; y must not be x.
    pub fn linear(&mut self, x: &Tensor, w: &Matrix, then: Linear<'_>, y: &Tensor) {
        let rows = x.rows();
        let fits = x.columns() == w.columns()
            && x.stride() == w.blocks() * 8
            && y.columns() == w.rows()
            && y.rows() == rows
            && then
                .bias
                .is_none_or(|bias| bias.rows() == 1 && bias.columns() == w.rows());
        if !fits {
            return self.misfit(
                w.matmul(),
                &[x, y],
                format!("[{}, {}]", w.rows(), w.columns()),
            );
        }
        let cost_of_a_row = w.rows() as u64 * w.columns() as u64;
        let at_once = stretch(rows, cost_of_a_row);
        if rows > at_once {
            for start in (0..rows).step_by(at_once) {
                let part = start..(start + at_once).min(rows);
                match (x.slice_rows(part.clone()), y.slice_rows(part)) {
                    (Ok(x), Ok(y)) => self.linear(&x, w, then, &y),
                    (Err(error), _) | (_, Err(error)) => return self.fail(error),
                }
            }
            return;
        }
        // A kernel binds something even where it reads nothing.
        let bias = then.bias.unwrap_or(x);
        let bindings = || vec![x.into(), bias.into(), y.into()];
        for (range, resources) in Self::shard_resources(w, bindings) {
            let params = LinearParams {
                rows: rows as u32,
                first_output: range.start as u32,
                y_stride: y.stride() as u32,
                has_bias: then.bias.is_some().into(),
                gelu: then.gelu.into(),
                accumulate: then.accumulate.into(),
                shape: w.shape(range.len()),
            };
            let cost = rows as u64 * range.len() as u64 * w.columns() as u64;
            let (shader, groups) = if rows == 1 {
                (w.matvec(), [range.len().div_ceil(8) as u64, 1, 1])
            } else {
                let tiles = |n: usize| n.div_ceil(32) as u64;
                (w.matmul(), [tiles(range.len()), tiles(rows), 1])
            };
            self.dispatch(shader, resources, bytemuck::bytes_of(&params), groups, cost);
        }
    }

    /// y\[i\] = scale * w\[ids\[i\]\], y `[ids, w.columns]`; an id outside w leaves its row alone.
    pub fn embed(&mut self, ids: &Indices, w: &Matrix, scale: f32, y: &Tensor) {
        let fits = y.columns() == w.columns() && y.stride() == w.blocks() * 8;
        if !fits || y.rows() > ids.len() {
            return self.misfit(w.embed(), &[y], format!("[{}, {}]", w.rows(), w.columns()));
        }
        for (range, resources) in Self::shard_resources(w, || vec![ids.into(), y.into()]) {
            let params = EmbedParams {
                rows: y.rows() as u32,
                first_row: range.start as u32,
                scale,
                shape: w.shape(range.len()),
            };
            let groups = [w.blocks().div_ceil(64) as u64, y.rows() as u64, 1];
            let params = bytemuck::bytes_of(&params);
            self.dispatch(w.embed(), resources, params, groups, 0);
        }
    }

    /// y\[positions\[i\]\] = x\[i\].
    pub fn scatter_rows(&mut self, x: &Tensor, positions: &Indices, y: &Tensor) {
        let fits = x.columns() == y.columns() && x.stride() == y.stride();
        if !fits || positions.len() < x.rows() {
            return self.misfit(&shader::SCATTER_ROWS, &[x, y], positions.len().to_string());
        }
        let stride = x.stride() / 4;
        self.dispatch(
            &shader::SCATTER_ROWS,
            vec![x.into(), positions.into(), y.into()],
            bytemuck::cast_slice(&[x.rows() as u32, stride as u32]),
            [stride.div_ceil(64) as u64, x.rows() as u64, 1],
            0,
        );
    }

    /// Cuts `pixels` `[channels, side * side]` into y `[patches, channels * patch * patch]`.
    pub fn patchify(&mut self, pixels: &Tensor, side: usize, patch: usize, y: &Tensor) {
        let channels = pixels.rows();
        let columns = channels * patch * patch;
        let patches = (side / patch.max(1)).pow(2);
        let fits = pixels.columns() == side * side && pixels.stride() == side * side;
        if !fits || y.columns() != columns || y.rows() != patches {
            return self.misfit(&shader::PATCHIFY, &[pixels, y], format!("{side} {patch}"));
        }
        let params = [channels, side, patch, y.stride()].map(|n| n as u32);
        self.dispatch(
            &shader::PATCHIFY,
            vec![pixels.into(), y.into()],
            bytemuck::cast_slice(&params),
            [columns.div_ceil(64) as u64, patches as u64, 1],
            0,
        );
    }

    /// y += x.
    pub fn add(&mut self, x: &Tensor, y: &Tensor) {
        self.elementwise(&shader::ADD, x, y);
    }

    /// gate = gelu(gate) * up.
    pub fn geglu(&mut self, up: &Tensor, gate: &Tensor) {
        self.elementwise(&shader::GEGLU, up, gate);
    }

    fn elementwise(&mut self, shader: &'static Shader, x: &Tensor, y: &Tensor) {
        if x.rows() != y.rows() || x.columns() != y.columns() || x.stride() != y.stride() {
            return self.misfit(shader, &[x, y], String::new());
        }
        let vectors = x.rows() * x.stride() / 4;
        self.dispatch(
            shader,
            vec![x.into(), y.into()],
            bytemuck::bytes_of(&(vectors as u32)),
            [vectors.div_ceil(64) as u64, 1, 1],
            0,
        );
    }

    /// x = cap * tanh(x / cap).
    pub fn soft_cap(&mut self, x: &Tensor, cap: f32) {
        let length = x.rows() * x.stride();
        self.dispatch(
            &shader::SOFT_CAP,
            vec![x.into()],
            bytemuck::cast_slice(&[length as u32, cap.to_bits()]),
            [length.div_ceil(64) as u64, 1, 1],
            0,
        );
    }

    /// LayerNorm over each row of x into y; scale and shift are `[columns]`.
    pub fn layer_norm(&mut self, x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32, y: &Tensor) {
        let fits = scale.columns() == x.columns() && shift.columns() == x.columns();
        if !fits || !same_shape(x, y) {
            return self.misfit(&shader::LAYER_NORM, &[x, scale, shift, y], String::new());
        }
        let params = [x.columns() as u32, x.stride() as u32, eps.to_bits()];
        self.dispatch(
            &shader::LAYER_NORM,
            vec![x.into(), scale.into(), shift.into(), y.into()],
            bytemuck::cast_slice(&params),
            [x.rows() as u64, 1, 1],
            0,
        );
    }

    /// RMSNorm with factor (1 + scale) over each row of x into y, or added to y.
    pub fn rms_norm(&mut self, x: &Tensor, scale: &Tensor, eps: f32, accumulate: bool, y: &Tensor) {
        if scale.columns() != x.columns() || !same_shape(x, y) {
            return self.misfit(&shader::RMS_NORM, &[x, scale, y], String::new());
        }
        let params = NormParams {
            columns: x.columns() as u32,
            stride: x.stride() as u32,
            eps,
            accumulate: accumulate.into(),
        };
        self.dispatch(
            &shader::RMS_NORM,
            vec![x.into(), scale.into(), y.into()],
            bytemuck::bytes_of(&params),
            [x.rows() as u64, 1, 1],
            0,
        );
    }

    /// token\[0\] = id of the highest of the first `allowed` logits `[1, vocabulary]` (the lowest
    /// id wins a tie, all ones if all are NaN); then span\[0\] += advance.
    pub fn argmax(
        &mut self,
        logits: &Tensor,
        allowed: usize,
        token: &Indices,
        span: &Indices,
        advance: usize,
    ) {
        let stretches = allowed.div_ceil(STRETCH);
        let fits = logits.rows() == 1 && !token.is_empty() && span.len() >= 2;
        if !fits || allowed == 0 || allowed > logits.columns() {
            return self.misfit(&shader::ARGMAX_PARTS, &[logits], allowed.to_string());
        }
        let usage = wgpu::BufferUsages::STORAGE;
        let best: Buffer = match self.gpu.buffer("best", stretches as u64 * 8, usage) {
            Ok(buffer) => buffer,
            Err(error) => return self.fail(error),
        };
        self.dispatch(
            &shader::ARGMAX_PARTS,
            vec![logits.into(), Resource::from(&best)],
            bytemuck::bytes_of(&(allowed as u32)),
            [stretches as u64, 1, 1],
            0,
        );
        self.dispatch(
            &shader::ARGMAX,
            vec![Resource::from(&best), token.into(), span.into()],
            bytemuck::cast_slice(&[stretches as u32, advance as u32]),
            [1, 1, 1],
            0,
        );
    }

    /// y\[0, i\] = log Σ exp(x\[i\]) - x\[i, targets\[i\]\], y `[1, rows]`; the targets are
    /// columns of x.
    pub fn cross_entropy(&mut self, x: &Tensor, targets: &Indices, y: &Tensor) {
        let fits = y.rows() == 1 && y.columns() == x.rows() && targets.len() >= x.rows();
        if !fits || x.columns() == 0 {
            return self.misfit(&shader::CROSS_ENTROPY, &[x, y], targets.len().to_string());
        }
        self.dispatch(
            &shader::CROSS_ENTROPY,
            vec![x.into(), targets.into(), y.into()],
            bytemuck::cast_slice(&[x.columns() as u32, x.stride() as u32]),
            [x.rows() as u64, 1, 1],
            0,
        );
    }

    pub(crate) fn misfit(&mut self, shader: &'static Shader, tensors: &[&Tensor], other: String) {
        let shapes: Vec<String> = tensors
            .iter()
            .map(|t| format!("[{}, {}]", t.rows(), t.columns()))
            .collect();
        self.fail(GpuError::Shape {
            kernel: shader.name,
            detail: format!("{} {other}", shapes.join(" ")),
        });
    }
}

fn same_shape(a: &Tensor, b: &Tensor) -> bool {
    a.rows() == b.rows() && a.columns() == b.columns() && a.stride() == b.stride()
}
