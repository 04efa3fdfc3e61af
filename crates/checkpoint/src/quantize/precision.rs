//! The precisions a weight can be packed to, by name and by size.

use super::BLOCK;
use super::error::QuantizeError;
use super::number::{BF16_MAX, F16_MAX};
use crate::error::shown;
use crate::tensor::Dtype;
use std::fmt;
use std::str::FromStr;

/// How a weight matrix is stored on the GPU (and in a packed model).
///
/// By name: `f32`, `f16`, `bf16`, `q8-g64`, `q4-g32`, `int4-g128`, the number
/// being the group's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Precision {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single-precision number.
    BF16,
    /// 8 bits, symmetric.
    Q8 {
        /// Weights that share a scale, a multiple of 8.
        group: usize,
    },
    /// 4 bits, symmetric but for one code more on the side of the scale's sign.
    Q4 {
        /// Weights that share a scale, a multiple of 8.
        group: usize,
    },
    /// 4 bits, asymmetric: torchao's int4 weight-only quantization.
    Int4 {
        /// Weights that share a scale and a zero, a multiple of 8 that divides
        /// the row.
        group: usize,
    },
}

/// Bytes of one packed row in each of the two planes, both multiples of 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowLayout {
    /// Elements or codes.
    pub weight_bytes: usize,
    /// Scales, and zeros where there are any; 0 for float precisions.
    pub scale_bytes: usize,
}

impl Precision {
    /// Bits that a weight takes in a long row, its share of the scales
    /// included.
    pub fn bits_per_weight(self) -> f64 {
        let (code, shared) = self.bits();
        code as f64 + shared as f64 / self.group().unwrap_or(1) as f64
    }

    /// Bytes of a row of `columns` weights.
    pub fn layout(self, columns: usize) -> RowLayout {
        let (code, shared) = self.bits();
        let blocks = columns.div_ceil(BLOCK);
        let groups = self
            .group()
            .map_or(0, |group| columns.div_ceil(group.max(1)));
        RowLayout {
            // 8 weights of n bits are n bytes.
            weight_bytes: blocks.saturating_mul(code),
            scale_bytes: groups.saturating_mul(shared / 8).div_ceil(4) * 4,
        }
    }

    /// Bits of a code or element, and bits that a group adds.
    fn bits(self) -> (usize, usize) {
        match self {
            Self::F32 => (32, 0),
            Self::F16 | Self::BF16 => (16, 0),
            Self::Q8 { .. } => (8, 16),
            Self::Q4 { .. } => (4, 16),
            Self::Int4 { .. } => (4, 32),
        }
    }

    fn group(self) -> Option<usize> {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => None,
            Self::Q8 { group } | Self::Q4 { group } | Self::Int4 { group } => Some(group),
        }
    }

    /// The largest magnitude a weight may have, so that its scale (or itself)
    /// is finite in the format it is stored in.
    pub(super) fn largest(self) -> f32 {
        match self {
            Self::F32 => f32::MAX,
            Self::BF16 => BF16_MAX,
            Self::F16 | Self::Int4 { .. } => F16_MAX,
            Self::Q8 { .. } => 127.0 * F16_MAX,
            Self::Q4 { .. } => 7.0 * F16_MAX,
        }
    }

    /// Whether rows of `columns` weights can be packed so.
    pub(super) fn check(self, columns: usize) -> Result<(), QuantizeError> {
        match self.group() {
            Some(group) if group == 0 || !group.is_multiple_of(BLOCK) => {
                Err(QuantizeError::Group { precision: self })
            }
            Some(group) if matches!(self, Self::Int4 { .. }) && !columns.is_multiple_of(group) => {
                Err(QuantizeError::PartialGroup {
                    precision: self,
                    columns,
                })
            }
            _ => Ok(()),
        }
    }
}

impl From<Dtype> for Precision {
    fn from(stored: Dtype) -> Self {
        match stored {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::F16 => f.write_str("f16"),
            Self::BF16 => f.write_str("bf16"),
            Self::Q8 { group } => write!(f, "q8-g{group}"),
            Self::Q4 { group } => write!(f, "q4-g{group}"),
            Self::Int4 { group } => write!(f, "int4-g{group}"),
        }
    }
}

impl FromStr for Precision {
    type Err = QuantizeError;

    fn from_str(name: &str) -> Result<Self, QuantizeError> {
        let unknown = || QuantizeError::Unknown(shown(name));
        let precision = match name.split_once("-g") {
            None => match name {
                "f32" => Self::F32,
                "f16" => Self::F16,
                "bf16" => Self::BF16,
                _ => return Err(unknown()),
            },
            Some((kind, group)) => {
                let group = group.parse().map_err(|_| unknown())?;
                match kind {
                    "q8" => Self::Q8 { group },
                    "q4" => Self::Q4 { group },
                    "int4" => Self::Int4 { group },
                    _ => return Err(unknown()),
                }
            }
        };
        // One name each: neither `q8-g064` nor `q8-g+64`.
        if precision.to_string() != name {
            return Err(unknown());
        }
        precision.check(0).map(|()| precision)
    }
}
