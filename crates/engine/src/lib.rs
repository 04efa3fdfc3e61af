//! The Rust API of paligemma-web: load a checkpoint, run prompts on pictures, hear what happens.
//!
//! ```no_run
//! use paligemma_engine::{CancelToken, Engine, Folder, LoadOptions, Picture, Prompt, RunRequest};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let source = Folder::new("paligemma2-3b-mix-224");
//! let mut engine = Engine::load(source, &LoadOptions::default(), &mut |_| ()).await?;
//! let picture = Picture::decode(&std::fs::read("cats.jpg")?)?;
//! let request = RunRequest {
//!     pictures: &[picture],
//!     prompt: Prompt::Text("detect cat ; dog"),
//!     max_new_tokens: 256,
//! };
//! let answer = engine.run(&request, &CancelToken::default(), &mut |_| ()).await?;
//! for found in &answer.detections {
//!     println!("{} {:?}", found.label, found.bbox);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Plain data goes in and comes out. The same engine runs natively and in a browser's worker;
//! nothing here knows which.

mod answer;
mod beams;
mod engine;
mod error;
mod evidence;
mod features;
mod forward;
mod generate;
mod generation;
mod grammar;
mod inspect;
mod picture;
mod random;

pub use answer::{Answer, CancelToken, Event, Stopped, Timings};
pub use engine::{Engine, LoadOptions, ModelInfo, Prompt, RunRequest};
pub use error::{EngineError, ErrorKind};
pub use evidence::{Evidence, RADII};
pub use forward::NamedTensor;
pub use generation::{Generation, GenerationError, Sampling};
pub use inspect::{Inspection, Stored, inspect};
pub use paligemma_checkpoint::{
    Checkpoint, Family, Ingest, IngestError, Kept, Manifest, MemorySource, ModelKey, Origin,
    PackedSource, Pieces, Plan, Precision, Progress, Recipe, Source, SourceError, Stage, Store,
    StoreError,
};
#[cfg(not(target_arch = "wasm32"))]
pub use paligemma_checkpoint::{Folder, FolderStore};
pub use paligemma_gpu::{AdapterInfo, Gpu, GpuOptions, HostBytes};
pub use paligemma_model::{Misfit, ModelOptions};
pub use paligemma_processor::{AnswerItem, Detection, Picture as DecodedPicture, parse_answer};
pub use picture::Picture;
pub use random::random_number;
