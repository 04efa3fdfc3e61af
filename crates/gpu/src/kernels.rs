//! One typed function per kernel; each checks its shapes and records one dispatch (one per shard
//! for those that read a weight matrix).

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::error::GpuError;
use crate::matrix::{Matrix, WeightShape};
use crate::pipelines::Constants;
use crate::program::{Recorder, stretch};
use crate::shader::{self, Feature, Shader};
use crate::tensor::{Indices, Tensor};
use crate::variants::tile_for;

/// Logits that one workgroup of `argmax_parts` looks at.
const STRETCH: usize = 2048;

/// What follows a matrix product.
#[derive(Clone, Copy, Default)]
pub struct Linear<'a> {
    /// `[columns of y]`, added first.
    pub bias: Option<&'a Tensor>,
    /// Then gelu, tanh-approximated.
    pub gelu: bool,
    /// Then add to the output instead of overwriting it.
    pub accumulate: bool,
    /// The outputs go to some columns of a wider y, from this one on; what is beside them stays.
    pub first_column: Option<usize>,
    /// Products of 32-bit floats, whatever variant is in force.
    pub exact: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct LinearParams {
    shape: WeightShape,
    rows: u32,
    first_output: u32,
    y_stride: u32,
    has_bias: u32,
    gelu: u32,
    accumulate: u32,
    first_column: u32,
    x_vectors: u32,
}

impl LinearParams {
    /// Of the products with these rows of w.
    pub(crate) fn of(
        x: &Tensor,
        w: &Matrix,
        range: &Range<usize>,
        then: Linear<'_>,
        y: &Tensor,
    ) -> Self {
        Self {
            shape: w.shape(range.len()),
            rows: x.rows() as u32,
            first_output: range.start as u32,
            y_stride: y.stride() as u32,
            has_bias: then.bias.is_some().into(),
            gelu: then.gelu.into(),
            accumulate: then.accumulate.into(),
            first_column: then.first_column.unwrap_or(0) as u32,
            x_vectors: halved_vectors(x) as u32,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct EmbedParams {
    shape: WeightShape,
    rows: u32,
    first_row: u32,
    scale: f32,
}

impl Recorder {
    /// y = act(x · wᵀ + bias), x `[rows, w.columns]`, y `[rows, w.rows]` or some columns of a wider
    /// one; y must not be x.
    pub fn linear(&mut self, x: &Tensor, w: &Matrix, then: Linear<'_>, y: &Tensor) {
        let rows = x.rows();
        let fits = x.columns() == w.columns()
            && x.stride() == w.blocks() * 8
            && match then.first_column {
                None => y.columns() == w.rows(),
                Some(first) => first + w.rows() <= y.columns(),
            }
            && y.rows() == rows
            // In bytes x itself is not bound, and nothing else would notice.
            && !x.buffer.is(&y.buffer)
            && then
                .bias
                .is_none_or(|bias| bias.rows() == 1 && bias.columns() == y.columns());
        if !fits {
            return self.misfit(
                w.kernels().matmul,
                &[x, y],
                format!("[{}, {}]", w.rows(), w.columns()),
            );
        }
        let cost_of_a_row = w.rows() as u64 * w.columns() as u64;
        let at_once = stretch(rows, cost_of_a_row, self.gpu.stretch_cost());
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
        if rows == 1 {
            return self.linear_of_one(x, w, then, y);
        }
        // A kernel binds something even where it reads nothing.
        let bias = then.bias.unwrap_or(x);
        let (matmul, matmul_tiles) = self.gpu.matmul(&w.kernels(), then.exact);
        let halves = match matmul.needs {
            Some(Feature::CooperativeMatrix) => match self.halved(x) {
                Ok(halves) => Some(halves),
                Err(error) => return self.fail(error),
            },
            _ => None,
        };
        let bindings = || match &halves {
            Some((halves, factors)) => vec![halves.into(), bias.into(), y.into(), factors.into()],
            None => vec![x.into(), bias.into(), y.into()],
        };
        for (range, resources) in Self::shard_resources(w, bindings) {
            let params = LinearParams::of(x, w, &range, then, y);
            let cost = rows as u64 * range.len() as u64 * w.columns() as u64;
            let params = bytemuck::bytes_of(&params);
            let tile = tile_for(matmul_tiles, [range.len(), rows]);
            let tiles = |n: usize, tile: usize| n.div_ceil(tile) as u64;
            let groups = [tiles(range.len(), tile[0]), tiles(rows, tile[1]), 1];
            let tile_rows = ("3", tile[1] as f64);
            let subgroup = ("2", f64::from(self.gpu.subgroup_size()));
            let constants: &Constants = match halves {
                Some(_) => &[subgroup],
                None if matmul_tiles.len() > 1 => &[tile_rows],
                None => &[],
            };
            self.dispatch_with(matmul, constants, resources, params, groups, cost);
        }
    }

    /// x in 16-bit floats and each row's factor, in memory that the products of a program share.
    fn halved(&mut self, x: &Tensor) -> Result<(Indices, Tensor), GpuError> {
        let (rows, words) = (x.rows(), 2 * halved_vectors(x));
        let made = match self.halves.get(&[rows, words]) {
            Some(made) => made.clone(),
            None => {
                let halves = self.gpu.indices("halves", rows * words)?;
                let made = (halves, self.gpu.tensor("factors", 1, rows)?);
                self.halves.insert([rows, words], made.clone());
                made
            }
        };
        self.halve_rows(x, &made.0, &made.1);
        Ok(made)
    }

    /// x in 16-bit floats, two to a word, and what each row is to be multiplied by then: halves
    /// `[rows, columns rounded up to 64 / 2]`, factors `[1, rows]`, powers of two. Needs 16-bit
    /// floats.
    pub fn halve_rows(&mut self, x: &Tensor, halves: &Indices, factors: &Tensor) {
        let vectors = halved_vectors(x);
        let fits = halves.len() >= 2 * x.rows() * vectors
            && factors.rows() == 1
            && factors.columns() == x.rows();
        if !fits {
            let detail = halves.len().to_string();
            return self.misfit(&shader::HALVE_ROWS, &[x, factors], detail);
        }
        self.dispatch(
            &shader::HALVE_ROWS,
            vec![x.into(), halves.into(), factors.into()],
            bytemuck::cast_slice(&[(x.stride() / 4) as u32, vectors as u32]),
            [x.rows() as u64, 1, 1],
            0,
        );
    }

    /// y\[i\] = scale * w\[ids\[i\]\], y `[ids, w.columns]`; an id outside w leaves its row alone.
    pub fn embed(&mut self, ids: &Indices, w: &Matrix, scale: f32, y: &Tensor) {
        let fits = y.columns() == w.columns() && y.stride() == w.blocks() * 8;
        if !fits || y.rows() > ids.len() {
            return self.misfit(
                w.kernels().embed,
                &[y],
                format!("[{}, {}]", w.rows(), w.columns()),
            );
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
            self.dispatch(w.kernels().embed, resources, params, groups, 0);
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

    /// y = gelu(gate) * up, x `[rows, 2 * y.columns]`: the gates of a row, then its ups.
    pub fn geglu(&mut self, x: &Tensor, y: &Tensor) {
        if x.rows() != y.rows() || x.columns() != 2 * y.columns() {
            return self.misfit(&shader::GEGLU, &[x, y], String::new());
        }
        let params = [y.columns(), x.stride(), y.stride()].map(|n| n as u32);
        self.dispatch(
            &shader::GEGLU,
            vec![x.into(), y.into()],
            bytemuck::cast_slice(&params),
            [y.columns().div_ceil(256) as u64, y.rows() as u64, 1],
            0,
        );
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
        let best = match self.gpu.indices("best", 2 * stretches) {
            Ok(best) => best,
            Err(error) => return self.fail(error),
        };
        let parts = self
            .gpu
            .either([&shader::ARGMAX_PARTS, &shader::ARGMAX_PARTS_SERIAL]);
        self.dispatch(
            parts,
            vec![logits.into(), (&best).into()],
            bytemuck::bytes_of(&(allowed as u32)),
            [stretches as u64, 1, 1],
            0,
        );
        self.best_of(&best, (token, span, advance));
    }

    /// token\[0\] = the best of those of the stretches; span\[0\] += advance.
    pub(crate) fn best_of(
        &mut self,
        best: &Indices,
        (token, span, advance): (&Indices, &Indices, usize),
    ) {
        let argmax = self.gpu.either([&shader::ARGMAX, &shader::ARGMAX_SERIAL]);
        self.dispatch(
            argmax,
            vec![best.into(), token.into(), span.into()],
            bytemuck::cast_slice(&[(best.len() / 2) as u32, advance as u32]),
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

/// Vectors of a row of x in 16-bit floats: whole groups of 64 inputs, as many as a kernel takes at a
/// time at most.
fn halved_vectors(x: &Tensor) -> usize {
    (x.stride() / 4).next_multiple_of(16)
}
