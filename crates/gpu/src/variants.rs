//! Which of several kernels for the same job an adapter gets.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::device::{AdapterInfo, Gpu};

/// Most invocations that share an output.
const MOST_LANES: u32 = 64;

/// How products of many rows are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatmulVariant {
    /// Tiles in registers: for adapters that compute on the CPU, where workgroup memory is memory
    /// like any other and a barrier is expensive.
    Registers,
    /// Tiles in workgroup memory, from which registers are filled.
    Tiled,
}

/// The kernels that an adapter gets. Every one computes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variants {
    /// Products of many rows.
    pub matmul: MatmulVariant,
    /// Invocations that share an output of a product of a single row: a power of two up to 64.
    /// Products with few outputs get more.
    pub matvec_lanes: u32,
}

impl Variants {
    /// What an adapter gets that nobody has measured.
    #[must_use]
    pub fn usual(info: &AdapterInfo) -> Self {
        match info.is_software {
            true => Self {
                matmul: MatmulVariant::Registers,
                matvec_lanes: 1,
            },
            // A row of 2304 inputs is 72 chunks of 32: enough for 32 invocations, each with several
            // loads under way.
            false => Self {
                matmul: MatmulVariant::Tiled,
                matvec_lanes: 32,
            },
        }
    }
}

/// A text that names no variants.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` names no kernels of this version; they are `registers` or `tiled`, and `lanes=` with a \
     power of two up to {MOST_LANES}, as in `tiled lanes=32`"
)]
pub struct UnknownVariants {
    /// It.
    pub text: String,
}

impl fmt::Display for MatmulVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Registers => "registers",
            Self::Tiled => "tiled",
        })
    }
}

/// `tiled lanes=32`: a form to keep, which [`FromStr`] reads again.
impl fmt::Display for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lanes={}", self.matmul, self.matvec_lanes)
    }
}

impl FromStr for Variants {
    type Err = UnknownVariants;

    fn from_str(text: &str) -> Result<Self, UnknownVariants> {
        let read = || {
            let (matmul, lanes) = text.split_once(' ')?;
            let matmul = match matmul {
                "registers" => MatmulVariant::Registers,
                "tiled" => MatmulVariant::Tiled,
                _ => return None,
            };
            let matvec_lanes: u32 = lanes.strip_prefix("lanes=")?.parse().ok()?;
            let known = matvec_lanes.is_power_of_two() && matvec_lanes <= MOST_LANES;
            let variants = Self {
                matmul,
                matvec_lanes,
            };
            // One text for each, so that what is kept can be compared: no sign, no leading zero.
            (known && variants.to_string() == text).then_some(variants)
        };
        read().ok_or_else(|| UnknownVariants {
            text: text.chars().take(64).collect(),
        })
    }
}

impl Gpu {
    /// The kernels that are recorded from now on.
    #[must_use]
    pub fn variants(&self) -> Variants {
        self.0.variants.get()
    }

    /// Chooses other kernels for what is recorded from now on. `matvec_lanes` is rounded to what
    /// there is.
    pub fn set_variants(&self, variants: Variants) {
        let lanes = variants
            .matvec_lanes
            .clamp(1, MOST_LANES)
            .next_power_of_two();
        self.0.variants.set(Variants {
            matvec_lanes: lanes,
            ..variants
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_survive_as_text() {
        for matmul in [MatmulVariant::Registers, MatmulVariant::Tiled] {
            for matvec_lanes in [1, 2, 4, 8, 16, 32, 64] {
                let variants = Variants {
                    matmul,
                    matvec_lanes,
                };
                assert_eq!(variants.to_string().parse(), Ok(variants));
            }
        }
        let kept = Variants {
            matmul: MatmulVariant::Tiled,
            matvec_lanes: 32,
        };
        assert_eq!(kept.to_string(), "tiled lanes=32");
    }

    #[test]
    fn what_names_no_variants_is_refused() {
        for text in [
            "",
            "tiled",
            "lanes=32",
            "tiled lanes=",
            "tiled lanes=0",
            "tiled lanes=3",
            "tiled lanes=128",
            "tiled lanes=+32",
            "tiled lanes=032",
            "tiled lanes=-1",
            "tiled lanes=4294967296",
            "tiled  lanes=32",
            " tiled lanes=32",
            "tiled lanes=32 ",
            "Tiled lanes=32",
            "tiled lanes=32 f16",
            "subgroups lanes=32",
        ] {
            let refused = text.parse::<Variants>().expect_err(text);
            assert_eq!(refused.text, text);
            assert!(refused.to_string().contains("tiled lanes=32"), "{refused}");
        }
        let long = "tiled ".repeat(1000).parse::<Variants>();
        assert_eq!(long.map_err(|error| error.text.len()), Err(64));
    }
}
