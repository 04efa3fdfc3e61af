use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use paligemma_processor::Picture as Decoded;

use crate::error::EngineError;

/// A decoded picture with an identity, cheap to clone. While a clone lives, an engine may keep
/// its encoded features, so that a second prompt on it starts at once.
#[derive(Clone)]
pub struct Picture(Rc<Inner>);

struct Inner {
    id: u64,
    decoded: Decoded,
}

impl Picture {
    /// Decodes PNG, JPEG, WebP, GIF (first frame) or BMP, upright.
    ///
    /// # Errors
    /// Bytes that are no picture, a damaged one, or one too large to decode.
    pub fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        Ok(Self::from(Decoded::decode(bytes)?))
    }

    /// Width in pixels, as a person sees it.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.0.decoded.width()
    }

    /// Height in pixels, as a person sees it.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.0.decoded.height()
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn decoded(&self) -> &Decoded {
        &self.0.decoded
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(Rc::downgrade(&self.0))
    }
}

impl From<Decoded> for Picture {
    fn from(decoded: Decoded) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Rc::new(Inner { id, decoded }))
    }
}

/// Knows whether anyone still holds a picture.
pub(crate) struct Watch(std::rc::Weak<Inner>);

impl Watch {
    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}
