use paligemma_checkpoint::Dtype;
use paligemma_gpu::{Gpu, Indices, Matrix, Tensor};

/// A weight matrix on the GPU, and the numbers that it really holds after rounding to `dtype`.
pub(crate) fn matrix(
    gpu: &Gpu,
    rows: usize,
    columns: usize,
    dtype: Dtype,
    numbers: &[f32],
) -> (Matrix, Vec<f32>) {
    let (bytes, held) = encode(dtype, numbers);
    let matrix = gpu.matrix("weights", rows, columns, dtype).unwrap();
    gpu.write_matrix(&matrix, 0..rows, &bytes).unwrap();
    (matrix, held)
}

/// Little-endian bytes, and the numbers that they stand for.
pub(crate) fn encode(dtype: Dtype, numbers: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let mut bytes = Vec::new();
    let mut held = Vec::new();
    for &number in numbers {
        match dtype {
            Dtype::F32 => {
                bytes.extend(number.to_le_bytes());
                held.push(number);
            }
            Dtype::F16 => {
                let half = half::f16::from_f32(number);
                bytes.extend(half.to_le_bytes());
                held.push(half.to_f32());
            }
            Dtype::BF16 => {
                let half = half::bf16::from_f32(number);
                bytes.extend(half.to_le_bytes());
                held.push(half.to_f32());
            }
        }
    }
    (bytes, held)
}

pub(crate) fn tensor(gpu: &Gpu, columns: usize, numbers: &[f32]) -> Tensor {
    let tensor = gpu
        .tensor("input", numbers.len() / columns, columns)
        .unwrap();
    gpu.write(&tensor, 0, numbers).unwrap();
    tensor
}

pub(crate) fn indices(gpu: &Gpu, numbers: &[u32]) -> Indices {
    let indices = gpu.indices("indices", numbers.len()).unwrap();
    gpu.write_indices(&indices, numbers).unwrap();
    indices
}
