use paligemma_model::{ImageFeatures, PaliGemma, Session, Taps};

use crate::engine::{Engine, RunRequest};
use crate::error::EngineError;
use crate::picture::Picture;

/// A tensor of a forward pass, read back: row-major.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// As in transformers' modules, e.g. `text.layer_out.0`.
    pub name: String,
    /// Sizes of the dimensions, the batch first.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

impl Engine {
    /// One forward pass with every intermediate tensor: ids, and `pixel_values`
    /// `[images, 3, side, side]`, `vision.*` `[images, patches, hidden]`, `image_features`
    /// `[images, patches, text hidden]`, `text.*` `[1, tokens, hidden]`, `logits`
    /// `[1, tokens, vocabulary]`, `cache.k.*` and `cache.v.*` `[1, kv_heads, tokens, head_dim]`.
    ///
    /// This holds everything in memory; it is for looking into the model, not for speed.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn forward(
        &mut self,
        request: &RunRequest<'_>,
    ) -> Result<(Vec<u32>, Vec<NamedTensor>), EngineError> {
        let pixels: Vec<Vec<f32>> = request
            .pictures
            .iter()
            .map(|picture: &Picture| self.processor.pixel_values(picture.decoded()))
            .collect();
        self.forward_pixels(request, &pixels).await
    }

    /// [`Engine::forward`] with pixel values of the caller's, one `[3, side, side]` an image, in
    /// place of the request's pictures.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn forward_pixels(
        &mut self,
        request: &RunRequest<'_>,
        pixels: &[Vec<f32>],
    ) -> Result<(Vec<u32>, Vec<NamedTensor>), EngineError> {
        let ids = self.input_ids(request)?;
        let model = &self.model;
        let mut taps = Taps::all();
        let (mut tensors, features) = encode(model, pixels, &mut taps).await?;

        let words = self.processor.tokenizer().vocab_size();
        let mut session = Session::new(model, ids.len(), words)?;
        session.prefill(model, &ids, &features, &mut taps).await?;
        for (name, tensor) in taps.take() {
            if name == "text.final_norm" {
                tensors.push(NamedTensor {
                    name: "logits".to_owned(),
                    shape: vec![1, tensor.rows(), model.config().text.vocab_size],
                    values: model.logits(&tensor).await?,
                });
            }
            tensors.push(NamedTensor {
                name,
                shape: vec![1, tensor.rows(), tensor.columns()],
                values: model.read(&tensor).await?,
            });
        }
        let text = &model.config().text;
        let shape = vec![1, text.num_key_value_heads, ids.len(), text.head_dim];
        for (i, [keys, values]) in session.read_caches(model).await?.into_iter().enumerate() {
            for (kind, values) in [("k", keys), ("v", values)] {
                tensors.push(NamedTensor {
                    name: format!("cache.{kind}.{i}"),
                    shape: shape.clone(),
                    values,
                });
            }
        }
        Ok((ids, tensors))
    }

    /// Greedy generation with pixel values of the caller's in place of the request's pictures:
    /// the generated ids, the end token included if it came.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn generate_pixels(
        &mut self,
        request: &RunRequest<'_>,
        pixels: &[Vec<f32>],
    ) -> Result<Vec<u32>, EngineError> {
        let ids = self.input_ids(request)?;
        let model = &self.model;
        let mut features = Vec::with_capacity(pixels.len());
        for values in pixels {
            features.push(model.encode_image(values, &mut Taps::none()).await?);
        }
        let positions = ids.len().saturating_add(request.max_new_tokens);
        let positions = positions.min(model.config().text.max_position_embeddings);
        let words = self.processor.tokenizer().vocab_size();
        let mut session = Session::new(model, positions, words)?;
        let mut generated = vec![
            session
                .prefill(model, &ids, &features, &mut Taps::none())
                .await?,
        ];
        let ends = |id: Option<&u32>| id.is_none_or(|id| model.config().eos_token_ids.contains(id));
        while generated.len() < request.max_new_tokens && !ends(generated.last()) {
            generated.push(session.decode(model).await?);
        }
        Ok(generated)
    }
}

/// Encodes images and stacks what the taps took of each.
async fn encode(
    model: &PaliGemma,
    pixels: &[Vec<f32>],
    taps: &mut Taps,
) -> Result<(Vec<NamedTensor>, Vec<ImageFeatures>), EngineError> {
    let vision = &model.config().vision;
    let side = vision.image_size;
    let mut tensors = vec![NamedTensor {
        name: "pixel_values".to_owned(),
        shape: vec![pixels.len(), vision.num_channels, side, side],
        values: pixels.concat(),
    }];
    let mut features = Vec::with_capacity(pixels.len());
    for values in pixels {
        features.push(model.encode_image(values, taps).await?);
        for (name, tensor) in taps.take() {
            let values = model.read(&tensor).await?;
            match tensors.iter_mut().find(|known| known.name == name) {
                Some(known) => {
                    known.shape[0] += 1;
                    known.values.extend(values);
                }
                None => tensors.push(NamedTensor {
                    name,
                    shape: vec![1, tensor.rows(), tensor.columns()],
                    values,
                }),
            }
        }
    }
    Ok((tensors, features))
}
