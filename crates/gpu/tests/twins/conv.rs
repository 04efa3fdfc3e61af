use super::matmul::Dot;

/// A batch of square pictures, pixel by pixel, and a kernel over it.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) pictures: usize,
    pub(crate) side: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
}

impl Shape {
    /// Place of a channel of a pixel, `channels` of them a pixel, in pictures of `side`.
    pub(crate) fn at(
        side: usize,
        channels: usize,
        [picture, row, column, channel]: [usize; 4],
    ) -> usize {
        ((picture * side + row) * side + column) * channels + channel
    }

    /// A weight's place in `[outputs, kernel, kernel, inputs]`.
    pub(crate) fn weight(self, output: usize, [row, column]: [usize; 2], input: usize) -> usize {
        ((output * self.kernel + row) * self.kernel + column) * self.inputs + input
    }
}

/// The sums of a convolution with stride 1, in which zeros surround each picture: PyTorch's
/// `conv2d` with padding (kernel - 1) / 2.
pub(crate) fn conv(x: &[f32], w: &[f32], of: Shape) -> Vec<Dot> {
    let reach = of.kernel as isize / 2;
    let mut out = Vec::new();
    for picture in 0..of.pictures {
        for (row, column) in (0..of.side).flat_map(|r| (0..of.side).map(move |c| (r, c))) {
            for output in 0..of.outputs {
                let mut sum = Dot::default();
                for (ky, kx) in (0..of.kernel).flat_map(|y| (0..of.kernel).map(move |x| (y, x))) {
                    let source = |at: usize, k: usize| {
                        let from = at as isize + k as isize - reach;
                        (0..of.side as isize)
                            .contains(&from)
                            .then_some(from as usize)
                    };
                    let (Some(y), Some(x_)) = (source(row, ky), source(column, kx)) else {
                        continue;
                    };
                    for input in 0..of.inputs {
                        let value = x[Shape::at(of.side, of.inputs, [picture, y, x_, input])];
                        sum.add(value, w[of.weight(output, [ky, kx], input)]);
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}
