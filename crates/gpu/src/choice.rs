//! The kernels in force on an adapter: what was kept of earlier measurements, or a new one.

use std::fmt;

use crate::device::{Gpu, GpuOptions};
use crate::error::GpuError;
use crate::shader;
use crate::tuning::Tuning;
use crate::variants::Variants;

/// A choice of kernels that was measured on an adapter: what a host keeps for the next time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuned {
    /// The adapter, by [`Gpu::adapter_key`].
    pub adapter: String,
    /// What suits it.
    pub variants: Variants,
}

/// When to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tune {
    /// On an adapter of which nothing is known, unless it computes on the CPU: there the usual
    /// choice is right, and a run is slow.
    #[default]
    Unknown,
    /// On every one.
    Always,
    /// Never.
    Never,
    /// Never, and these are used whatever is known.
    Given(Variants),
}

/// What is known of adapters, and when to measure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TuningOptions {
    /// From earlier runs, of whatever adapters.
    pub known: Vec<Tuned>,
    /// When to measure.
    pub tune: Tune,
}

/// The kernels in force on an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// They.
    pub variants: Variants,
    /// Where they come from.
    pub origin: ChosenBy,
}

/// Where a choice of kernels comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum ChosenBy {
    /// From what the adapter is, without a measurement.
    Usual,
    /// From whoever opened it.
    Given,
    /// From what was known.
    Known,
    /// From a run just now; worth keeping.
    Measured(Tuning),
    /// As before the run, which failed; why.
    Failed(String),
}

impl fmt::Display for ChosenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usual => f.write_str("the usual choice"),
            Self::Given => f.write_str("as asked"),
            Self::Known => f.write_str("measured earlier"),
            Self::Measured(_) => f.write_str("measured"),
            Self::Failed(why) => write!(f, "not measured: {why}"),
        }
    }
}

impl Choice {
    pub(crate) fn usual(serial: bool) -> Self {
        Self {
            variants: Variants::usual(serial),
            origin: ChosenBy::Usual,
        }
    }
}

impl Gpu {
    /// As [`Gpu::open`], with the kernels that suit the adapter: those that are known, those that a
    /// run finds, or the usual ones. A run that fails fails nothing else; [`Gpu::choice`] tells.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub async fn open_tuned(options: &GpuOptions) -> Result<Self, GpuError> {
        let gpu = Self::open(options).await?;
        let key = gpu.adapter_key();
        let known = &options.tuning.known;
        let known = known.iter().find(|tuned| tuned.adapter == key);
        match (options.tuning.tune, known) {
            (Tune::Always, _) => gpu.retune().await,
            (Tune::Given(variants), _) => {
                gpu.set_variants(variants);
                gpu.0.choice.borrow_mut().origin = ChosenBy::Given;
            }
            (_, Some(known)) => {
                gpu.set_variants(known.variants);
                gpu.0.choice.borrow_mut().origin = ChosenBy::Known;
            }
            (Tune::Unknown, None) if !gpu.info().is_software => gpu.retune().await,
            (Tune::Unknown | Tune::Never, None) => {}
        }
        Ok(gpu)
    }

    /// Measures on a device of its own, so that what fails there is no trouble of this one, and
    /// uses what was found for what is recorded from now on. [`Gpu::choice`] tells what that is;
    /// after a failure it is what it was.
    pub async fn retune(&self) {
        let options = GpuOptions {
            timestamps: false,
            ..self.0.options.clone()
        };
        let run = async |optional| {
            let other = Self::open(&options).await?;
            // Another adapter than this one, one that was plugged in say, tells nothing of it.
            match other.adapter_key() == self.adapter_key() {
                true => other.tune_with(optional).await,
                false => Err(GpuError::UnknownAdapter {
                    asked: self.info().name.clone(),
                    found: vec![other.info().name.clone()],
                }),
            }
        };
        let tried = match run(true).await {
            // A kernel that the driver refuses spoils a run: once more, without those that a device
            // may do without.
            Err(_) => run(false).await,
            tried => tried,
        };
        let origin = match tried {
            Ok(tuning) => {
                self.set_variants(tuning.variants);
                ChosenBy::Measured(tuning)
            }
            Err(error) => ChosenBy::Failed(error.to_string()),
        };
        self.0.choice.borrow_mut().origin = origin;
    }

    /// The kernels in force.
    #[must_use]
    pub fn choice(&self) -> Choice {
        Choice {
            variants: self.variants(),
            origin: self.0.choice.borrow().origin.clone(),
        }
    }

    /// What was measured since this was opened, for a host to keep.
    #[must_use]
    pub fn measured(&self) -> Option<Tuned> {
        match &self.0.choice.borrow().origin {
            ChosenBy::Measured(tuning) => Some(Tuned {
                adapter: self.adapter_key(),
                variants: tuning.variants,
            }),
            ChosenBy::Usual | ChosenBy::Given | ChosenBy::Known | ChosenBy::Failed(_) => None,
        }
    }

    /// What a measurement depends on: back end, adapter, driver, how large a binding may be, how
    /// large subgroups are, whether there are 16-bit floats and cooperative matrices, and the source of the kernels that are measured.
    #[must_use]
    pub fn adapter_key(&self) -> String {
        let info = self.info();
        format!(
            "{} | {} | {} | bindings {} | subgroups {}{}{} | kernels {:016x}",
            info.backend,
            info.name,
            info.driver,
            info.max_binding_bytes,
            self.0.subgroup_size,
            if self.has_f16() { " | f16" } else { "" },
            match self.cooperative_side() {
                16 => " | cooperative 16x16",
                8 => " | cooperative 8x8",
                _ => "",
            },
            kernels_digest()
        )
    }
}

/// FNV-1a over the source of the kernels that are measured: another kernel is to be measured anew.
fn kernels_digest() -> u64 {
    let kernels = [
        &shader::MATMUL_Q4,
        &shader::MATMUL_TILED_Q4,
        &shader::MATMUL_HALF_Q4,
        &shader::HALVE_ROWS,
        #[cfg(not(target_arch = "wasm32"))]
        &shader::MATMUL_COOPERATIVE_Q4,
        #[cfg(not(target_arch = "wasm32"))]
        &shader::MATMUL_COOPERATIVE_Q4_SIXTEEN,
        &shader::MATMUL_DOTS_Q4,
        &shader::MATVEC_Q4_WIDE,
        &shader::MATVEC_Q4_WIDE_SUBGROUPS,
        &shader::MATVEC_FOURS_Q4_WIDE,
        &shader::MATVEC_FOURS_Q4_WIDE_BYTES,
        &shader::MATVEC_FOURS_Q4_WIDE_NORMS,
        &shader::RMS_NORM,
        &shader::RMS_NORM_PACKS,
    ];
    let bytes = kernels.iter().flat_map(|shader| shader.source.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
