use thiserror::Error;

/// What can go wrong between us and the GPU.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GpuError {
    /// No adapter.
    #[error(
        "no GPU adapter was found ({detail}); update the graphics driver, or install a software \
         one such as Mesa's lavapipe"
    )]
    NoAdapter {
        /// What the platform said.
        detail: String,
    },
    /// No adapter of the name that was asked for.
    #[error(
        "no GPU adapter has `{asked}` in its name; there {}",
        match found.as_slice() {
            [] => "is none at all: update the graphics driver, or install a software one such as \
                   Mesa's lavapipe".to_owned(),
            found => format!("are {}", found.join("; ")),
        }
    )]
    UnknownAdapter {
        /// Part of a name.
        asked: String,
        /// Names of those there are, with their back ends.
        found: Vec<String>,
    },
    /// The adapter is there but gives no device.
    #[error("the GPU adapter {adapter} refused to open ({detail}); update the graphics driver")]
    DeviceRefused {
        /// Name of the adapter.
        adapter: String,
        /// What the platform said.
        detail: String,
    },
    /// A limit of the adapter is below what is needed.
    #[error(
        "{what} needs {needed} but this adapter's {limit} is {available}; use a smaller \
         model, or another adapter"
    )]
    LimitTooSmall {
        /// What was to be done or allocated.
        what: String,
        /// How much it needs, in the limit's unit (bytes for sizes).
        needed: u64,
        /// WebGPU's name of the limit.
        limit: String,
        /// How much there is.
        available: u64,
    },
    /// The GPU ran out of memory.
    #[error("the GPU ran out of memory; close other programs that use it, or use a smaller model")]
    OutOfMemory,
    /// The GPU went away.
    #[error("the GPU was lost ({reason}); load the model again")]
    DeviceLost {
        /// What the platform said.
        reason: String,
    },
    /// The GPU refused something we did: a defect of ours.
    #[error("the GPU refused an operation, which is a defect of this software: {detail}")]
    Refused {
        /// What the platform said.
        detail: String,
    },
    /// Shapes that do not fit: a defect of ours.
    #[error("shapes that do not fit in {kernel}, which is a defect of this software: {detail}")]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// The shapes.
        detail: String,
    },
}
