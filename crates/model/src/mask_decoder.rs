use paligemma_checkpoint::{Dtype, MaskWeights, Packed, Precision, pack};
use paligemma_gpu::{Conv, Gpu, GpuError, Matrix, Needed, Recorder, Tensor};

use crate::error::ModelError;

/// Codes of an object: a grid of 4 by 4, row by row.
pub const CODES: usize = 16;

/// Numbers of an object's mask: `[64, 64]`.
pub const MASK_NUMBERS: usize = 64 * 64;

/// Pixels a side of the grid of codes.
const GRID: usize = 4;

/// Entries of the code book, and numbers of one.
const CODE_BOOK: (usize, usize) = (128, 512);

/// Channels within the residual blocks.
const CHANNELS: usize = 128;

/// Objects that are decoded at a time: 4 MiB of the largest activation, and far less work than a
/// driver has patience for.
const AT_ONCE: usize = 16;

/// The decoder of the VQ-VAE whose codes PaliGemma writes as `<seg…>` tokens.
///
/// Method and layers are those of "All in Tokens" (Ning et al., 2023) as big_vision has them.
pub struct MaskDecoder {
    gpu: Gpu,
    code_book: Matrix, // [128, 512]
    entrance: Layer,   // 512 to 128 channels, 4 by 4 pixels
    residual_blocks: [[Layer; 3]; 2],
    growth: [Layer; 4], // each doubles the side: 128, 64, 32, 16 channels
    exit: Layer,        // 16 channels to 1
}

/// A convolution, its kernel laid out as `gpu` reads it.
struct Layer {
    weight: Tensor, // [outputs * kernel * kernel, inputs]
    bias: Tensor,   // [1, outputs]
    outputs: usize,
    kernel: usize,
}

impl MaskDecoder {
    /// Sends the weights to the GPU, in f32.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn load(gpu: &Gpu, weights: &MaskWeights) -> Result<Self, ModelError> {
        let (entries, width) = CODE_BOOK;
        let code_book = gpu.matrix("mask code book", entries, width, Precision::F32)?;
        let numbers = weights.tensor("_vq_vae._embedding");
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        let mut packed = Packed::default();
        pack(Precision::F32, Dtype::F32, width, &bytes, &mut packed).map_err(|reason| {
            ModelError::Quantize {
                tensor: "_vq_vae._embedding".to_owned(),
                reason,
            }
        })?;
        gpu.write_matrix(&code_book, 0..entries, &packed)?;

        let conv = |name: &str, inputs, outputs, kernel| {
            // PyTorch: [out, in, height, width].
            let place = move |output, input| output * inputs + input;
            Layer::new(gpu, weights, name, [inputs, outputs, kernel], &place)
        };
        let transposed = |name: &str, inputs, outputs| {
            // PyTorch: [in, out, height, width].
            let place = move |output, input| input * outputs + output;
            Layer::new(gpu, weights, name, [inputs, outputs, 4], &place)
        };
        let block = |name: &str| {
            Ok::<_, GpuError>([
                conv(&format!("{name}.net.0"), CHANNELS, CHANNELS, 3)?,
                conv(&format!("{name}.net.2"), CHANNELS, CHANNELS, 3)?,
                conv(&format!("{name}.net.4"), CHANNELS, CHANNELS, 1)?,
            ])
        };
        let decoder = Self {
            gpu: gpu.clone(),
            code_book,
            entrance: conv("decoder.0", width, CHANNELS, 1)?,
            residual_blocks: [block("decoder.2")?, block("decoder.3")?],
            growth: [
                transposed("decoder.4", CHANNELS, 128)?,
                transposed("decoder.6", 128, 64)?,
                transposed("decoder.8", 64, 32)?,
                transposed("decoder.10", 32, 16)?,
            ],
            exit: conv("decoder.12", 16, 1, 1)?,
        };
        let mut needed = Needed::default();
        gpu.sketch(|| {
            let mut r = gpu.recorder();
            decoder.record(&mut r, &[[0; CODES]])?;
            needed.add(r, false)
        })?;
        gpu.prepare_meanwhile(needed);
        gpu.finish().await?;
        Ok(decoder)
    }

    /// Decodes all objects in one batch (of many, a few batches). The codes of an object are 16
    /// entries of the code book, `[4, 4]`; its mask is 64 rows of 64 numbers, nominally 1 where the
    /// object is and -1 where not.
    ///
    /// # Errors
    /// A code that the code book does not have, or a GPU that fails.
    pub async fn decode(&self, codes: &[[u16; CODES]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let (entries, _) = CODE_BOOK;
        if let Some(&code) = codes.iter().flatten().find(|&&c| usize::from(c) >= entries) {
            return Err(ModelError::MaskCode { code, entries });
        }
        let mut masks = Vec::with_capacity(codes.len());
        for batch in codes.chunks(AT_ONCE) {
            let numbers = self.decode_batch(batch).await?;
            masks.extend(numbers.chunks_exact(MASK_NUMBERS).map(<[f32]>::to_vec));
        }
        Ok(masks)
    }

    async fn decode_batch(&self, codes: &[[u16; CODES]]) -> Result<Vec<f32>, GpuError> {
        let gpu = &self.gpu;
        let mut r = gpu.recorder();
        let mask = self.record(&mut r, codes)?;
        gpu.submit(&r.finish()?);
        gpu.read_tensor(&mask).await
    }

    /// Records the way from codes to `[objects * 64 * 64, 1]`.
    fn record(&self, r: &mut Recorder, codes: &[[u16; CODES]]) -> Result<Tensor, GpuError> {
        let gpu = &self.gpu;
        let pixels = codes.len() * GRID * GRID;
        let ids = gpu.indices("mask codes", pixels)?;
        let numbers: Vec<u32> = codes.iter().flatten().map(|&code| code.into()).collect();
        gpu.write_indices(&ids, &numbers)?;
        let looked_up = gpu.tensor("mask embeddings", pixels, CODE_BOOK.1)?;
        r.embed(&ids, &self.code_book, 1.0, &looked_up);

        let hidden = gpu.tensor("mask hidden", pixels, CHANNELS)?;
        let [a, b] = [
            gpu.tensor("mask residual", pixels, CHANNELS)?,
            gpu.tensor("mask residual", pixels, CHANNELS)?,
        ];
        r.conv(&looked_up, GRID, self.entrance.then_relu(), &hidden);
        for [first, second, third] in &self.residual_blocks {
            r.conv(&hidden, GRID, first.then_relu(), &a);
            r.conv(&a, GRID, second.then_relu(), &b);
            // Nothing follows the sum: the next layer sees numbers below 0.
            r.conv(&b, GRID, third.added(), &hidden);
        }

        let (mut x, mut side) = (hidden, GRID);
        for layer in &self.growth {
            let y = gpu.tensor("mask growing", 4 * x.rows(), layer.outputs)?;
            r.conv_transposed(&x, side, layer.then_relu(), &y);
            (x, side) = (y, 2 * side);
        }
        let mask = gpu.tensor("mask", x.rows(), 1)?;
        r.conv(&x, side, self.exit.alone(), &mask);
        Ok(mask)
    }
}

impl Layer {
    /// `place` says where in the file the kernel of a pair of output and input is.
    fn new(
        gpu: &Gpu,
        weights: &MaskWeights,
        name: &str,
        [inputs, outputs, kernel]: [usize; 3],
        place: &dyn Fn(usize, usize) -> usize,
    ) -> Result<Self, GpuError> {
        let area = kernel * kernel;
        let stored = weights.tensor(&format!("{name}.weight"));
        let biases = weights.tensor(&format!("{name}.bias"));
        if stored.len() != outputs * area * inputs || biases.len() != outputs {
            // `MaskWeights` has checked every shape: a disagreement between our own lists.
            return Err(GpuError::Shape {
                kernel: "load",
                detail: format!("{name} is not [{outputs}, {inputs}, {kernel}, {kernel}]"),
            });
        }
        let mut numbers = Vec::with_capacity(stored.len());
        for output in 0..outputs {
            for tap in 0..area {
                numbers.extend((0..inputs).map(|input| stored[place(output, input) * area + tap]));
            }
        }
        let weight = gpu.tensor(name, outputs * area, inputs)?;
        gpu.write(&weight, 0, &numbers)?;
        let bias = gpu.tensor(name, 1, outputs)?;
        gpu.write(&bias, 0, biases)?;
        Ok(Self {
            weight,
            bias,
            outputs,
            kernel,
        })
    }

    fn alone(&self) -> Conv<'_> {
        Conv {
            weight: &self.weight,
            bias: &self.bias,
            kernel: self.kernel,
            relu: false,
            accumulate: false,
        }
    }

    fn then_relu(&self) -> Conv<'_> {
        Conv {
            relu: true,
            ..self.alone()
        }
    }

    fn added(&self) -> Conv<'_> {
        Conv {
            accumulate: true,
            ..self.alone()
        }
    }
}
