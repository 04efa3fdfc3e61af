//! How fast a model is on the machine of who looks at the page.

use serde::{Deserialize, Serialize};

/// A measurement in words, and as what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured where: name and value.
    pub facts: Vec<[String; 2]>,
    /// What has to be said before any figure.
    pub warning: Option<String>,
    /// The figures.
    pub lines: Vec<MeasuredLine>,
    /// A table of single kernels; nothing if they were not timed.
    #[serde(default)]
    pub kernels: String,
    /// All of it as one text.
    pub text: String,
    /// All of it as JSON, as `paligemma bench --json` prints it; a page adds its frames.
    pub json: String,
}

/// A figure in words; what it does not have is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredLine {
    /// What was measured.
    pub name: String,
    /// The median of several runs, or the only value.
    pub median: String,
    /// The least.
    pub least: String,
    /// The most.
    pub most: String,
    /// A rate, its share of the adapter's limit, a count.
    pub note: String,
}
