//! What kernels are measured with.

use paligemma_checkpoint::Precision;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::kernels::Linear;
use crate::matrix::Matrix;
use crate::normed::Normed;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The precision that is measured: that of the recipe people use.
const PRECISION: Precision = Precision::Q4 { group: 32 };
/// Products that are compared: one of each shape. The others are there to be read.
pub(crate) const READ: usize = 2;

/// What norms add to means of squares.
const EPS: f32 = 1e-6;

/// x · wᵀ, of numbers that are made up.
pub(crate) struct Product {
    x: Tensor,
    w: Matrix,
    pub(crate) y: Tensor,
    nothing: Option<Nothing>,
}

/// What norms of a single row read that leave it as it is.
struct Nothing {
    /// A branch, and the scales of its norm.
    zeros: [Tensor; 2],
    /// With which the norm of the row is the row.
    scales: Tensor,
    /// Where the row goes with the branch.
    sum: Tensor,
}

impl Product {
    /// Of so many rows, with a matrix of `[rows, columns]`.
    ///
    /// All orders of summing give the same bits: a weight is a multiple of its scales' last digit,
    /// 2^-10 of their unit, by an integer of at most 8 · 2047 < 2^14, and x is -1, 0 or 1. So every
    /// partial sum is an integer of those digits, and exact in f32 up to 2^24 of them; of 9216 terms of
    /// either sign, each around 2^12.7, it is around 2^19. Of products of 16-bit floats, which are scaled
    /// after 32 of them, it is an integer of at most 8 · 32 = 2^8 < 2^11. Bytes are 127 for 1, of which
    /// products are not exact: they are scaled by 1/127, rounded; and so are the factors of norms.
    pub(crate) fn new(
        gpu: &Gpu,
        rows: usize,
        shape: [usize; 2],
        seed: u32,
    ) -> Result<Self, GpuError> {
        let w = gpu.matrix("tuning weights", shape[0], shape[1], PRECISION)?;
        let x = gpu.tensor("tuning inputs", rows, shape[1])?;
        let y = gpu.tensor("tuning outputs", rows, shape[0])?;
        let mut fill = gpu.recorder();
        fill.fill_matrix(&w, seed);
        gpu.submit(&fill.finish()?);
        // Evenly spread, and the same everywhere.
        let number = |i: usize| {
            let noise = (i as u32 ^ (seed << 20)).wrapping_mul(2_654_435_769);
            ((noise >> 16) % 3) as f32 - 1.0
        };
        let numbers: Vec<f32> = (0..rows * shape[1]).map(number).collect();
        gpu.write(&x, 0, &numbers)?;
        let nothing = match rows {
            1 => Some(Nothing::of(gpu, &numbers)?),
            _ => None,
        };
        Ok(Self { x, w, y, nothing })
    }

    /// The product; of a single row after a norm that adds nothing to it, as in a step something
    /// writes each row before it is read, and packs it if it is read in bytes.
    pub(crate) fn record(&self, recorder: &mut Recorder) {
        if let Some(nothing) = &self.nothing {
            let [zeros, zero_scales] = &nothing.zeros;
            // Those of the residual stream have a norm before them, and make wider rows of it; what follows a
            // branch has none.
            let is_wider = self.w.rows() >= self.w.columns();
            if is_wider && recorder.norms_within(&self.w) {
                let x = Normed {
                    hidden: &self.x,
                    branch: Some((zeros, zero_scales)),
                    sum: &nothing.sum,
                    scale: &nothing.scales,
                    eps: EPS,
                };
                return recorder.linear_normed(x, &self.w, &self.y);
            }
            recorder.rms_norm(zeros, zero_scales, EPS, true, &self.x);
        }
        recorder.linear(&self.x, &self.w, Linear::default(), &self.y);
    }
}

impl Nothing {
    fn of(gpu: &Gpu, row: &[f32]) -> Result<Self, GpuError> {
        let room = |name| gpu.tensor(name, 1, row.len());
        let scales = room("tuning scales")?;
        let squares: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
        let root = (squares / row.len().max(1) as f64 + f64::from(EPS)).sqrt();
        gpu.write(&scales, 0, &vec![(root - 1.0) as f32; row.len()])?;
        Ok(Self {
            zeros: [room("tuning zeros")?, room("tuning scales of zeros")?],
            scales,
            sum: room("tuning sums")?,
        })
    }
}

/// What those that are compared came to.
pub(crate) async fn read(gpu: &Gpu, products: &[Product]) -> Result<Vec<f32>, GpuError> {
    let mut all = Vec::new();
    for product in products.iter().take(READ) {
        all.extend(gpu.read_tensor(&product.y).await?);
    }
    gpu.check()?;
    Ok(all)
}
