//! Attention masks drawn, and mask decoders that a person chooses.

use paligemma_engine::{MaskFile, MaskRequest};

use super::{Shared, no_model};
use crate::protocol::Event;
use crate::worker::connect::Connect;
use crate::worker::{convert, masks};

impl<C: Connect + 'static> Shared<C> {
    pub(super) fn mask(&self, id: u32, prompt: &str, suffix: &str) {
        let request = MaskRequest {
            prompt,
            suffix,
            images: 1,
            image_tokens: Some(MaskRequest::FEW_IMAGE_TOKENS),
            window: None,
        };
        let drawn = match self.engine.borrow().as_ref() {
            Some(engine) => engine.attention_mask(&request),
            None => return self.fail(id, no_model()),
        };
        match drawn {
            Ok(mask) => (self.post)(Event::Mask {
                id,
                svg: mask.to_svg("Who attends to whom"),
                description: mask.description(),
            }),
            Err(error) => self.fail(id, convert::problem(&error)),
        }
    }

    pub(super) async fn take_mask_decoder(&self, id: u32, file: MaskFile) {
        let taken = self.engine.borrow_mut().take();
        let outcome = match taken {
            Some(mut engine) => {
                let outcome = engine.set_mask_decoder(&file).await;
                if !engine.is_broken() {
                    *self.engine.borrow_mut() = Some(engine);
                }
                outcome
            }
            None => masks::check(&file),
        };
        match outcome {
            Ok(()) => {
                let key = self.kept_key.borrow().clone();
                if let Some(key) = key {
                    self.keeper.keep_mask_decoder(&key, &file.bytes).await;
                }
                *self.mask_file.borrow_mut() = Some(file);
                (self.post)(Event::MaskDecoder { id });
            }
            Err(error) => self.fail(id, convert::problem(&error)),
        }
    }
}
