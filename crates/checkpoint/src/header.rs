//! The header of a safetensors file, believed only after it was checked.
//!
//! A file is eight bytes with the header's length (little-endian), the header (a
//! JSON object of tensors, padded with spaces), and the data, which the tensors
//! cover without overlap or gap. See
//! <https://github.com/huggingface/safetensors>.

use crate::digest::Digest;
use crate::error::{CheckpointError, DOWNLOAD_AGAIN, shown};
use crate::source::{Source, read_exact};
use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

/// Bytes before the header, which hold its length.
const LENGTH_BYTES: u64 = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;
/// What is read at first: enough for the headers of all released checkpoints.
const FIRST_READ: u64 = 128 * 1024;
/// More dimensions than any tensor has, and so few that a header cannot claim
/// memory with them.
const MOST_DIMENSIONS: usize = 64;

/// A tensor of a checked header.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    /// Absolute bytes in the file.
    pub(crate) range: Range<u64>,
}

/// Reads and checks the header of `file`, which has `size` bytes. The tensors
/// are in the order of their data; with them comes the digest of the header,
/// the bytes of its length included.
pub(crate) async fn read_header<S: Source>(
    source: &S,
    file: &str,
    size: u64,
) -> Result<(Vec<Entry>, Digest), CheckpointError> {
    let broken = |reason: String, next| CheckpointError::File {
        file: file.to_owned(),
        reason,
        next,
    };
    let mut start = read_exact(source, file, 0..size.min(FIRST_READ)).await?;
    if start.starts_with(b"version https://git-lfs") {
        return Err(broken(
            "is a Git LFS pointer, not the weights it stands for".to_owned(),
            "fetch the weights with `git lfs pull`",
        ));
    }
    let Some((length, _)) = start.split_first_chunk::<8>() else {
        return Err(broken(
            format!("has only {size} bytes, too few for a safetensors file"),
            DOWNLOAD_AGAIN,
        ));
    };
    let length = u64::from_le_bytes(*length);
    let available = size - LENGTH_BYTES;
    if length > LONGEST_HEADER.min(available) {
        let reason = if length > available {
            format!("says that its header has {length} bytes, but only {available} follow")
        } else {
            format!("says that its header has {length} bytes, above the limit of {LONGEST_HEADER}")
        };
        return Err(broken(reason, DOWNLOAD_AGAIN));
    }
    let data_start = LENGTH_BYTES + length;
    let read = start.len() as u64;
    if read < data_start {
        start.extend(read_exact(source, file, read..data_start).await?);
    }
    start.truncate(data_start as usize);
    let header = start.get(LENGTH_BYTES as usize..).unwrap_or_default();
    let entries = check_header(file, header, data_start, size)?;
    Ok((entries, Digest::of(&start)))
}

/// Checks a header whose data lies at `data_start..size` in the file, `size` being no less than
/// `data_start`.
pub(crate) fn check_header(
    file: &str,
    header: &[u8],
    data_start: u64,
    size: u64,
) -> Result<Vec<Entry>, CheckpointError> {
    let broken = |reason: String| CheckpointError::File {
        file: file.to_owned(),
        reason,
        next: DOWNLOAD_AGAIN,
    };
    if header.first() != Some(&b'{') {
        return Err(broken(
            "is not a safetensors file, its header is no JSON object".to_owned(),
        ));
    }
    let Header(mut tensors) = serde_json::from_slice(header)
        .map_err(|e| broken(format!("has a malformed header, {}", shown(&e.to_string()))))?;
    tensors.sort_by_key(|(_, raw)| raw.data_offsets);

    let mut entries: Vec<Entry> = Vec::with_capacity(tensors.len());
    let mut covered = 0;
    for (name, raw) in tensors {
        let wrong = |reason: String| CheckpointError::Tensor {
            file: file.to_owned(),
            tensor: shown(&name),
            reason,
            next: DOWNLOAD_AGAIN,
        };
        let (begin, end) = raw.data_offsets;
        let dtype = known_dtype(&raw.dtype).ok_or_else(|| {
            wrong(format!(
                "has the unknown number format \"{}\"",
                shown(&raw.dtype)
            ))
        })?;
        let length = end
            .checked_sub(begin)
            .ok_or_else(|| wrong(format!("ends at {end}, before it begins at {begin}")))?;
        let wanted = byte_len(dtype, &raw.shape.0)
            .ok_or_else(|| wrong(format!("has the impossible shape {:?}", raw.shape.0)))?;
        if length != wanted {
            return Err(wrong(format!(
                "has {length} bytes where {:?} of {dtype} takes {wanted}",
                raw.shape.0
            )));
        }
        if begin < covered {
            let other = entries.last().map(|e| shown(&e.name)).unwrap_or_default();
            return Err(wrong(format!(
                "overlaps `{other}` by {} bytes",
                covered - begin
            )));
        }
        if begin > covered {
            return Err(wrong(format!(
                "begins {} bytes after the one before it ends, and gaps are not allowed",
                begin - covered
            )));
        }
        covered = end;
        let range = data_start
            .checked_add(begin)
            .zip(data_start.checked_add(end));
        let (start, end) = range.ok_or_else(|| wrong("lies beyond any file".to_owned()))?;
        entries.push(Entry {
            name,
            dtype,
            shape: raw.shape.0,
            range: start..end,
        });
    }
    let available = size - data_start;
    if covered > available {
        return Err(CheckpointError::Truncated {
            file: file.to_owned(),
            missing: covered - available,
        });
    }
    if covered < available {
        return Err(broken(format!(
            "has {} bytes after its last tensor that its header does not mention",
            available - covered
        )));
    }
    Ok(entries)
}

/// Bytes of a tensor, or `None` if they overflow or are not whole.
fn byte_len(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
    let bits = elements.checked_mul(dtype.bitsize() as u64)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

fn known_dtype(name: &str) -> Option<Dtype> {
    let name: de::value::StrDeserializer<'_, de::value::Error> = name.into_deserializer();
    Dtype::deserialize(name).ok()
}

/// The safetensors crate's own header type keeps offsets in a `usize`, too
/// small in a browser for a file above 4 GiB, and takes a name twice.
struct Header(Vec<(String, RawTensor)>);

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors;
        impl<'de> Visitor<'de> for Tensors {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut seen = HashSet::new();
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if !seen.insert(name.clone()) {
                        let name = shown(&name);
                        return Err(de::Error::custom(format!("`{name}` is there twice")));
                    }
                    tensors.push((name, map.next_value()?));
                }
                Ok(Header(tensors))
            }
        }
        deserializer.deserialize_map(Tensors)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dimensions;
        impl<'de> Visitor<'de> for Dimensions {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST_DIMENSIONS} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(dimension) = list.next_element()? {
                    if shape.len() == MOST_DIMENSIONS {
                        return Err(de::Error::invalid_length(shape.len() + 1, &self));
                    }
                    shape.push(dimension);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Dimensions)
    }
}
