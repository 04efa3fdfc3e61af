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
mod attention;
mod attention_mask;
mod beams;
mod bench;
mod engine;
mod error;
mod evidence;
mod features;
mod forward;
mod generate;
mod generation;
mod grammar;
mod inspect;
mod masks;
mod pace;
mod picture;
mod pipeline;
mod random;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tiny;

pub use answer::{Answer, CancelToken, Event, Stopped, Timings};
pub use attention::{AttentionMaps, AttentionRequest, Focus, Heat};
pub use attention_mask::{MaskRequest, attention_mask};
pub use bench::{
    Adapter, Bench, BenchError, BenchOptions, BenchProgress, BenchReport, Decode, Kernel,
    LimitFigures, Line, Spread, Stage as BenchStage, StageProfile, Subject, Tried,
};
pub use engine::{Engine, LoadOptions, ModelInfo, Prompt, RunRequest};
pub use error::{EngineError, ErrorKind};
pub use evidence::{Evidence, RADII};
pub use forward::{
    Array, BatchOutput, CacheValues, ForwardError, ForwardOutput, ForwardRequest, Images,
    LayerAttention, LogitsToKeep, Loss, ModelInputs, NamedTensor, Outputs, PastKeyValues,
    PreparedImages, Trace, TraceOptions, VisionOutput, VisionOutputs,
};
pub use generation::{Generation, GenerationError, Sampling};
pub use inspect::{Inspection, Stored, inspect, inspect_adapted};
pub use masks::MaskFile;
pub use paligemma_checkpoint::{
    AdapterOrigin, AdapterSummary, Checkpoint, Family, Ingest, IngestError, Kept, LoraAdapter,
    MASK_FILES, Manifest, MemorySource, ModelKey, Origin, PackedSource, Pieces, Plan, Precision,
    Progress, Published, Recipe, Source, SourceError, Stage, Store, StoreError,
};
#[cfg(not(target_arch = "wasm32"))]
pub use paligemma_checkpoint::{Folder, FolderStore};
pub use paligemma_gpu::{
    AdapterInfo, Candidate, Choice, ChosenBy, Gpu, GpuError, GpuOptions, HostBytes, MatmulVariant,
    Tune, Tuned, Tuning, TuningOptions, UnknownVariants, Variants,
};
pub use paligemma_model::{CachePrecision, Layers, Misfit, ModelOptions};
pub use paligemma_processor::{
    AlphaMap, AnswerItem, AttentionMask, Batch, BatchRequest, BinaryMask, Content, Detection,
    IGNORED, Mask, Message, MessageError, Padding, Part, Picture as DecodedPicture, PixelBox,
    PixelSteps, Processor, ProcessorError, ProcessorWarning, Rle, RleError, apply_chat_template,
    parse_answer, parse_messages,
};
pub use picture::Picture;
pub use pipeline::{Generated, ImageTextToText, PipelineInput};
pub use random::random_number;

/// The examples of `TRANSFORMERS.md`, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../TRANSFORMERS.md")]
pub struct Transformers;
