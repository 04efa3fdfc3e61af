//! Products of a single row of the residual stream that have the norm before them inside.

use bytemuck::{Pod, Zeroable};

use crate::kernels::{Linear, LinearParams};
use crate::matrix::{BLOCK, Matrix, Matvec};
use crate::norms::is_norm;
use crate::program::{Recorder, Resource};
use crate::tensor::Tensor;

/// A row of the residual stream, and what becomes of it before a product: a branch is added, and RMSNorm follows
/// with factor (1 + scale). All are `[1, columns]`.
#[derive(Clone, Copy)]
pub struct Normed<'a> {
    /// The row. It stays as it is: others still read it while it would be written.
    pub hidden: &'a Tensor,
    /// A branch, of which the RMSNorm is added first, and the scale of that.
    pub branch: Option<(&'a Tensor, &'a Tensor)>,
    /// Where the row goes after that; where there is no branch, this is left alone.
    pub sum: &'a Tensor,
    /// The scale of the norm.
    pub scale: &'a Tensor,
    /// What is added to means of squares.
    pub eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NormedParams {
    linear: LinearParams,
    columns: u32,
    eps: f32,
    branches: u32,
}

impl Recorder {
    /// Whether [`Recorder::linear_normed`] and [`Recorder::linear_geglu_normed`] are to be used with this matrix:
    /// [`Variants::norms`](crate::Variants::norms) is in force, there is such a kernel for it, and it is of one
    /// shard.
    #[must_use]
    pub fn norms_within(&self, w: &Matrix) -> bool {
        let kernel = w.kernels().matvec;
        w.shard_count() == 1 && self.gpu.normed(kernel, w.rows(), w.blocks()).is_some()
    }

    /// y = w · RMSNorm(x) for a single row, y `[1, w.rows]`; see [`Recorder::norms_within`].
    pub fn linear_normed(&mut self, x: Normed<'_>, w: &Matrix, y: &Tensor) {
        let fits = y.columns() == w.rows();
        self.product_of_normed(x, w, w.kernels().matvec, fits, y);
    }

    /// As [`Recorder::linear_geglu`], of RMSNorm(x): y `[1, w.rows / 2]`; see [`Recorder::norms_within`].
    pub fn linear_geglu_normed(&mut self, x: Normed<'_>, w: &Matrix, y: &Tensor) {
        let fits = 2 * y.columns() == w.rows();
        self.product_of_normed(x, w, w.kernels().matvec_geglu, fits, y);
    }

    fn product_of_normed(
        &mut self,
        x: Normed<'_>,
        w: &Matrix,
        kernel: Matvec,
        fits: bool,
        y: &Tensor,
    ) {
        // A kernel binds something even where it reads nothing.
        let (branch, branch_scale) = x.branch.unwrap_or((x.hidden, x.scale));
        let read = [x.hidden, branch];
        // What is written is bound nowhere else.
        let is_apart = |written: &Tensor| !read.iter().any(|it| it.buffer.is(&written.buffer));
        let fits = fits
            && x.hidden.rows() == 1
            && y.rows() == 1
            && x.hidden.columns() == w.columns()
            && x.hidden.stride() == w.blocks() * BLOCK
            && is_norm(x.hidden, &[x.scale, branch_scale], &[branch, x.sum])
            && is_apart(x.sum)
            && is_apart(y)
            && !x.sum.buffer.is(&y.buffer);
        let team = self.gpu.normed(kernel, w.rows(), w.blocks());
        let (Some(team), true, true) = (team, fits, w.shard_count() == 1) else {
            let detail = format!("[{}, {}]", w.rows(), w.columns());
            let all = [x.hidden, branch, x.scale, branch_scale, x.sum, y];
            return self.misfit(kernel.norms.unwrap_or(kernel.fours), &all, detail);
        };
        let params = NormedParams {
            linear: LinearParams::of(x.hidden, w, &(0..w.rows()), Linear::default(), y),
            columns: x.hidden.columns() as u32,
            eps: x.eps,
            branches: x.branch.is_some().into(),
        };
        for (_, planes) in Self::shard_resources(w, Vec::new) {
            let mut resources = vec![x.hidden.into(), y.into()];
            resources.extend(planes);
            let norms = [x.scale, branch, branch_scale, x.sum];
            resources.extend(norms.map(Resource::from));
            self.dispatch_with(
                team.shader,
                &[team.constant()],
                resources,
                bytemuck::bytes_of(&params),
                [team.groups(w.rows()), 1, 1],
                (w.rows() * w.blocks() * BLOCK) as u64,
            );
        }
    }
}
