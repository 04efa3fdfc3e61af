use super::conv::Shape;
use super::matmul::Dot;

/// The sums of a transposed convolution with stride 2 and padding 1, PyTorch's `conv_transpose2d`:
/// every pixel of x spreads over a kernel's width of y, of which what lies outside is dropped.
/// Pictures of y have twice the side.
pub(crate) fn conv_transposed(x: &[f32], w: &[f32], of: Shape) -> Vec<Dot> {
    let side = 2 * of.side;
    let mut out = vec![Dot::default(); of.pictures * side * side * of.outputs];
    for picture in 0..of.pictures {
        for (row, column) in (0..of.side).flat_map(|r| (0..of.side).map(move |c| (r, c))) {
            for (ky, kx) in (0..of.kernel).flat_map(|y| (0..of.kernel).map(move |x| (y, x))) {
                let target =
                    |at: usize, k: usize| (2 * at + k).checked_sub(1).filter(|&t| t < side);
                let (Some(y), Some(x_)) = (target(row, ky), target(column, kx)) else {
                    continue;
                };
                for output in 0..of.outputs {
                    let to = Shape::at(side, of.outputs, [picture, y, x_, output]);
                    for input in 0..of.inputs {
                        let from = Shape::at(of.side, of.inputs, [picture, row, column, input]);
                        out[to].add(x[from], w[of.weight(output, [ky, kx], input)]);
                    }
                }
            }
        }
    }
    out
}
