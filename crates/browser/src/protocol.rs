//! What the page and the worker say to each other: plain data, no handles.
//!
//! Every request carries an `id`; every event that answers it carries the same one. Picture bytes
//! are not part of these messages: they travel beside them as a transferred `ArrayBuffer`, so
//! that a large photo is never copied or re-encoded.

mod attention;
mod bench;
mod generation;
mod load;
mod masks;
mod models;
mod problem;
mod tuned;

use serde::{Deserialize, Serialize};

pub use self::attention::{AttentionMap, Look, PictureHeat};
pub use self::bench::{Measured, MeasuredLine};
pub use self::generation::Generation;
pub use self::load::{CachePrecision, LoadOptions};
pub use self::masks::{Bytes, Mask};
pub use self::models::{
    ADAPTER_FILES, FetchProgress, FetchStage, KeptModel, Library, ModelSource, Offer, Room, Token,
    Waiting, Wanted,
};
pub use self::problem::{Problem, ProblemKind};
pub use self::tuned::Tuned;

/// Version of this protocol; a page and a worker of different builds (a stale cache) notice.
pub const PROTOCOL_VERSION: u32 = 7;

/// From the page to the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Request {
    /// Load a model straight to the GPU, without keeping it; answered by `Loading`… then `Ready`
    /// or `Failed`.
    Load {
        /// Identifies the answers.
        id: u32,
        /// The model.
        wanted: Wanted,
        /// How.
        #[serde(default)]
        options: LoadOptions,
    },
    /// Say what fetching a model would mean; answered by `Offer` or `Failed`.
    Examine {
        /// Identifies the answers.
        id: u32,
        /// The model.
        wanted: Wanted,
    },
    /// Fetch a model and keep it, going on where an earlier attempt ended; what is there already
    /// is checked, and fetched again where it is damaged. Answered by `Fetching`… and `Waiting`…, then
    /// `Kept`, `Failed`, or after a `Cancel` `Paused`. What has arrived stays in every case.
    Fetch {
        /// Identifies the answers.
        id: u32,
        /// The model.
        wanted: Wanted,
        /// The model, as it was offered: if it is another one by now, that is a failure.
        key: String,
        /// Whether to wait, for as long as it takes, for a network or a server that may come back.
        /// It posts `Waiting` meanwhile.
        #[serde(default)]
        patient: bool,
    },
    /// Try again at once where the fetch with this id waits, unless the server asked for the
    /// pause; no answer.
    Hurry {
        /// The fetch.
        id: u32,
    },
    /// Load a kept model; answered by `Loading`… then `Ready` or `Failed`.
    LoadKept {
        /// Identifies the answers.
        id: u32,
        /// Which, see [`KeptModel::key`].
        key: String,
        /// How.
        #[serde(default)]
        options: LoadOptions,
    },
    /// Say what is kept; answered by `Library`.
    Library {
        /// Identifies the answer.
        id: u32,
    },
    /// Remove a kept model; answered by `Library` or `Failed`.
    Delete {
        /// Identifies the answer.
        id: u32,
        /// Which, see [`KeptModel::key`].
        key: String,
    },
    /// Decode a picture and keep it under `picture`; the file's bytes are transferred alongside.
    /// Answered by `Picture` or `Failed`.
    Picture {
        /// Identifies the answers.
        id: u32,
        /// The page's name for the picture, used by later `Run` requests.
        picture: u32,
    },
    /// Take a mask decoder: for the model that is loaded, and for every later one that comes without;
    /// the file's bytes are transferred alongside. With a kept model it is kept. Answered by
    /// `MaskDecoder` or `Failed`.
    MaskDecoder {
        /// Identifies the answers.
        id: u32,
        /// The file's name, for messages.
        name: String,
    },
    /// Forget a picture and its encoded features.
    DropPicture {
        /// The page's name for the picture.
        picture: u32,
    },
    /// Answer a prompt about one or more pictures; answered by `EncodingImage`, `Prefill`,
    /// `Token` and `Masks`… then `Done` or `Failed`.
    Run {
        /// Identifies the answers.
        id: u32,
        /// Pictures by the page's names, in the order of the prompt.
        pictures: Vec<u32>,
        /// The prompt as typed, e.g. `detect cat ; dog`.
        prompt: String,
        /// Most tokens to generate.
        max_new_tokens: usize,
        /// How they are picked.
        #[serde(default)]
        generation: Generation,
    },
    /// Draw who attends to whom in a prompt with its answer; answered by `Mask` or `Failed`.
    Mask {
        /// Identifies the answers.
        id: u32,
        /// The prompt as typed.
        prompt: String,
        /// The answer, without the end token.
        suffix: String,
    },
    /// Say where the model looked when it chose a token; answered by `Attention` or `Failed`.
    Attention {
        /// Identifies the answer.
        id: u32,
        /// Pictures by the page's names, as they were run.
        pictures: Vec<u32>,
        /// Which token.
        look: Look,
    },
    /// Measure how fast a model is here, and first which kernels suit the adapter; answered by `Measuring`… then `Measured` or `Failed`.
    Bench {
        /// Identifies the answers.
        id: u32,
        /// What the page calls the model that is loaded.
        name: String,
        /// The name of a published shape to measure instead of it, with made-up weights.
        shape: Option<String>,
        /// How the made-up one's keys and values are kept, as in [`LoadOptions`].
        #[serde(default)]
        cache: Option<CachePrecision>,
    },
    /// Stop the request with this id: a run at its next token, which ends it with `Done` and
    /// `Stopped::Cancelled`; a measurement before its next run, which ends it with `Failed`; a fetch at once, which ends it with `Paused`; a load at once, which
    /// ends it with `Failed` and `ProblemKind::Cancelled`.
    Cancel {
        /// The request to stop.
        id: u32,
    },
}

impl Request {
    /// The id that answers will carry; `None` for a request that has no answer of its own.
    pub fn id(&self) -> Option<u32> {
        match self {
            Request::Load { id, .. }
            | Request::Examine { id, .. }
            | Request::Fetch { id, .. }
            | Request::LoadKept { id, .. }
            | Request::Library { id }
            | Request::Delete { id, .. }
            | Request::Picture { id, .. }
            | Request::MaskDecoder { id, .. }
            | Request::Attention { id, .. }
            | Request::Bench { id, .. }
            | Request::Run { id, .. }
            | Request::Mask { id, .. } => Some(*id),
            Request::DropPicture { .. } | Request::Cancel { .. } | Request::Hurry { .. } => None,
        }
    }
}

/// From the worker to the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// The worker has started and listens.
    Started {
        /// [`PROTOCOL_VERSION`] of the worker.
        protocol: u32,
    },
    /// Bytes of the checkpoint on the GPU so far.
    Loading {
        /// The `Load` this answers.
        id: u32,
        /// Bytes done.
        loaded_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// The checkpoint is on the GPU.
    Ready {
        /// The `Load` this answers.
        id: u32,
        /// What was loaded.
        model: ModelInfo,
        /// What computes.
        adapter: AdapterInfo,
        /// Milliseconds it took.
        load_ms: f64,
        /// What was measured of the adapter meanwhile, to be kept.
        #[serde(default)]
        tuned: Option<Tuned>,
    },
    /// What fetching a model would mean.
    Offer {
        /// The `Examine` this answers.
        id: u32,
        /// That.
        offer: Offer,
    },
    /// How far fetching is.
    Fetching {
        /// The `Fetch` this answers.
        id: u32,
        /// That.
        progress: FetchProgress,
    },
    /// Fetching waits for a network or a server, or does no more.
    Waiting {
        /// The `Fetch` this answers.
        id: u32,
        /// For what; none: it goes on.
        waiting: Option<Waiting>,
    },
    /// The model is there in full, and was checked.
    Kept {
        /// The `Fetch` this answers.
        id: u32,
        /// Identifies it, see [`KeptModel::key`].
        key: String,
    },
    /// Fetching was stopped; what has arrived is kept.
    Paused {
        /// The `Fetch` this answers.
        id: u32,
    },
    /// What is kept.
    Library {
        /// The `Library` or `Delete` this answers.
        id: u32,
        /// That.
        library: Library,
    },
    /// A picture is decoded.
    Picture {
        /// The `Picture` request this answers.
        id: u32,
        /// Pixels as a person sees it (EXIF orientation applied).
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// A mask decoder is there.
    MaskDecoder {
        /// The `MaskDecoder` request this answers.
        id: u32,
    },
    /// The vision tower starts on a picture it has not seen.
    EncodingImage {
        /// The `Run` this answers.
        id: u32,
    },
    /// The prompt is being read.
    Prefill {
        /// The `Run` this answers.
        id: u32,
        /// Tokens of images and prompt together.
        tokens: usize,
    },
    /// A token was generated.
    Token {
        /// The `Run` this answers.
        id: u32,
        /// The answer so far, whole characters only.
        text: String,
        /// The objects so far; a box is here as soon as its four coordinates are.
        detections: Vec<Detection>,
        /// Tokens generated so far.
        count: usize,
    },
    /// Objects got their masks; each is sent once, as soon as it is there.
    Masks {
        /// The `Run` this answers.
        id: u32,
        /// Those.
        masks: Vec<Mask>,
    },
    /// The answer is complete.
    Done {
        /// The `Run` this answers.
        id: u32,
        /// The answer.
        answer: Answer,
    },
    /// Who attends to whom.
    Mask {
        /// The `Mask` request this answers.
        id: u32,
        /// An SVG document; what comes from the prompt is escaped in it.
        svg: String,
        /// What it shows, in words.
        description: String,
    },
    /// Where the model looked.
    Attention {
        /// The `Attention` request this answers.
        id: u32,
        /// That.
        map: AttentionMap,
    },
    /// How far measuring is.
    Measuring {
        /// The `Bench` this answers.
        id: u32,
        /// What is being measured.
        stage: String,
        /// Stages before it, and in all.
        part: [u32; 2],
        /// From here on the worker only answers, untimed: the page can watch how smooth it stays.
        answering: bool,
    },
    /// How fast it is.
    Measured {
        /// The `Bench` this answers.
        id: u32,
        /// That.
        measured: Measured,
        /// What was measured of the adapter meanwhile, to be kept.
        #[serde(default)]
        tuned: Option<Tuned>,
    },
    /// A request failed; the worker goes on listening.
    Failed {
        /// The request this answers.
        id: u32,
        /// What happened.
        problem: Problem,
    },
}

impl Event {
    /// The request this answers; `None` for `Started`.
    pub fn id(&self) -> Option<u32> {
        match self {
            Event::Started { .. } => None,
            Event::Loading { id, .. }
            | Event::Ready { id, .. }
            | Event::Offer { id, .. }
            | Event::Fetching { id, .. }
            | Event::Waiting { id, .. }
            | Event::Kept { id, .. }
            | Event::Paused { id }
            | Event::Library { id, .. }
            | Event::Picture { id, .. }
            | Event::MaskDecoder { id }
            | Event::Masks { id, .. }
            | Event::EncodingImage { id }
            | Event::Prefill { id, .. }
            | Event::Token { id, .. }
            | Event::Done { id, .. }
            | Event::Mask { id, .. }
            | Event::Attention { id, .. }
            | Event::Measuring { id, .. }
            | Event::Measured { id, .. }
            | Event::Failed { id, .. } => Some(*id),
        }
    }

    /// Whether this is the last event of its request.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Event::Ready { .. }
                | Event::Offer { .. }
                | Event::Kept { .. }
                | Event::Paused { .. }
                | Event::Library { .. }
                | Event::Picture { .. }
                | Event::MaskDecoder { .. }
                | Event::Done { .. }
                | Event::Mask { .. }
                | Event::Attention { .. }
                | Event::Measured { .. }
                | Event::Failed { .. }
        )
    }
}

/// An object the model found, in a picture's pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// As the model wrote it; empty while it is still being written.
    pub label: String,
    /// `[x0, y0, x1, y1]` in (fractional) pixels of the picture as a person sees it.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// How sure the model is of it, from 0 to 1.
    #[serde(default)]
    pub score: Option<f32>,
}

/// A finished answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The raw text, location tokens included.
    pub text: String,
    /// Generated ids, without the end token.
    pub token_ids: Vec<u32>,
    /// The natural logarithm of the probability of each generated token, of the end token too.
    #[serde(default)]
    pub logprobs: Vec<f32>,
    /// Why generation ended.
    pub stopped: Stopped,
    /// The objects in `text`.
    pub detections: Vec<Detection>,
    /// How long each stage took.
    pub timings: Timings,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// The model wrote its end token.
    Eos,
    /// `max_new_tokens` or the context was reached.
    Length,
    /// The person stopped it.
    Cancelled,
}

/// Wall-clock milliseconds of each stage of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Encoding the pictures; 0 when their features were still on the GPU.
    pub vision_ms: f64,
    /// Reading images and prompt, up to the first token.
    pub prefill_ms: f64,
    /// Every later token.
    pub decode_ms: f64,
    /// Tokens per second of the decode stage.
    pub tokens_per_second: f64,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// `PaliGemma` or `PaliGemma 2`.
    pub family: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the weights as stored.
    pub bytes: u64,
    /// Side of the square the model sees, in pixels.
    pub image_size: u32,
    /// It has a mask decoder, so answers to `segment` come with masks.
    pub gives_masks: bool,
}

/// What computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterInfo {
    /// As good a name as the platform gives.
    pub name: String,
    /// `WebGPU`, `Vulkan`, ….
    pub backend: String,
    /// The adapter computes on the CPU (SwiftShader, lavapipe): correct, but slow.
    pub is_software: bool,
    /// The kernels in force, and where the choice comes from.
    pub kernels: String,
}
