//! Mask decoders on their way to the engine, and masks on their way to the page.

use std::cell::RefCell;
use std::collections::HashSet;

use paligemma_checkpoint::MaskWeights;
use paligemma_engine as engine;
use paligemma_engine::{Engine, EngineError, MaskFile};

use super::connect::Connect;
use super::keeper::Keeper;
use crate::protocol::{Bytes, Mask};

/// Levels a side that are sent at most; what is larger is stretched, which nobody sees: a mask has
/// 64 numbers a side.
const MOST: u32 = 1024;

/// The masks of one run that the page has not had yet.
#[derive(Default)]
pub(super) struct Fresh {
    sent: RefCell<HashSet<usize>>,
}

impl Fresh {
    /// Those of `detections` that are new.
    pub(super) fn of(&self, detections: &[engine::Detection]) -> Vec<Mask> {
        let mut sent = self.sent.borrow_mut();
        let masks = detections.iter().enumerate().filter_map(|(index, found)| {
            let mask = found.mask.as_ref()?;
            if !sent.insert(index) {
                return None;
            }
            let alpha = mask.alpha_within(MOST)?;
            let area = alpha.area;
            Some(Mask {
                index,
                area: [area.x0, area.y0, area.x1, area.y1],
                png: Bytes(alpha.png()),
            })
        });
        masks.collect()
    }
}

/// Gives a model that came without a mask decoder the one that is kept with it, or else the one
/// that was chosen last. One that is damaged by now is as good as none: the page asks for it.
pub(super) async fn complete<C: Connect>(
    engine: &mut Engine,
    keeper: &Keeper<C>,
    key: Option<&str>,
    chosen: Option<MaskFile>,
) {
    if engine.gives_masks() {
        return;
    }
    let kept = match key {
        Some(key) => keeper.mask_decoder(key).await,
        None => None,
    };
    let kept = kept.map(|bytes| MaskFile {
        name: "the mask decoder".to_owned(),
        bytes,
    });
    for file in kept.into_iter().chain(chosen) {
        if engine.set_mask_decoder(&file).await.is_ok() {
            return;
        }
    }
}

/// Whether a file is a mask decoder.
pub(super) fn check(file: &MaskFile) -> Result<(), EngineError> {
    MaskWeights::read(&file.name, &file.bytes)?;
    Ok(())
}
