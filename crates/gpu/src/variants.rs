//! Which of several kernels for the same job an adapter gets.

use crate::device::{AdapterInfo, Gpu};

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

impl Gpu {
    /// The kernels that are recorded from now on.
    #[must_use]
    pub fn variants(&self) -> Variants {
        self.0.variants.get()
    }

    /// Chooses other kernels for what is recorded from now on. `matvec_lanes` is rounded to what
    /// there is.
    pub fn set_variants(&self, variants: Variants) {
        let lanes = variants.matvec_lanes.clamp(1, 64).next_power_of_two();
        self.0.variants.set(Variants {
            matvec_lanes: lanes,
            ..variants
        });
    }
}
