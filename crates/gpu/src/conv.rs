//! Convolutions over a batch of square pictures.

use bytemuck::{Pod, Zeroable};

use crate::program::{Recorder, stretch};
use crate::shader::{self, Shader};
use crate::tensor::Tensor;

/// A convolution's weights and what follows its sums.
#[derive(Clone, Copy)]
pub struct Conv<'a> {
    /// `[outputs * kernel * kernel, inputs]`: output channel, row and column of the kernel.
    pub weight: &'a Tensor,
    /// `[1, outputs]`, added first.
    pub bias: &'a Tensor,
    /// The kernel's side.
    pub kernel: usize,
    /// Then what is below 0 becomes 0.
    pub relu: bool,
    /// Then add to the output instead of overwriting it: a residual.
    pub accumulate: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ConvParams {
    pixels: u32,
    side: u32,
    kernel: u32,
    blocks: u32,
    outputs: u32,
    y_stride: u32,
    relu: u32,
    accumulate: u32,
}

impl Recorder {
    /// y = conv(x), stride 1, zeros around: the kernel's side is odd. x is a batch of pictures of
    /// `side` by `side` pixels, `[pictures * side * side, inputs]`, row by row from the top left; y
    /// `[pictures * side * side, outputs]`.
    pub fn conv(&mut self, x: &Tensor, side: usize, of: Conv<'_>, y: &Tensor) {
        let fits = of.kernel % 2 == 1 && y.rows() == x.rows();
        self.convolution(&shader::CONV, fits, x, side, of, y);
    }

    /// y = transposed conv(x), kernel 4 by 4, stride 2, padding 1 as PyTorch counts it. x as for
    /// [`Recorder::conv`]; y has pictures of twice the side.
    pub fn conv_transposed(&mut self, x: &Tensor, side: usize, of: Conv<'_>, y: &Tensor) {
        let fits = of.kernel == 4 && y.rows() == 4 * x.rows();
        self.convolution(&shader::CONV_TRANSPOSED, fits, x, side, of, y);
    }

    fn convolution(
        &mut self,
        shader: &'static Shader,
        fits: bool,
        x: &Tensor,
        side: usize,
        of: Conv<'_>,
        y: &Tensor,
    ) {
        let area = side * side;
        let fits = fits
            && area > 0
            && x.rows().is_multiple_of(area)
            && x.columns() == of.weight.columns()
            && x.stride() == of.weight.stride()
            && of.weight.rows() == y.columns() * of.kernel * of.kernel
            && of.bias.rows() == 1
            && of.bias.columns() == y.columns();
        if !fits {
            let detail = format!("side {side}, kernel {}", of.kernel);
            return self.misfit(shader, &[x, of.weight, of.bias, y], detail);
        }
        let pictures = x.rows() / area;
        let pixels_of_one = y.rows() / pictures.max(1);
        let taps = of.kernel * of.kernel * x.rows() / y.rows().max(1);
        let cost_of_one = (pixels_of_one * y.columns() * x.columns() * taps.max(1)) as u64;
        // Whole pictures, so many that a binding can begin with the next one, and no more
        // workgroups a dimension than a dispatch may have.
        let most = (65_535 * 8) / pixels_of_one.max(1) / 8 * 8;
        let at_once = stretch(pictures, cost_of_one, self.gpu.stretch_cost()).min(most);
        if pictures > at_once {
            if at_once == 0 {
                let detail = format!("{pixels_of_one} pixels a picture");
                return self.misfit(shader, &[x, y], detail);
            }
            for start in (0..pictures).step_by(at_once) {
                let part = start..(start + at_once).min(pictures);
                let rows = |each: usize| part.start * each..part.end * each;
                match (x.slice_rows(rows(area)), y.slice_rows(rows(pixels_of_one))) {
                    (Ok(x), Ok(y)) => self.convolution(shader, true, &x, side, of, &y),
                    (Err(error), _) | (_, Err(error)) => return self.fail(error),
                }
            }
            return;
        }
        let params = ConvParams {
            pixels: y.rows() as u32,
            side: side as u32,
            kernel: of.kernel as u32,
            blocks: (x.stride() / 4) as u32,
            outputs: y.columns() as u32,
            y_stride: y.stride() as u32,
            relu: of.relu.into(),
            accumulate: of.accumulate.into(),
        };
        let groups = |n: usize, each: usize| n.div_ceil(each) as u64;
        self.dispatch(
            shader,
            vec![x.into(), of.weight.into(), of.bias.into(), y.into()],
            bytemuck::bytes_of(&params),
            [groups(y.columns(), 32), groups(y.rows(), 8), 1],
            cost_of_one * pictures as u64,
        );
    }
}
