//! One `.npy` array: magic, version, a header that is a Python literal, numbers.
//!
//! The format is NumPy's (`numpy.lib.format`). Of the literal only what NumPy itself writes is
//! taken: a dictionary of exactly `descr`, `fortran_order` and `shape`, in any order.

use std::borrow::Cow;

use super::Array;
use crate::error::shown;
use crate::tensor::Dtype;

const MAGIC: &[u8] = b"\x93NUMPY";

/// More dimensions than any array of the mask decoder has.
const MOST_DIMENSIONS: usize = 8;

/// Takes an array apart; the error says what is wrong with it.
pub(super) fn array(content: Cow<'_, [u8]>) -> Result<Array<'_>, String> {
    let (header, start) = header(&content)?;
    let header = Header::parse(header)?;
    let count = header.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    let wanted = count.and_then(|n| n.checked_mul(header.dtype.size() as u64));
    let there = (content.len() - start) as u64;
    if wanted != Some(there) {
        return Err(format!(
            "has {there} bytes of numbers, which is not what the shape {:?} takes",
            header.shape
        ));
    }
    let bytes = match content {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(start..).unwrap_or_default()),
        Cow::Owned(mut bytes) => {
            bytes.drain(..start);
            Cow::Owned(bytes)
        }
    };
    Ok(Array {
        shape: header.shape,
        dtype: header.dtype,
        bytes,
    })
}

/// The literal, and where the numbers begin.
fn header(content: &[u8]) -> Result<(&str, usize), String> {
    let damaged = || "has a damaged header".to_owned();
    let rest = content
        .strip_prefix(MAGIC)
        .ok_or_else(|| "is not a .npy array".to_owned())?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let (length, before) = match version[0] {
        1 => {
            let (length, _) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
            (u32::from(u16::from_le_bytes(*length)), 2)
        }
        2 | 3 => {
            let (length, _) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            (u32::from_le_bytes(*length), 4)
        }
        other => return Err(format!("is of version {other} of the .npy format")),
    };
    let literal = usize::try_from(length)
        .ok()
        .and_then(|length| rest.get(before..)?.get(..length));
    let literal = literal.ok_or_else(damaged)?;
    let text = std::str::from_utf8(literal).map_err(|_| damaged())?;
    Ok((text, MAGIC.len() + 2 + before + literal.len()))
}

struct Header {
    dtype: Dtype,
    shape: Vec<u64>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader(text);
        let odd = || {
            format!(
                "has the header {}, which NumPy would not write",
                shown(text)
            )
        };
        let (mut dtype, mut order, mut shape) = (None, None, None);
        reader.take("{").ok_or_else(odd)?;
        while reader.take("}").is_none() {
            let key = reader.string().ok_or_else(odd)?;
            reader.take(":").ok_or_else(odd)?;
            let fresh = match key {
                "descr" => dtype.replace(reader.string().ok_or_else(odd)?).is_none(),
                "fortran_order" => order.replace(reader.truth().ok_or_else(odd)?).is_none(),
                "shape" => shape.replace(reader.shape().ok_or_else(odd)?).is_none(),
                _ => false,
            };
            if !fresh {
                return Err(odd());
            }
            if reader.take(",").is_none() {
                reader.take("}").ok_or_else(odd)?;
                break;
            }
        }
        let (Some(dtype), Some(by_columns), Some(shape), true) =
            (dtype, order, shape, reader.is_at_end())
        else {
            return Err(odd());
        };
        if by_columns && shape.len() > 1 {
            return Err("is stored column by column".to_owned());
        }
        let dtype = match dtype {
            "<f4" => Dtype::F32,
            "<f2" => Dtype::F16,
            other => {
                return Err(format!(
                    "is stored as '{}', and the mask decoder as float32 or float16 ('<f4', '<f2')",
                    shown(other)
                ));
            }
        };
        Ok(Self { dtype, shape })
    }
}

/// Reads a literal from left to right; spaces between its parts do not matter.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn take(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    /// Without escapes: no name that is wanted has any.
    fn string(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (string, rest) = text.get(1..)?.split_once(quote)?;
        self.0 = rest;
        (!string.contains('\\')).then_some(string)
    }

    fn truth(&mut self) -> Option<bool> {
        if self.take("True").is_some() {
            return Some(true);
        }
        self.take("False").map(|()| false)
    }

    /// `()`, `(128,)`, `(128, 512)`.
    fn shape(&mut self) -> Option<Vec<u64>> {
        self.take("(")?;
        let mut shape = Vec::new();
        while self.take(")").is_none() {
            let text = self.0.trim_start();
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            if shape.len() == MOST_DIMENSIONS {
                return None;
            }
            shape.push(digits.parse().ok()?);
            self.0 = rest;
            if self.take(",").is_none() {
                self.take(")")?;
                break;
            }
        }
        Some(shape)
    }

    fn is_at_end(&self) -> bool {
        self.0.trim().is_empty()
    }
}
