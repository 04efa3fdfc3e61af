//! Models: where they come from, what they would cost, which are kept.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a model comes from. Whether it is a checkpoint as it is published or a packed model is
/// found out by looking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum ModelSource {
    /// A folder on a web server.
    Url {
        /// Its URL, absolute or relative to the page.
        url: String,
    },
    /// A repository on a hub.
    Hub {
        /// The hub's address, such as `https://huggingface.co`.
        base_url: String,
        /// Its name there, such as `google/paligemma2-3b-mix-224`.
        repository: String,
        /// Branch, tag or commit, such as `main`.
        revision: String,
    },
    /// Files on this machine; they travel beside the request.
    Files,
}

/// A model that a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Where it comes from.
    pub source: ModelSource,
    /// The name of the recipe by which weights are packed, such as `q4`. A packed model has its
    /// own.
    pub recipe: String,
    /// An access token for a gated repository.
    pub token: Option<Token>,
    /// Where a LoRA adapter comes from that is merged into the weights; none: there is none.
    #[serde(default)]
    pub adapter: Option<ModelSource>,
}

/// What the paths of an adapter's files begin with where they travel beside those of a model: no
/// model's file can have such a path.
pub const ADAPTER_FILES: &str = "adapter:";

impl Wanted {
    /// A folder on a web server, its weights as they are stored.
    pub fn folder(url: &str) -> Self {
        Self {
            source: ModelSource::Url {
                url: url.to_owned(),
            },
            recipe: "as-stored".to_owned(),
            token: None,
            adapter: None,
        }
    }
}

/// An access token. It is sent to the hub it was given for, and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What fetching a model would mean; known before a weight is fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Identifies the model among the kept ones, 64 hexadecimal digits.
    pub key: String,
    /// What it is called: its repository, or the last part of its URL.
    pub title: String,
    /// `PaliGemma` or `PaliGemma 2`.
    pub family: String,
    /// Number of weights.
    pub parameters: u64,
    /// Side of the square the model sees, in pixels.
    pub image_size: u32,
    /// The commit that its revision stands for now.
    pub commit: Option<String>,
    /// The licence its publisher states.
    pub licence: Option<String>,
    /// Its publisher wants people to accept conditions first.
    pub gated: bool,
    /// The recipe it will be packed by, or was.
    pub recipe: String,
    /// It is packed already.
    pub packed: bool,
    /// Bytes to fetch in all.
    pub fetch_bytes: u64,
    /// Bytes that have been fetched before and need not be again.
    pub fetched_bytes: u64,
    /// Bytes it takes when kept.
    pub store_bytes: u64,
    /// It is kept in full; there is nothing to fetch.
    pub complete: bool,
    /// Room for it, if this browser keeps anything.
    pub room: Option<Room>,
    /// Why this browser cannot keep it (then it can only be loaded, every time anew).
    pub cannot_keep: Option<String>,
}

/// Room that the browser gives to this site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes used.
    pub used: u64,
    /// Bytes there may be.
    pub quota: u64,
    /// The browser has promised not to clear it by itself.
    pub persisted: bool,
}

/// What is being done to keep a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FetchStage {
    /// Another tab of this site is fetching the same model; these are its figures.
    Elsewhere,
    /// Side files, such as the tokenizer, arrive.
    Files,
    /// Weights arrive, are packed and stored.
    Weights,
    /// What is stored is read back and checked.
    Checking,
}

/// How far fetching is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchProgress {
    /// What is being done.
    pub stage: FetchStage,
    /// Bytes that need not be fetched any more.
    pub fetched_bytes: u64,
    /// Bytes to fetch in all.
    pub fetch_bytes: u64,
    /// Bytes stored; while checking, bytes checked.
    pub stored_bytes: u64,
    /// Bytes it takes when kept.
    pub store_bytes: u64,
}

/// Why nothing arrives at the moment, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// What became of the last attempt: `this device is offline`.
    pub reason: String,
    /// When the next one begins, in milliseconds since 1970; none: it has begun.
    pub until_ms: Option<f64>,
    /// The server asked for this pause: it is not cut short.
    pub asked: bool,
}

/// A model that this browser keeps, in full or in part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptModel {
    /// Identifies it, 64 hexadecimal digits.
    pub key: String,
    /// What it is called.
    pub title: String,
    /// The recipe it is packed by.
    pub recipe: String,
    /// The commit it came from, if it came from a hub.
    pub commit: Option<String>,
    /// Where to fetch what is missing or damaged; none: that is not remembered, or was files.
    pub source: Option<ModelSource>,
    /// Where the adapter came from that was merged into it.
    #[serde(default)]
    pub adapter: Option<ModelSource>,
    /// It is there in full.
    pub complete: bool,
    /// Its record cannot be read: all that can be done is to delete it.
    pub unreadable: bool,
    /// Bytes it takes when it is there in full.
    pub store_bytes: u64,
    /// Bytes of it that are there.
    pub stored_bytes: u64,
    /// When it was last loaded, in milliseconds since 1970; 0: never.
    pub last_used_ms: f64,
}

/// Everything that this browser keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Library {
    /// The models, those last used first.
    pub models: Vec<KeptModel>,
    /// Room, if this browser keeps anything.
    pub room: Option<Room>,
    /// Why this browser cannot keep models.
    pub cannot_keep: Option<String>,
}
