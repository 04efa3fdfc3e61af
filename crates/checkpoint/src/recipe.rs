//! Which precision each part of a model is stored in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Config;
use crate::names::expected_tensors;
use crate::quantize::Precision;
use crate::tensor::{Dtype, TensorInfo};

const POSITION_EMBEDDING: &str = "vision_tower.vision_model.embeddings.position_embedding.weight";
/// The name of [`Storage::Numbers`] in a packed model.
const NUMBERS: &str = "numbers";
const PATCH_EMBEDDING: &str = "vision_tower.vision_model.embeddings.patch_embedding.weight";

/// A precision for each part of a model; none: as it is stored in the checkpoint.
///
/// Norms, biases and the position embedding are always f32 on the GPU: they are few, and they are
/// added to f32 numbers. The patch embedding, one matrix of 588 inputs, is always as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What it is called on a command line.
    pub name: &'static str,
    /// Attention and MLP of the vision tower.
    pub vision: Option<Precision>,
    /// The projector from vision to text.
    pub projector: Option<Precision>,
    /// Attention and MLP of the decoder.
    pub decoder: Option<Precision>,
    /// The embedding, which is also the head unless that is untied.
    pub vocabulary: Option<Precision>,
}

const Q8: Precision = Precision::Q8 { group: 64 };
const Q4: Precision = Precision::Q4 { group: 32 };

impl Recipe {
    /// Every weight as it is in the checkpoint.
    pub const AS_STORED: Self = Self {
        name: "as-stored",
        vision: None,
        projector: None,
        decoder: None,
        vocabulary: None,
    };

    /// Half precision throughout.
    pub const F16: Self = Self::uniform("f16", Precision::F16);

    /// 8 bits throughout, a scale for 64 weights: 8.25 bits a weight.
    pub const Q8: Self = Self::uniform("q8", Q8);

    /// 4 bits and a scale for 32 weights (4.5 bits a weight) in the decoder, 8 bits elsewhere: the
    /// default for what is kept.
    pub const Q4: Self = Self {
        decoder: Some(Q4),
        ..Self::uniform("q4", Q8)
    };

    /// As `q4`, with 4 bits and a scale for 64 weights (4.25 bits a weight) in the vocabulary.
    pub const Q4_SMALL: Self = Self {
        name: "q4-small",
        vocabulary: Some(Precision::Q4 { group: 64 }),
        ..Self::Q4
    };

    /// torchao's int4 weight-only quantization with groups of 128, in the decoder; everything
    /// else as stored.
    pub const INT4_G128: Self = Self {
        name: "int4-g128",
        decoder: Some(Precision::Int4 { group: 128 }),
        ..Self::AS_STORED
    };

    /// Every recipe that has a name.
    pub const ALL: [Self; 6] = [
        Self::AS_STORED,
        Self::F16,
        Self::Q8,
        Self::Q4,
        Self::Q4_SMALL,
        Self::INT4_G128,
    ];

    const fn uniform(name: &'static str, precision: Precision) -> Self {
        Self {
            name,
            vision: Some(precision),
            projector: Some(precision),
            decoder: Some(precision),
            vocabulary: Some(precision),
        }
    }

    /// The recipe of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|recipe| recipe.name == name)
    }

    /// How a tensor is kept: a matrix in some precision, or numbers that stay f32.
    pub fn storage(&self, name: &str, shape: &[usize], stored: Dtype) -> Storage {
        if shape.len() < 2 || name == POSITION_EMBEDDING {
            return Storage::Numbers;
        }
        let part = if name == PATCH_EMBEDDING {
            None
        } else if name.starts_with("vision_tower.") {
            self.vision
        } else if name.starts_with("multi_modal_projector.") {
            self.projector
        } else if name.starts_with("language_model.model.layers.") {
            self.decoder
        } else {
            self.vocabulary
        };
        let columns: usize = shape[1..].iter().product();
        Storage::Matrix(match part {
            // torchao leaves layers alone whose inputs are not whole groups.
            Some(Precision::Int4 { group }) if !columns.is_multiple_of(group) => stored.into(),
            Some(precision) => precision,
            None => stored.into(),
        })
    }

    /// [`Recipe::storage`] of a checkpoint's tensor.
    pub fn storage_of(&self, tensor: &TensorInfo) -> Storage {
        self.storage(&tensor.name, &tensor.shape, tensor.dtype)
    }

    /// Bytes of a model's weights under this recipe, for a checkpoint stored as `stored`.
    pub fn bytes(&self, config: &Config, stored: Dtype) -> u64 {
        let tensors = expected_tensors(config).into_iter();
        tensors
            .map(|(name, shape)| {
                let weights: u64 = shape.iter().map(|&n| n as u64).product();
                match self.storage(&name, &shape, stored) {
                    Storage::Numbers => weights * 4,
                    storage => {
                        let (weights, scales) = storage.row_bytes(shape[1..].iter().product());
                        shape[0] as u64 * (weights + scales) as u64
                    }
                }
            })
            .sum()
    }
}

/// How a tensor is kept on the GPU; by name `numbers`, or the precision's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// f32 numbers: norms, biases, the position embedding.
    Numbers,
    /// A weight matrix.
    Matrix(Precision),
}

impl Storage {
    /// Bytes of a row's weights and of its scales.
    pub fn row_bytes(self, columns: usize) -> (usize, usize) {
        match self {
            Self::Numbers => (columns.saturating_mul(4), 0),
            Self::Matrix(precision) => {
                let row = precision.layout(columns);
                (row.weight_bytes, row.scale_bytes)
            }
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbers => f.write_str(NUMBERS),
            Self::Matrix(precision) => precision.fmt(f),
        }
    }
}

impl Serialize for Storage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Storage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == NUMBERS {
            return Ok(Self::Numbers);
        }
        name.parse()
            .map(Self::Matrix)
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
