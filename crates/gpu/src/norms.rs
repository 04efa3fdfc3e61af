//! Norms of rows.

use bytemuck::{Pod, Zeroable};

use crate::packed::Packing;
use crate::program::Recorder;
use crate::shader::{self, Shader};
use crate::tensor::Tensor;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct NormParams {
    columns: u32,
    vectors: u32,
    eps: f32,
    accumulate: u32,
    rows: u32,
}

impl Recorder {
    /// LayerNorm over each row of x into y; scale and shift are `[columns]`.
    pub fn layer_norm(&mut self, x: &Tensor, scale: &Tensor, shift: &Tensor, eps: f32, y: &Tensor) {
        if !is_norm(x, &[scale, shift], &[y]) {
            return self.misfit(&shader::LAYER_NORM, &[x, scale, shift, y], String::new());
        }
        let (columns, vectors) = (x.columns() as u32, (x.stride() / 4) as u32);
        let params = [columns, vectors, eps.to_bits(), x.rows() as u32];
        let both = [&shader::LAYER_NORM, &shader::LAYER_NORM_SERIAL];
        let (shader, groups) = self.gpu.norm(both, x.rows());
        self.dispatch(
            shader,
            vec![x.into(), scale.into(), shift.into(), y.into()],
            bytemuck::cast_slice(&params),
            groups,
            0,
        );
    }

    /// RMSNorm with factor (1 + scale) over each row of x into y, or added to y.
    pub fn rms_norm(&mut self, x: &Tensor, scale: &Tensor, eps: f32, accumulate: bool, y: &Tensor) {
        if !is_norm(x, &[scale], &[y]) {
            return self.misfit(&shader::RMS_NORM, &[x, scale, y], String::new());
        }
        let params = NormParams {
            columns: x.columns() as u32,
            vectors: (x.stride() / 4) as u32,
            eps,
            accumulate: accumulate.into(),
            rows: x.rows() as u32,
        };
        let both = [&shader::RMS_NORM, &shader::RMS_NORM_SERIAL];
        let (shader, groups) = self.gpu.norm(both, x.rows());
        self.dispatch_packable(
            shader,
            &[],
            vec![x.into(), scale.into(), y.into()],
            bytemuck::bytes_of(&params),
            groups,
            0,
            Some((y, packing_by(&shader::RMS_NORM_PACKS))),
        );
    }

    /// hidden += RMSNorm(x), with factor (1 + scale); then y = RMSNorm(hidden), with factor
    /// (1 + next). All are `[rows, columns]`.
    pub fn rms_norm_twice(
        &mut self,
        x: &Tensor,
        scale: &Tensor,
        hidden: &Tensor,
        next: &Tensor,
        eps: f32,
        y: &Tensor,
    ) {
        if !is_norm(x, &[scale, next], &[hidden, y]) {
            let all = [x, scale, hidden, next, y];
            return self.misfit(&shader::RMS_NORM_TWICE, &all, String::new());
        }
        let (columns, vectors) = (x.columns() as u32, (x.stride() / 4) as u32);
        let params = [columns, vectors, eps.to_bits(), x.rows() as u32];
        let both = [&shader::RMS_NORM_TWICE, &shader::RMS_NORM_TWICE_SERIAL];
        let (shader, groups) = self.gpu.norm(both, x.rows());
        self.dispatch_packable(
            shader,
            &[],
            vec![x.into(), scale.into(), next.into(), hidden.into(), y.into()],
            bytemuck::cast_slice(&params),
            groups,
            0,
            Some((y, packing_by(&shader::RMS_NORM_TWICE_PACKS))),
        );
    }
}

/// The same for a single row, packed, too.
fn packing_by(shader: &'static Shader) -> Packing {
    Packing {
        shader,
        constants: Vec::new(),
        workgroups: [1, 1, 1],
    }
}

/// Whether these are scales and results of a norm of x, whose rows are read four numbers at a time.
pub(crate) fn is_norm(x: &Tensor, scales: &[&Tensor], results: &[&Tensor]) -> bool {
    let is_scale = |scale: &&Tensor| scale.columns() == x.columns() && scale.stride() == x.stride();
    x.stride().is_multiple_of(4)
        && scales.iter().all(is_scale)
        && results.iter().all(|y| same_shape(x, y))
}

fn same_shape(a: &Tensor, b: &Tensor) -> bool {
    a.rows() == b.rows() && a.columns() == b.columns() && a.stride() == b.stride()
}
