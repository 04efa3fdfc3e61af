use thiserror::Error;

/// Why a [`ForwardRequest`](crate::ForwardRequest) cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// Ids and embeddings, or neither.
    #[error("give either input_ids or inputs_embeds: {given} were given")]
    Input {
        /// `both` or `neither`.
        given: &'static str,
    },
    /// Lists that are not as long as the tokens.
    #[error("{what} has {got} entries for {tokens} tokens: give one for each")]
    Length {
        /// The list.
        what: &'static str,
        /// Its entries.
        got: usize,
        /// Tokens, padding included.
        tokens: usize,
    },
    /// Embeddings that are no whole number of tokens.
    #[error("inputs_embeds has {got} numbers, no multiple of {hidden}: give [tokens, {hidden}]")]
    Embeddings {
        /// How many there are.
        got: usize,
        /// Numbers of a token.
        hidden: usize,
    },
    /// A mask with holes or padding on the right.
    #[error(
        "attention_mask is 0 at {position} after a 1 before it, and padding is on the left only: \
         pad as the processor does"
    )]
    Mask {
        /// Where.
        position: usize,
    },
    /// Padding in front of tokens that follow a cache.
    #[error("attention_mask has padding where tokens follow a cache: give these tokens alone")]
    PaddingInside,
    /// Nothing but padding.
    #[error("attention_mask is 0 everywhere, so there is nothing to read: give at least one token")]
    OnlyPadding,
    /// A prefix after a suffix.
    #[error(
        "token_type_ids is {found} at {position}, and a row is zeros (the prefix) followed by ones \
         (the suffix): order it so"
    )]
    TokenTypes {
        /// Where.
        position: usize,
        /// What is there.
        found: u32,
    },
    /// A label that is no id.
    #[error(
        "the label {label} at {position} is no token id below {vocabulary} and not -100: correct it"
    )]
    Label {
        /// The label.
        label: i64,
        /// Where.
        position: usize,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// A position that there is not.
    #[error(
        "logits_to_keep names position {position}, and tokens are at {first} to {last}: choose one of these"
    )]
    Position {
        /// The position.
        position: usize,
        /// The first token that is no padding.
        first: usize,
        /// The last.
        last: usize,
    },
    /// A cache that another engine filled.
    #[error(
        "the cache was filled by another engine: give it back to that one, or export and import it"
    )]
    OtherEngine,
    /// A layer that there is not.
    #[error("layer {layer} was asked for, and the {tower} has {layers}: count from 0")]
    Layer {
        /// The layer.
        layer: usize,
        /// `decoder` or `vision tower`.
        tower: &'static str,
        /// Its layers.
        layers: usize,
    },
    /// A head that there is not.
    #[error("head {head} was asked for, and a layer has {heads}: count from 0")]
    Head {
        /// The head.
        head: usize,
        /// Heads of a layer.
        heads: usize,
    },
    /// A token of the answer that there is not.
    #[error("token {token} of the answer was asked for, and it has {tokens}: count from 0")]
    Token {
        /// The token.
        token: usize,
        /// Tokens of the answer.
        tokens: usize,
    },
    /// A picture that there is not.
    #[error("picture {picture} was asked for, and there are {pictures}: count from 0")]
    Picture {
        /// The picture.
        picture: usize,
        /// Pictures of the request.
        pictures: usize,
    },
}
