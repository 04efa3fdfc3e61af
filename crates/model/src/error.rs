use paligemma_checkpoint::{CheckpointError, QuantizeError};
use paligemma_gpu::GpuError;
use thiserror::Error;

/// What can go wrong in loading and running a model.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The GPU.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// Weights that cannot be packed as the recipe says.
    #[error("tensor `{tensor}`: {reason}")]
    Quantize {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with its weights.
        reason: QuantizeError,
    },
    /// A configuration no kernel is made for.
    #[error(
        "config.json gives {field} {value}, and this software runs {supported}; use another checkpoint"
    )]
    Unsupported {
        /// Field of `config.json`.
        field: &'static str,
        /// Its value.
        value: usize,
        /// What would do.
        supported: &'static str,
    },
    /// More tokens than the model's context.
    #[error(
        "the prompt is {tokens} tokens long, images included, and the model's context is {context}; \
         shorten the prompt or use fewer images"
    )]
    PromptTooLong {
        /// Tokens of images and prompt.
        tokens: usize,
        /// Positions there are.
        context: usize,
    },
    /// No tokens at all.
    #[error("the prompt has no tokens; write at least one")]
    EmptyPrompt,
    /// An id outside the vocabulary.
    #[error(
        "token id {id} is outside the model's vocabulary of {vocabulary}; use ids of this model's tokenizer"
    )]
    TokenId {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// Image tokens and image features do not match in number.
    #[error(
        "the prompt has places for {places} image features and the images give {features}; \
         write as many <image> as there are images, or none"
    )]
    ImagePlaces {
        /// Image tokens in the prompt.
        places: usize,
        /// Features of the images.
        features: usize,
    },
    /// Pixel values of another size than the model's.
    #[error(
        "{got} pixel values were given and the model sees {wanted}; resize the picture to the model's input"
    )]
    Pixels {
        /// How many there are.
        got: usize,
        /// How many it takes.
        wanted: usize,
    },
    /// A code that is none.
    #[error(
        "mask code {code} is outside the code book of {entries} entries; use the codes of the answer's <seg> tokens"
    )]
    MaskCode {
        /// The code.
        code: u16,
        /// Entries there are.
        entries: usize,
    },
    /// Embeddings that are no whole number of tokens.
    #[error(
        "{got} numbers were given as embeddings, which is no multiple of {hidden}, the numbers of a \
         token; give [tokens, {hidden}]"
    )]
    Embeddings {
        /// How many there are.
        got: usize,
        /// Numbers of a token.
        hidden: usize,
    },
    /// Features of another size than the model's.
    #[error(
        "{got} numbers were given as a picture's features and the model has {wanted}; give \
         [image tokens, hidden] of this model's vision tower"
    )]
    Features {
        /// How many there are.
        got: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// A bidirectional prefix or images after other tokens.
    #[error(
        "{position} tokens were read already, and a prompt's prefix and its images can only come \
         first; begin with an empty cache"
    )]
    PrefixInside {
        /// Tokens that are there.
        position: usize,
    },
    /// Keys and values that are not of this model.
    #[error(
        "the keys and values do not fit: this model has {layers} layers with {numbers} numbers each \
         for {positions} positions; give back what was taken from the same model"
    )]
    Cache {
        /// The decoder's layers.
        layers: usize,
        /// Numbers of the keys, and of the values, of a layer.
        numbers: usize,
        /// Positions that were announced.
        positions: usize,
    },
    /// Every logit was NaN.
    #[error(
        "the model computed no usable number; the checkpoint is damaged or the GPU driver computes wrongly: load it again or try another adapter"
    )]
    NotANumber,
}
