//! Images through the vision tower and the projector, with what was asked for on the way.

use paligemma_model::{ImageFeatures, Taps};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::forward::layers_exist;
use crate::forward::output::{Array, LayerAttention, VisionOutput};
use crate::forward::request::{Images, VisionOutputs};

const LAST: &str = "vision.last_hidden_state";

impl Engine {
    /// The features of images and what comes before them: transformers' `get_image_features`,
    /// whose `pooler_output` are the projected features.
    ///
    /// # Errors
    /// Pixel values of another size, a layer that there is not, or a GPU that fails.
    pub async fn get_image_features(
        &mut self,
        images: Images<'_>,
        outputs: &VisionOutputs,
    ) -> Result<VisionOutput, EngineError> {
        let layers = self.config().vision.num_hidden_layers;
        layers_exist(&outputs.attentions, "vision tower", layers)?;
        let (features, vision) = self.look(images, outputs, true).await?;
        match vision {
            Some(vision) => Ok(vision),
            // Features are what is left of features.
            None => {
                let pooler_output = self.stacked(&features).await?;
                Ok(VisionOutput {
                    last_hidden_state: Array::new([0, 0, 0], Vec::new()),
                    pooler_output,
                    hidden_states: None,
                    attentions: Vec::new(),
                })
            }
        }
    }

    /// Features of images; with what the vision tower made of them, if anything was asked for.
    pub(crate) async fn look(
        &mut self,
        images: Images<'_>,
        outputs: &VisionOutputs,
        last: bool,
    ) -> Result<(Vec<ImageFeatures>, Option<VisionOutput>), EngineError> {
        let mut features = Vec::with_capacity(images.len());
        let mut collected = (last || !outputs.is_nothing()).then(Collected::default);
        match images {
            Images::None => {}
            Images::Features(all) => {
                for values in all {
                    features.push(self.model.features(values)?);
                }
                collected = None;
            }
            Images::Pictures(pictures) => {
                for (index, picture) in pictures.iter().enumerate() {
                    let Some(collected) = collected.as_mut() else {
                        let of = pictures.len();
                        features.push(self.encode(picture, index, of, &mut |_| ()).await?);
                        continue;
                    };
                    let pixels = self.processor.pixel_values(picture.decoded());
                    features.push(self.collect(&pixels, outputs, collected).await?);
                }
            }
            Images::Pixels(all) => {
                for pixels in all {
                    features.push(match collected.as_mut() {
                        Some(collected) => self.collect(pixels, outputs, collected).await?,
                        None => self.model.encode_image(pixels, &mut Taps::none()).await?,
                    });
                }
            }
        }
        if features.is_empty() {
            return Ok((features, None));
        }
        let vision = match collected {
            Some(collected) => {
                let pooled = self.stacked(&features).await?;
                Some(collected.into_output(features.len(), pooled, outputs, self))
            }
            None => None,
        };
        Ok((features, vision))
    }

    async fn collect(
        &self,
        pixels: &[f32],
        outputs: &VisionOutputs,
        collected: &mut Collected,
    ) -> Result<ImageFeatures, EngineError> {
        let taps = match outputs.hidden_states {
            true => Taps::all(),
            false => Taps::only(LAST),
        };
        let mut taps = taps.with_attentions(outputs.attentions.clone());
        let features = self.model.encode_image(pixels, &mut taps).await?;
        let mut states = 0;
        for (name, tensor) in taps.take() {
            let values = match name.as_str() {
                LAST => &mut collected.last,
                "image_features" => continue,
                _ => {
                    states += 1;
                    if collected.states.len() < states {
                        collected.states.push(Vec::new());
                    }
                    &mut collected.states[states - 1]
                }
            };
            values.extend(self.model.read(&tensor).await?);
        }
        for (index, weights) in taps.take_attentions().iter().enumerate() {
            if collected.attentions.len() <= index {
                collected.attentions.push((weights.layer, Vec::new()));
            }
            let values = weights.read(self.model.gpu()).await?;
            collected.attentions[index].1.extend(values);
        }
        Ok(features)
    }

    /// Features one after the other: `[images, image tokens, hidden]`.
    pub(crate) async fn stacked(&self, features: &[ImageFeatures]) -> Result<Array, EngineError> {
        let mut values = Vec::new();
        for features in features {
            values.extend(self.model.read_features(features).await?);
        }
        let patches = self.config().vision.num_patches();
        let shape = [features.len(), patches, self.config().text.hidden_size];
        Ok(Array::new(shape, values))
    }
}

/// Of one image after the other.
#[derive(Default)]
struct Collected {
    last: Vec<f32>,
    states: Vec<Vec<f32>>,
    attentions: Vec<(usize, Vec<f32>)>,
}

impl Collected {
    fn into_output(
        self,
        images: usize,
        pooler_output: Array,
        outputs: &VisionOutputs,
        engine: &Engine,
    ) -> VisionOutput {
        let vision = &engine.config().vision;
        let (patches, hidden) = (vision.num_patches(), vision.hidden_size);
        let array = |values| Array::new([images, patches, hidden], values);
        let heads = vision.num_attention_heads;
        VisionOutput {
            last_hidden_state: array(self.last),
            pooler_output,
            hidden_states: outputs
                .hidden_states
                .then(|| self.states.into_iter().map(array).collect()),
            attentions: self
                .attentions
                .into_iter()
                .map(|(layer, values)| LayerAttention {
                    layer,
                    weights: Array::new([images, heads, patches, patches], values),
                })
                .collect(),
        }
    }
}
