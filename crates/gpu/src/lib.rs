//! A wgpu device, its buffers and pipelines, and one typed function per kernel in `shaders/`.
//!
//! This is the only crate that names wgpu. It knows nothing of models: it multiplies, normalises
//! and attends. Work is recorded once into a [`Program`] (cached bind groups, one uniform arena)
//! and submitted as often as wanted.
//!
//! The baseline tier is what every WebGPU adapter has: f32 arithmetic, no optional feature,
//! 16 KiB of workgroup memory, eight storage buffers, bindings of at most 128 MiB. Larger weight
//! matrices are split by rows ([`Matrix`]).

mod adapter;
mod attention;
mod buffer;
mod cache;
mod choice;
mod conv;
mod copies;
mod decode_attention;
mod device;
mod error;
mod fill;
mod finish;
#[cfg(vulkan)]
mod hazards;
mod judge;
mod kernels;
mod matrix;
mod matvec;
mod measure;
mod normed;
mod norms;
mod packed;
mod picking;
mod pipelines;
mod prepare;
mod products;
mod profile;
mod program;
mod queue;
mod readback;
mod repeats;
mod replay;
mod serial;
pub mod shader;
#[cfg(target_arch = "wasm32")]
mod subgroups;
mod submit;
mod team;
mod tensor;
mod tuning;
mod upload;
mod variants;
#[cfg(vulkan)]
mod vulkan;

pub use adapter::AdapterInfo;
pub use attention::{Attention, Heads, RotaryTable};
pub use cache::{CachePrecision, KvCache};
pub use choice::{Choice, ChosenBy, Tune, Tuned, TuningOptions};
pub use conv::Conv;
pub use device::{Gpu, GpuOptions};
pub use error::GpuError;
pub use kernels::Linear;
pub use matrix::Matrix;
pub use measure::Limits;
pub use normed::Normed;
pub use picking::{FOUND_WORDS, Keep, Neighbours, Processing};
pub use prepare::Needed;
pub use profile::{KernelTime, TimedBy};
pub use program::{Program, Recorder};
pub use readback::Readback;
pub use submit::Submission;
pub use tensor::{Indices, Tensor};
pub use tuning::{Candidate, Tuning};
pub use upload::HostBytes;
pub use variants::{MatmulVariant, UnknownVariants, Variants};
