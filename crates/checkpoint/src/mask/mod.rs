//! The weights of the mask decoder: a file of its own, published once for all checkpoints.
//!
//! It is read by name from `vae-oid.npz`, as Google publishes it, or from a safetensors file with
//! the same names; what else is in there (the encoder, training's statistics) is left alone. With
//! nine megabytes at most it is read whole, like a tokenizer.

mod npy;
mod npz;

use std::collections::BTreeMap;

use crate::error::{CheckpointError, DOWNLOAD_AGAIN, shown};
use crate::header::check_header;
use crate::quantize::widen_f16;
use crate::tensor::Dtype;

/// Where the file lies beside a checkpoint; the first that is there counts.
pub const MASK_FILES: [&str; 4] = [
    "vae-oid.safetensors",
    "vae-oid.npz",
    "codec/vae-oid.safetensors",
    "codec/vae-oid.npz",
];

/// The largest file that is read. The published one has 8,479,556 bytes.
pub const LARGEST_MASK_FILE: u64 = 64 << 20;

/// The next step for a file that is sound but something else.
const OTHER_FILE: &str = "use vae-oid.npz as it was published for PaliGemma, or a safetensors \
                          file with its arrays";

/// Names and shapes, in PyTorch's layouts: a convolution is `[out, in, height, width]`, a
/// transposed one `[in, out, height, width]`.
const TENSORS: [(&str, &[usize]); 25] = [
    ("_vq_vae._embedding", &[128, 512]),
    ("decoder.0.weight", &[128, 512, 1, 1]),
    ("decoder.0.bias", &[128]),
    ("decoder.2.net.0.weight", &[128, 128, 3, 3]),
    ("decoder.2.net.0.bias", &[128]),
    ("decoder.2.net.2.weight", &[128, 128, 3, 3]),
    ("decoder.2.net.2.bias", &[128]),
    ("decoder.2.net.4.weight", &[128, 128, 1, 1]),
    ("decoder.2.net.4.bias", &[128]),
    ("decoder.3.net.0.weight", &[128, 128, 3, 3]),
    ("decoder.3.net.0.bias", &[128]),
    ("decoder.3.net.2.weight", &[128, 128, 3, 3]),
    ("decoder.3.net.2.bias", &[128]),
    ("decoder.3.net.4.weight", &[128, 128, 1, 1]),
    ("decoder.3.net.4.bias", &[128]),
    ("decoder.4.weight", &[128, 128, 4, 4]),
    ("decoder.4.bias", &[128]),
    ("decoder.6.weight", &[128, 64, 4, 4]),
    ("decoder.6.bias", &[64]),
    ("decoder.8.weight", &[64, 32, 4, 4]),
    ("decoder.8.bias", &[32]),
    ("decoder.10.weight", &[32, 16, 4, 4]),
    ("decoder.10.bias", &[16]),
    ("decoder.12.weight", &[1, 16, 1, 1]),
    ("decoder.12.bias", &[1]),
];

/// The mask decoder's weights, widened to f32, each with the shape that the decoder asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskWeights {
    tensors: BTreeMap<&'static str, Vec<f32>>,
}

/// An array of a file, not yet believed to be the one that is wanted.
struct Array<'a> {
    shape: Vec<u64>,
    dtype: Dtype,
    /// Little-endian, as many as shape and format say.
    bytes: std::borrow::Cow<'a, [u8]>,
}

impl MaskWeights {
    /// Reads a file: npz if it is a zip, safetensors if not. `file` is what messages call it.
    ///
    /// # Errors
    /// If the file is damaged, if an array is missing, has another shape or another format than
    /// float32 or float16, or holds a number that is not finite.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let broken = |reason: &str, next| CheckpointError::File {
            file: file.to_owned(),
            reason: reason.to_owned(),
            next,
        };
        if bytes.len() as u64 > LARGEST_MASK_FILE {
            let reason = format!(
                "has {} bytes, above the limit of {LARGEST_MASK_FILE}",
                bytes.len()
            );
            return Err(broken(&reason, OTHER_FILE));
        }
        if bytes.starts_with(b"version https://git-lfs") {
            return Err(broken(
                "is a Git LFS pointer, not the weights it stands for",
                "fetch the weights with `git lfs pull`",
            ));
        }
        let mut arrays = if bytes.starts_with(b"PK") {
            npz::arrays(file, bytes)?
        } else {
            safetensors(file, bytes)?
        };
        let mut tensors = BTreeMap::new();
        for (name, shape) in TENSORS {
            let array = arrays
                .remove(name)
                .ok_or_else(|| wrong(file, name, "is not there".to_owned(), OTHER_FILE))?;
            let same = array
                .shape
                .iter()
                .copied()
                .eq(shape.iter().map(|&n| n as u64));
            if !same {
                let reason = format!(
                    "has the shape {:?} where the mask decoder has {shape:?}",
                    array.shape
                );
                return Err(wrong(file, name, reason, OTHER_FILE));
            }
            let numbers = widened(array.dtype, &array.bytes);
            if numbers.iter().any(|number| !number.is_finite()) {
                let reason = "holds a number that is not finite".to_owned();
                return Err(wrong(file, name, reason, DOWNLOAD_AGAIN));
            }
            tensors.insert(name, numbers);
        }
        Ok(Self { tensors })
    }

    /// The numbers of a tensor, in the order of the file; none of a name that the decoder does not
    /// have.
    #[must_use]
    pub fn tensor(&self, name: &str) -> &[f32] {
        self.tensors.get(name).map_or(&[], Vec::as_slice)
    }

    /// Names and shapes of all tensors.
    pub fn shapes() -> impl Iterator<Item = (&'static str, &'static [usize])> {
        TENSORS.into_iter()
    }
}

fn wrong(file: &str, tensor: &str, reason: String, next: &'static str) -> CheckpointError {
    CheckpointError::Tensor {
        file: file.to_owned(),
        tensor: shown(tensor),
        reason,
        next,
    }
}

/// The shape of a wanted array; `None` of one that is to be ignored.
fn wanted(name: &str) -> Option<&'static [usize]> {
    let mut all = TENSORS.iter();
    all.find(|(known, _)| *known == name)
        .map(|(_, shape)| *shape)
}

/// The wanted arrays of a safetensors file.
fn safetensors<'a>(
    file: &str,
    bytes: &'a [u8],
) -> Result<BTreeMap<&'static str, Array<'a>>, CheckpointError> {
    let broken = |reason: String| CheckpointError::File {
        file: file.to_owned(),
        reason,
        next: OTHER_FILE,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(broken(format!(
            "has only {} bytes, too few for a mask decoder",
            bytes.len()
        )));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let header =
        header.ok_or_else(|| broken("is neither a zip nor a safetensors file".to_owned()))?;
    let entries = check_header(file, header, 8 + length, bytes.len() as u64)?;
    let mut arrays = BTreeMap::new();
    for entry in entries {
        let Some((name, _)) = TENSORS.iter().find(|(name, _)| *name == entry.name) else {
            continue;
        };
        let dtype = match entry.dtype {
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::F16 => Dtype::F16,
            other => {
                let reason =
                    format!("is stored as {other}, and the mask decoder as float32 or float16");
                return Err(wrong(file, name, reason, OTHER_FILE));
            }
        };
        let range = usize::try_from(entry.range.start)
            .ok()
            .zip(usize::try_from(entry.range.end).ok());
        let data = range.and_then(|(start, end)| bytes.get(start..end));
        let data = data.ok_or_else(|| broken("ends before its own header says so".to_owned()))?;
        arrays.insert(
            *name,
            Array {
                shape: entry.shape,
                dtype,
                bytes: data.into(),
            },
        );
    }
    Ok(arrays)
}

fn widened(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F32 => {
            let (numbers, _) = bytes.as_chunks::<4>();
            numbers.iter().map(|b| f32::from_le_bytes(*b)).collect()
        }
        Dtype::F16 => {
            let (numbers, _) = bytes.as_chunks::<2>();
            numbers.iter().map(|b| widen_f16(*b)).collect()
        }
        Dtype::BF16 => {
            let (numbers, _) = bytes.as_chunks::<2>();
            let widen = |[low, high]: [u8; 2]| f32::from_le_bytes([0, 0, low, high]);
            numbers.iter().map(|b| widen(*b)).collect()
        }
    }
}
