use paligemma_checkpoint::{Dtype, Packed, Precision, pack, unpack_row};
use paligemma_gpu::{Gpu, Indices, Matrix, Tensor};

/// A weight matrix on the GPU, and the numbers that it really holds after packing.
pub(crate) fn matrix(
    gpu: &Gpu,
    rows: usize,
    columns: usize,
    precision: Precision,
    numbers: &[f32],
) -> (Matrix, Vec<f32>) {
    let (packed, held) = packed(precision, columns, numbers);
    let matrix = gpu.matrix("weights", rows, columns, precision).unwrap();
    gpu.write_matrix(&matrix, 0..rows, &packed).unwrap();
    (matrix, held)
}

/// Rows of numbers packed, and the numbers that they then stand for.
pub(crate) fn packed(precision: Precision, columns: usize, numbers: &[f32]) -> (Packed, Vec<f32>) {
    let (bytes, _) = encode(Dtype::F32, numbers);
    let mut packed = Packed::default();
    pack(precision, Dtype::F32, columns, &bytes, &mut packed).unwrap();
    let layout = precision.layout(columns);
    let held = (0..numbers.len() / columns)
        .flat_map(|row| {
            let weights = &packed.weights[row * layout.weight_bytes..][..layout.weight_bytes];
            let scales = &packed.scales[row * layout.scale_bytes..][..layout.scale_bytes];
            unpack_row(precision, columns, weights, scales)
        })
        .collect();
    (packed, held)
}

/// Every precision there is a kernel for; small groups, so that rows have several.
pub(crate) const PRECISIONS: [Precision; 6] = [
    Precision::F32,
    Precision::F16,
    Precision::BF16,
    Precision::Q8 { group: 16 },
    Precision::Q4 { group: 32 },
    Precision::Int4 { group: 8 },
];

/// A number of columns that the precision can have, not below this one.
pub(crate) fn columns(precision: Precision, columns: usize) -> usize {
    match precision {
        Precision::Int4 { group } => columns.next_multiple_of(group),
        _ => columns,
    }
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
