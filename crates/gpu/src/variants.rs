//! Which of several kernels for the same job an adapter gets.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::device::Gpu;
use crate::matrix::Kernels;
use crate::shader::Shader;

/// Most invocations that share an output.
const MOST_LANES: u32 = 64;

/// The outputs and rows that a workgroup may compute, the most first. A kernel for which there are
/// several is told the rows.
pub(crate) type Tiles = &'static [[usize; 2]];

/// So many workgroups keep a large GPU busy: about three for each of a hundred and more processors,
/// as fewer leave many of those idle while others compute the last ones.
const ENOUGH_WORKGROUPS: u64 = 384;

/// The largest of `tiles` of which there are enough for so many outputs and rows, or the smallest.
pub(crate) fn tile_for(tiles: Tiles, [outputs, rows]: [usize; 2]) -> [usize; 2] {
    let workgroups = |tile: [usize; 2]| (outputs.div_ceil(tile[0]) * rows.div_ceil(tile[1])) as u64;
    let enough = |tile: &[usize; 2]| workgroups(*tile) >= ENOUGH_WORKGROUPS;
    let found = tiles.iter().copied().find(enough);
    found.or(tiles.last().copied()).unwrap_or([1, 1])
}

/// How products of many rows are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatmulVariant {
    /// Tiles in registers: for adapters that compute on the CPU, where workgroup memory is memory
    /// like any other and a barrier is expensive.
    Registers,
    /// Tiles in workgroup memory, from which registers are filled.
    Tiled,
    /// The same with products of 16-bit floats, summed 32 inputs at a time, where weights are
    /// quantized and an adapter has such arithmetic; else as usual. Inputs and
    /// sums of 32 products are rounded to 16 bits: about a thousandth of the result, a sixth of what
    /// rounding weights to `q8` costs.
    Half,
    /// The same as cooperative matrices, which many GPUs multiply faster than anything else: inputs and
    /// weights (below 4,000) are rounded to 16 bits, sums are of 32. Not in browsers.
    Cooperative,
    /// The same with products of signed bytes, of which inputs become multiples of a 127th of the
    /// largest of 32 where weights are quantized; else as usual. It needs no
    /// feature, and many GPUs have it as one instruction. About as much is lost as by rounding
    /// weights to `q8`.
    Dots,
}

impl MatmulVariant {
    /// Rounds nothing but sums.
    #[must_use]
    pub fn is_exact(self) -> bool {
        match self {
            Self::Registers | Self::Tiled => true,
            Self::Half | Self::Cooperative | Self::Dots => false,
        }
    }

    /// The kernel for one way of storing weights, and its tiles.
    fn of(self, gpu: &Gpu, kernels: &Kernels) -> Option<(&'static Shader, Tiles)> {
        match self {
            Self::Registers => Some((kernels.matmul, &[[64, 64]])),
            Self::Tiled => Some((kernels.matmul_tiled, &[[64, 64], [64, 32]])),
            Self::Half => Some((kernels.matmul_half?, &[[64, 64], [64, 32]])),
            Self::Cooperative => match (gpu.0.cooperative_side, kernels.matmul_cooperative?) {
                (16, both) => Some((both.sixteen, &[[64, 64]])),
                (8, both) => Some((both.eight, &[[32, 32]])),
                _ => None,
            },
            Self::Dots => Some((kernels.matmul_dots?, &[[64, 64], [64, 32]])),
        }
    }
}

/// The kernels that an adapter gets. Every one computes the same, but for what
/// [`MatmulVariant::Half`], [`MatmulVariant::Cooperative`], [`MatmulVariant::Dots`] and
/// [`Variants::bytes`] round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variants {
    /// Products of many rows.
    pub matmul: MatmulVariant,
    /// Invocations that share an output of a product of a single row: a power of two up to 64.
    /// Products with few outputs get more.
    pub matvec_lanes: u32,
    /// Those invocations sum through subgroups, on an adapter that has them and where they are no
    /// more than one has; else through workgroup memory.
    pub subgroups: bool,
    /// Not zero: four outputs of a product of a single row are shared by as many invocations as it
    /// takes to have so many of them, a power of two, and the two above mean nothing. Where gates and ups
    /// are packed for the product after them, at most 16 share their outputs.
    pub fours: u32,
    /// Products of a single row in fours read their inputs as signed bytes, multiples of a 127th of the
    /// largest of 32, where [`MatmulVariant::Dots`] would: beside weights in `q8` and `q4` of whole groups
    /// of 32. Whoever writes a row packs it on the way. That is every row of a step, and of a prompt one
    /// that is left over where it is cut into stretches; not the head's.
    pub bytes: bool,
    /// Products of a single row in fours have the norm of the residual stream before them inside: every team
    /// sums up its squares, and no dispatch of its own does. Not beside `bytes`, of which whoever writes a row
    /// packs it; and of quantized weights only of rows of whole chunks of 32.
    pub norms: bool,
}

/// Lanes of those who do not use them.
const NO_LANES: u32 = 32;
/// Fewest and most invocations of a product in fours.
const FOURS: [u32; 2] = [1 << 10, 1 << 24];

impl Variants {
    /// What an adapter gets that nobody has measured: one that computes on the CPU, or a GPU.
    #[must_use]
    pub fn usual(serial: bool) -> Self {
        match serial {
            true => Self {
                matmul: MatmulVariant::Registers,
                matvec_lanes: 1,
                subgroups: false,
                fours: 0,
                bytes: false,
                norms: false,
            },
            false => Self {
                matmul: MatmulVariant::Tiled,
                matvec_lanes: NO_LANES,
                subgroups: false,
                fours: 1 << 17,
                bytes: false,
                norms: false,
            },
        }
    }

    /// Nothing is rounded but sums.
    #[must_use]
    pub fn are_exact(self) -> bool {
        self.matmul.is_exact() && !self.bytes
    }
}

/// A text that names no variants.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` names no kernels of this version; they are `registers`, `tiled`, `half`, `cooperative` or `dots`, \
     `lanes=` with a power of two up to {MOST_LANES}, and perhaps `subgroups`, or `fours=` with a larger one, and \
     perhaps `bytes` or `norms`, as in `tiled lanes=32 subgroups` and `tiled fours=131072 bytes`"
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
            Self::Half => "half",
            Self::Cooperative => "cooperative",
            Self::Dots => "dots",
        })
    }
}

/// `tiled lanes=32`: a form to keep, which [`FromStr`] reads again.
impl fmt::Display for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.matmul, self.matvec())
    }
}

impl Variants {
    /// What is chosen for a single row, in words.
    #[must_use]
    pub fn matvec(&self) -> String {
        if self.fours > 0 {
            let how = match (self.bytes, self.norms) {
                (true, _) => " bytes",
                (false, true) => " norms",
                (false, false) => "",
            };
            return format!("fours={}{how}", self.fours);
        }
        let subgroups = if self.subgroups { " subgroups" } else { "" };
        format!("lanes={}{subgroups}", self.matvec_lanes)
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
                "half" => MatmulVariant::Half,
                "cooperative" => MatmulVariant::Cooperative,
                "dots" => MatmulVariant::Dots,
                _ => return None,
            };
            if let Some(fours) = lanes.strip_prefix("fours=") {
                let (fours, how) = fours.split_once(' ').unwrap_or((fours, ""));
                let fours: u32 = fours.parse().ok()?;
                let known = fours.is_power_of_two() && (FOURS[0]..=FOURS[1]).contains(&fours);
                let variants = Self {
                    matmul,
                    matvec_lanes: NO_LANES,
                    subgroups: false,
                    fours,
                    bytes: how == "bytes",
                    norms: how == "norms",
                };
                return (known && variants.to_string() == text).then_some(variants);
            }
            let (lanes, subgroups) = match lanes.strip_suffix(" subgroups") {
                Some(lanes) => (lanes, true),
                None => (lanes, false),
            };
            let matvec_lanes: u32 = lanes.strip_prefix("lanes=")?.parse().ok()?;
            let known = matvec_lanes.is_power_of_two() && matvec_lanes <= MOST_LANES;
            let variants = Self {
                matmul,
                matvec_lanes,
                subgroups,
                fours: 0,
                bytes: false,
                norms: false,
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
    /// there is; what needs a feature that is not in use becomes what needs none.
    pub fn set_variants(&self, variants: Variants) {
        let lanes = variants
            .matvec_lanes
            .clamp(1, MOST_LANES)
            .next_power_of_two();
        self.0.variants.set(Variants {
            matvec_lanes: lanes,
            subgroups: variants.subgroups && self.0.subgroup_size > 0 && variants.fours == 0,
            fours: match variants.fours {
                0 => 0,
                some => some.clamp(FOURS[0], FOURS[1]).next_power_of_two(),
            },
            bytes: variants.bytes && variants.fours > 0,
            norms: variants.norms && variants.fours > 0 && !variants.bytes,
            matmul: match variants.matmul {
                MatmulVariant::Half if !self.has_f16() => MatmulVariant::Tiled,
                MatmulVariant::Cooperative if self.0.cooperative_side == 0 => MatmulVariant::Tiled,
                other => other,
            },
        });
    }

    /// Whether arithmetic of 16-bit floats is in use.
    #[must_use]
    pub fn has_f16(&self) -> bool {
        self.0
            .device
            .features()
            .contains(wgpu::Features::SHADER_F16)
    }

    /// Rows and columns of the cooperative matrices that are in use; 0: none are.
    #[must_use]
    pub fn cooperative_side(&self) -> u32 {
        self.0.cooperative_side
    }

    /// Invocations that every subgroup has at least; 0: there are no subgroups.
    #[must_use]
    pub fn subgroup_size(&self) -> u32 {
        self.0.subgroup_size
    }

    /// The kernel for products of many rows, and its tiles: the one in force, or the usual one where
    /// there is none of that kind or nothing may be rounded.
    pub(crate) fn matmul(&self, kernels: &Kernels, exact: bool) -> (&'static Shader, Tiles) {
        let chosen = self.variants().matmul;
        let fits = !exact || chosen.is_exact();
        let chosen = Some(chosen)
            .filter(|_| fits)
            .and_then(|it| it.of(self, kernels));
        let usual = || Variants::usual(self.is_serial()).matmul.of(self, kernels);
        let kernel = chosen.or_else(usual);
        kernel.unwrap_or((kernels.matmul, &[[64, 64]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_survive_as_text() {
        for matmul in [
            MatmulVariant::Registers,
            MatmulVariant::Tiled,
            MatmulVariant::Half,
            MatmulVariant::Cooperative,
            MatmulVariant::Dots,
        ] {
            for matvec_lanes in [1, 2, 4, 8, 16, 32, 64] {
                for subgroups in [false, true] {
                    let variants = Variants {
                        matmul,
                        matvec_lanes,
                        subgroups,
                        fours: 0,
                        bytes: false,
                        norms: false,
                    };
                    assert_eq!(variants.to_string().parse(), Ok(variants));
                }
            }
        }
        let kept = Variants {
            matmul: MatmulVariant::Tiled,
            matvec_lanes: 32,
            subgroups: false,
            fours: 0,
            bytes: false,
            norms: false,
        };
        assert_eq!(kept.to_string(), "tiled lanes=32");
        let kept = Variants {
            subgroups: true,
            ..kept
        };
        assert_eq!(kept.to_string(), "tiled lanes=32 subgroups");
        let kept = Variants {
            subgroups: false,
            fours: 1 << 17,
            ..kept
        };
        assert_eq!(kept.to_string(), "tiled fours=131072");
        assert_eq!(kept.to_string().parse(), Ok(kept));
        assert!(kept.are_exact());
        let normed = Variants {
            norms: true,
            ..kept
        };
        assert_eq!(normed.to_string(), "tiled fours=131072 norms");
        assert_eq!(normed.to_string().parse(), Ok(normed));
        assert!(normed.are_exact());
        let kept = Variants {
            bytes: true,
            ..kept
        };
        assert_eq!(kept.to_string(), "tiled fours=131072 bytes");
        assert_eq!(kept.to_string().parse(), Ok(kept));
        assert!(!kept.are_exact());
    }

    #[test]
    fn tiles_are_the_largest_of_which_there_are_enough() {
        let both: Tiles = &[[64, 64], [64, 32]];
        // Of PaliGemma, and the one with which tests of kernels reach the larger tiles.
        for (outputs, rows, expected) in [
            (18_432, 264, 64),
            (2304, 264, 32),
            (1152, 256, 32),
            (64 * 191 + 5, 67, 64),
            (64 * 191, 67, 32),
        ] {
            assert_eq!(tile_for(both, [outputs, rows]), [64, expected], "{outputs}");
        }
        assert_eq!(tile_for(&[[32, 64]], [1, 2]), [32, 64]);
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
            "tiled lanes=32  subgroups",
            "tiled lanes=32 subgroups ",
            "tiled subgroups lanes=32",
            "tiled subgroups",
            "subgroups lanes=32",
            "tiled fours=0",
            "tiled fours=512",
            "tiled fours=100000",
            "tiled fours=131072 subgroups",
            "tiled fours=131072 bytes ",
            "tiled fours=131072  bytes",
            "tiled fours=131072 bytes bytes",
            "tiled fours=131072 bytes norms",
            "tiled fours=131072 norms bytes",
            "tiled fours=131072 norms ",
            "tiled fours=131072 ",
            "tiled fours=131072 rows",
            "tiled lanes=32 norms",
            "tiled bytes fours=131072",
            "tiled fours=0 bytes",
            "tiled lanes=32 bytes",
            "tiled bytes",
            "tiled fours=33554432",
        ] {
            let refused = text.parse::<Variants>().expect_err(text);
            assert_eq!(refused.text, text);
            assert!(refused.to_string().contains("tiled lanes=32"), "{refused}");
        }
        let long = "tiled ".repeat(1000).parse::<Variants>();
        assert_eq!(long.map_err(|error| error.text.len()), Err(64));
    }
}
