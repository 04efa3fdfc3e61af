//! Products of a single row.

use crate::error::GpuError;
use crate::kernels::{Linear, LinearParams};
use crate::matrix::{BLOCK, Matrix, Matvec};
use crate::packed::{PackedRow, Packing};
use crate::program::Recorder;
use crate::team::Team;
use crate::tensor::Tensor;

impl Recorder {
    /// [`Recorder::linear`] of one row, which fits.
    pub(crate) fn linear_of_one(&mut self, x: &Tensor, w: &Matrix, then: Linear<'_>, y: &Tensor) {
        // A kernel binds something even where it reads nothing.
        let bias = then.bias.unwrap_or(x);
        let (team, packed) = match self.team_for(x, w, w.kernels().matvec, then.exact) {
            Ok(both) => both,
            Err(error) => return self.fail(error),
        };
        let bindings = || match &packed {
            Some(row) => {
                let [bytes, steps] = row.resources();
                vec![bytes, bias.into(), y.into(), steps]
            }
            None => vec![x.into(), bias.into(), y.into()],
        };
        // Shards do as the whole would: the same sums in the same order.
        for (range, resources) in Self::shard_resources(w, bindings) {
            let params = LinearParams::of(x, w, &range, then, y);
            let cost = (range.len() * w.blocks() * BLOCK) as u64;
            self.dispatch_with(
                team.shader,
                &[team.constant()],
                resources,
                bytemuck::bytes_of(&params),
                [team.groups(range.len()), 1, 1],
                cost,
            );
        }
    }

    /// y = gelu(gate · x) * (up · x) for a single row and a matrix of one shard that holds the
    /// gates' rows and then the ups': x `[1, w.columns]`, y `[1, w.rows / 2]`.
    pub fn linear_geglu(&mut self, x: &Tensor, w: &Matrix, y: &Tensor) {
        let fits = x.rows() == 1
            && x.columns() == w.columns()
            && x.stride() == w.blocks() * BLOCK
            && y.rows() == 1
            && 2 * y.columns() == w.rows()
            && w.shard_count() == 1
            // In bytes x itself is not bound, and nothing else would notice.
            && !x.buffer.is(&y.buffer);
        let kernel = w.kernels().matvec_geglu;
        if !fits {
            let detail = format!("[{}, {}]", w.rows(), w.columns());
            return self.misfit(kernel.plain, &[x, y], detail);
        }
        let (team, packed) = match self.team_for(x, w, kernel, false) {
            Ok(both) => both,
            Err(error) => return self.fail(error),
        };
        let bindings = || match &packed {
            Some(row) => {
                let [bytes, steps] = row.resources();
                vec![bytes, y.into(), steps]
            }
            None => vec![x.into(), y.into()],
        };
        let params = LinearParams::of(x, w, &(0..w.rows()), Linear::default(), y);
        for (_, resources) in Self::shard_resources(w, bindings) {
            let packing = team.packing().map(|team| Packing {
                shader: team.shader,
                constants: vec![team.constant()],
                workgroups: [team.groups(w.rows()), 1, 1],
            });
            self.dispatch_packable(
                team.shader,
                &[team.constant()],
                resources,
                bytemuck::bytes_of(&params),
                [team.groups(w.rows()), 1, 1],
                (w.rows() * w.blocks() * BLOCK) as u64,
                packing.map(|packing| (y, packing)),
            );
        }
    }

    /// Who computes products of x with w, and x in bytes if they read it so.
    fn team_for(
        &mut self,
        x: &Tensor,
        w: &Matrix,
        kernel: Matvec,
        exact: bool,
    ) -> Result<(Team, Option<PackedRow>), GpuError> {
        let team = self.gpu.matvec(kernel, w.rows(), w.blocks(), exact);
        let packed = match team.reads_bytes {
            true => Some(self.packed_row(x)?),
            false => None,
        };
        Ok((team, packed))
    }
}
