use paligemma_checkpoint::{Checkpoint, Config, PackedSource, Pieces, Source};
use paligemma_processor::{AttentionMask, Processor};

use crate::engine::{Engine, PREPROCESSOR_FILE, TOKENIZER_FILE, processor};
use crate::error::EngineError;

/// Whose attention mask is wanted.
#[derive(Clone, Copy, Debug)]
pub struct MaskRequest<'a> {
    /// As typed; `<image>` or `<img>` may stand in it.
    pub prompt: &'a str,
    /// The answer, without the end token.
    pub suffix: &'a str,
    /// Pictures, where the prompt does not say where they are.
    pub images: usize,
    /// Tokens a picture has in the mask; none: as many as in the model.
    pub image_tokens: Option<usize>,
    /// Positions that layers with a sliding window see, to show these layers as well.
    pub window: Option<usize>,
}

impl MaskRequest<'_> {
    /// Image tokens in the pictures of transformers' documentation.
    pub const FEW_IMAGE_TOKENS: usize = 5;
}

impl Engine {
    /// Who attends to whom in a prompt with its answer.
    ///
    /// # Errors
    /// A mask of more tokens than can be looked at.
    pub fn attention_mask(&self, request: &MaskRequest<'_>) -> Result<AttentionMask, EngineError> {
        of(&self.processor, request)
    }
}

/// Who attends to whom in a prompt with its answer, by the model's configuration and tokenizer
/// alone; no weight is read and no GPU is needed.
///
/// # Errors
/// A source that fails, files that are damaged or not a PaliGemma's, a mask of more tokens than
/// can be looked at.
pub async fn attention_mask<S: Source>(
    source: S,
    request: &MaskRequest<'_>,
) -> Result<AttentionMask, EngineError> {
    let processor = if PackedSource::is_there(&source).await? {
        let packed = PackedSource::open(source).await?;
        let config = Config::of_packed(&packed).await?;
        let tokenizer = packed.file(TOKENIZER_FILE).await?;
        let preprocessor = packed.file(PREPROCESSOR_FILE).await?;
        processor(&config, tokenizer, preprocessor)?
    } else {
        let config = Checkpoint::configuration(&source).await?;
        let tokenizer = Checkpoint::side_file(&source, TOKENIZER_FILE).await?;
        let preprocessor = Checkpoint::side_file(&source, PREPROCESSOR_FILE).await?;
        processor(&config, tokenizer, preprocessor)?
    };
    of(&processor, request)
}

fn of(processor: &Processor, request: &MaskRequest<'_>) -> Result<AttentionMask, EngineError> {
    let image_tokens = request.image_tokens.unwrap_or(processor.image_tokens());
    Ok(processor.attention_mask(
        request.prompt,
        request.suffix,
        request.images,
        image_tokens,
        request.window,
    )?)
}
