use paligemma_model::ImageFeatures;

use crate::picture::{Picture, Watch};

/// Pictures whose features stay on the GPU. At 896 pixels one takes up to 75 MB.
const MOST: usize = 4;

/// Encoded pictures, the most recently used last.
#[derive(Default)]
pub(crate) struct FeatureCache(Vec<Entry>);

struct Entry {
    id: u64,
    picture: Watch,
    features: ImageFeatures,
}

impl FeatureCache {
    pub(crate) fn get(&mut self, picture: &Picture) -> Option<ImageFeatures> {
        let at = self.0.iter().position(|entry| entry.id == picture.id())?;
        let entry = self.0.remove(at);
        let features = entry.features.clone();
        self.0.push(entry);
        Some(features)
    }

    pub(crate) fn insert(&mut self, picture: &Picture, features: ImageFeatures) {
        self.0.retain(|entry| entry.picture.is_held());
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(Entry {
            id: picture.id(),
            picture: picture.watch(),
            features,
        });
    }
}
