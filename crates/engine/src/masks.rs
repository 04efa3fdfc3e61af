use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use paligemma_checkpoint::{Checkpoint, MASK_FILES, MaskWeights, Pieces, Source};
use paligemma_gpu::Gpu;
use paligemma_model::{CODES, MaskDecoder};
use paligemma_processor::{Detection, Mask};

use crate::engine::{Engine, LoadOptions};
use crate::error::EngineError;
use crate::picture::Picture;

/// Decoded masks that are kept: an answer is parsed anew at every token.
const MOST: usize = 256;

/// A mask decoder's file that does not lie beside the model.
#[derive(Clone, Debug)]
pub struct MaskFile {
    /// What messages call it.
    pub name: String,
    /// `vae-oid.npz`, or safetensors with the same names.
    pub bytes: Vec<u8>,
}

/// The mask decoder, if there is one, and what it has decoded.
#[derive(Default)]
pub(crate) struct Masks {
    decoder: Option<MaskDecoder>,
    decoded: RefCell<HashMap<[u16; CODES], Arc<[f32]>>>,
}

impl Masks {
    pub(crate) async fn new(gpu: &Gpu, weights: Option<&MaskWeights>) -> Result<Self, EngineError> {
        let decoder = match weights {
            Some(weights) => Some(MaskDecoder::load(gpu, weights).await?),
            None => None,
        };
        Ok(Self {
            decoder,
            ..Self::default()
        })
    }

    /// The masks' numbers, those that are not kept in one batch.
    async fn numbers(
        &self,
        decoder: &MaskDecoder,
        detections: &[Detection],
    ) -> Result<(), EngineError> {
        let mut missing: Vec<[u16; CODES]> = Vec::new();
        {
            let mut decoded = self.decoded.borrow_mut();
            if decoded.len() > MOST {
                decoded.clear();
            }
            for codes in detections.iter().filter_map(|found| found.mask_codes) {
                if !decoded.contains_key(&codes) && !missing.contains(&codes) {
                    missing.push(codes);
                }
            }
        }
        if !missing.is_empty() {
            let masks = decoder.decode(&missing).await?;
            let masks = masks.into_iter().map(Arc::from);
            self.decoded
                .borrow_mut()
                .extend(missing.into_iter().zip(masks));
        }
        Ok(())
    }

    /// Gives every object with codes its mask.
    pub(crate) async fn add_to(
        &self,
        detections: &mut [Detection],
        pictures: &[Picture],
    ) -> Result<(), EngineError> {
        let (Some(decoder), Some(picture)) = (&self.decoder, pictures.first()) else {
            return Ok(());
        };
        self.numbers(decoder, detections).await?;
        let decoded = self.decoded.borrow();
        for found in detections {
            let numbers = found.mask_codes.and_then(|codes| decoded.get(&codes));
            found.mask = numbers.and_then(|numbers| {
                let (width, height) = (picture.width(), picture.height());
                Mask::new(Arc::clone(numbers), found.locations, width, height)
            });
        }
        Ok(())
    }
}

impl Engine {
    /// Whether answers with mask codes get masks: a mask decoder lay beside the model, or was given.
    #[must_use]
    pub fn gives_masks(&self) -> bool {
        self.masks.decoder.is_some()
    }

    /// Decodes masks in one batch: for each object 16 codes of the code book, `[4, 4]`, to 64 rows of
    /// 64 numbers, nominally 1 where the object is and -1 where not. Answers come with their masks;
    /// this is for codes from elsewhere.
    ///
    /// # Errors
    /// No mask decoder, a code from 128 on, or a GPU that fails.
    pub async fn decode_masks(&self, codes: &[[u16; CODES]]) -> Result<Vec<Vec<f32>>, EngineError> {
        let decoder = self.masks.decoder.as_ref();
        let decoder = decoder.ok_or(EngineError::NoMaskDecoder)?;
        Ok(decoder.decode(codes).await?)
    }

    /// Takes a mask decoder, in place of the one there may be.
    ///
    /// # Errors
    /// A file that is damaged or something else, or a GPU that fails; then nothing has changed.
    pub async fn set_mask_decoder(&mut self, file: &MaskFile) -> Result<(), EngineError> {
        let weights = MaskWeights::read(&file.name, &file.bytes)?;
        self.masks = Masks::new(&self.gpu, Some(&weights)).await?;
        Ok(())
    }
}

/// The weights that were given, or those beside a checkpoint.
pub(crate) async fn beside_checkpoint<S: Source>(
    checkpoint: &Checkpoint<S>,
    options: &LoadOptions,
) -> Result<Option<MaskWeights>, EngineError> {
    if let Some(file) = &options.mask_decoder {
        return Ok(Some(MaskWeights::read(&file.name, &file.bytes)?));
    }
    for name in MASK_FILES {
        if let Some(bytes) = checkpoint.file(name).await? {
            return Ok(Some(MaskWeights::read(name, &bytes)?));
        }
    }
    Ok(None)
}

/// The weights that were given, or those in a packed model.
pub(crate) async fn beside_pieces<P: Pieces>(
    pieces: &P,
    options: &LoadOptions,
) -> Result<Option<MaskWeights>, EngineError> {
    if let Some(file) = &options.mask_decoder {
        return Ok(Some(MaskWeights::read(&file.name, &file.bytes)?));
    }
    for name in MASK_FILES {
        if let Some(bytes) = pieces.file(name).await? {
            return Ok(Some(MaskWeights::read(name, &bytes)?));
        }
    }
    Ok(None)
}
