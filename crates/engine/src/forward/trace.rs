use paligemma_model::{ImageFeatures, Input, Layers, PaliGemma, Pass, Session, Taps};
use paligemma_processor::IGNORED;

use crate::engine::{Engine, RunRequest};
use crate::error::EngineError;
use crate::forward::output::{Loss, NamedTensor};
use crate::forward::request::LogitsToKeep;
use crate::forward::{kept, targets};
use crate::picture::Picture;

/// What [`Engine::trace`] is asked for beside the rest.
#[derive(Clone, Debug, Default)]
pub struct TraceOptions<'a> {
    /// The answer to learn from, without its end token: adds labels and a loss.
    pub suffix: Option<&'a str>,
    /// Attention weights of every layer of both towers.
    pub attentions: bool,
    /// Tokens whose logits are returned; none: all.
    pub logits_to_keep: Option<LogitsToKeep>,
}

/// Every tensor of a forward pass.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Ids of prompt and suffix: `[tokens]`.
    pub input_ids: Vec<u32>,
    /// 0 for the prompt, 1 for the suffix: `[tokens]`.
    pub token_type_ids: Vec<u32>,
    /// If there is a suffix: `[tokens]`.
    pub labels: Option<Vec<i64>>,
    /// If there is a suffix.
    pub loss: Option<Loss>,
    /// The tensors.
    pub tensors: Vec<NamedTensor>,
}

impl Engine {
    /// One forward pass with every intermediate tensor: `pixel_values`
    /// `[images, 3, side, side]`, `vision.*` `[images, patches, hidden]`, `image_features`
    /// `[images, patches, text hidden]`, `text.*` `[1, tokens, hidden]`, `logits`
    /// `[1, kept, vocabulary]`, `cache.k.*` and `cache.v.*` `[1, kv_heads, tokens, head_dim]`; if
    /// asked for, `vision.attentions.*` `[images, heads, patches, patches]` and
    /// `text.attentions.*` `[1, heads, tokens, tokens]`.
    ///
    /// This holds everything in memory; it is for looking into the model, not for speed.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn trace(
        &mut self,
        request: &RunRequest<'_>,
        options: &TraceOptions<'_>,
    ) -> Result<Trace, EngineError> {
        let pixels: Vec<Vec<f32>> = request
            .pictures
            .iter()
            .map(|picture: &Picture| self.processor.pixel_values(picture.decoded()))
            .collect();
        self.trace_pixels(request, &pixels, options).await
    }

    /// [`Engine::trace`] with pixel values of the caller's, one `[3, side, side]` an image, in
    /// place of the request's pictures.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn trace_pixels(
        &mut self,
        request: &RunRequest<'_>,
        pixels: &[Vec<f32>],
        options: &TraceOptions<'_>,
    ) -> Result<Trace, EngineError> {
        let mut ids = self.input_ids(request)?;
        let prefix = ids.len();
        if let Some(suffix) = options.suffix {
            ids.extend(self.processor.suffix_ids(suffix)?);
        }
        let model = &self.model;
        let layers = match options.attentions {
            true => Layers::All,
            false => Layers::None,
        };
        let mut taps = Taps::all().with_attentions(layers);
        let (mut tensors, features) = encode(model, pixels, &mut taps).await?;

        let mut session = self.new_session(ids.len())?;
        let pass = Pass {
            input: Input::Ids(&ids),
            images: &features,
            prefix,
        };
        let residual = session.read(model, &pass, &mut taps).await?;
        for (name, tensor) in taps.take() {
            tensors.push(NamedTensor {
                name,
                shape: vec![1, tensor.rows(), tensor.columns()],
                values: model.read(&tensor).await?,
            });
        }
        for weights in taps.take_attentions() {
            tensors.push(NamedTensor {
                name: format!("text.attentions.{}", weights.layer),
                shape: vec![1, weights.heads, weights.rows, weights.keys],
                values: weights.read(model.gpu()).await?,
            });
        }
        let all = LogitsToKeep::All;
        let keep = options.logits_to_keep.as_ref().unwrap_or(&all);
        let keep = kept(keep, &(0..ids.len()))?;
        if !keep.is_empty() {
            let normed = model.final_norm(&residual, &keep)?;
            tensors.push(NamedTensor {
                name: "logits".to_owned(),
                shape: vec![1, keep.len(), model.config().text.vocab_size],
                values: model.logits(&normed).await?,
            });
        }
        tensors.extend(caches(model, &session).await?);

        let mut trace = Trace {
            token_type_ids: (0..ids.len()).map(|at| u32::from(at >= prefix)).collect(),
            input_ids: ids,
            labels: None,
            loss: None,
            tensors,
        };
        if options.suffix.is_some() {
            let answer = trace.input_ids[prefix..].iter().map(|&id| i64::from(id));
            let labels: Vec<i64> = std::iter::repeat_n(IGNORED, prefix).chain(answer).collect();
            let vocabulary = model.config().text.vocab_size;
            let targets = targets(&labels, &(0..labels.len()), vocabulary)?;
            trace.loss = Some(self.loss(&residual, &targets).await?);
            trace.labels = Some(labels);
        }
        Ok(trace)
    }

    /// Ids and tensors of [`Engine::trace_pixels`] without more.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn forward_pixels(
        &mut self,
        request: &RunRequest<'_>,
        pixels: &[Vec<f32>],
    ) -> Result<(Vec<u32>, Vec<NamedTensor>), EngineError> {
        let options = TraceOptions::default();
        let trace = self.trace_pixels(request, pixels, &options).await?;
        Ok((trace.input_ids, trace.tensors))
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

/// Keys and values of every layer.
async fn caches(model: &PaliGemma, session: &Session) -> Result<Vec<NamedTensor>, EngineError> {
    let text = &model.config().text;
    let shape = vec![
        1,
        text.num_key_value_heads,
        session.positions(),
        text.head_dim,
    ];
    let mut tensors = Vec::new();
    for (i, [keys, values]) in session.read_caches(model).await?.into_iter().enumerate() {
        for (kind, values) in [("k", keys), ("v", values)] {
            tensors.push(NamedTensor {
                name: format!("cache.{kind}.{i}"),
                shape: shape.clone(),
                values,
            });
        }
    }
    Ok(tensors)
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
            let shape = vec![1, tensor.rows(), tensor.columns()];
            stack(&mut tensors, name, shape, values);
        }
        for weights in taps.take_attentions() {
            let name = format!("vision.attentions.{}", weights.layer);
            let shape = vec![1, weights.heads, weights.rows, weights.keys];
            stack(&mut tensors, name, shape, weights.read(model.gpu()).await?);
        }
    }
    Ok((tensors, features))
}

/// Adds an image's numbers to those of the images before it.
fn stack(tensors: &mut Vec<NamedTensor>, name: String, shape: Vec<usize>, values: Vec<f32>) {
    match tensors.iter_mut().find(|known| known.name == name) {
        Some(known) => {
            known.shape[0] += 1;
            known.values.extend(values);
        }
        None => tensors.push(NamedTensor {
            name,
            shape,
            values,
        }),
    }
}
