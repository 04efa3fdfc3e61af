//! Several rows at once, as `PaliGemmaProcessor` prepares them.

use paligemma_processor::{Batch, BatchRequest, ImageCounts, PixelSteps};

use crate::answer::{Answer, CancelToken};
use crate::engine::{Engine, Prompt, RunRequest};
use crate::error::EngineError;
use crate::forward::output::{ForwardOutput, mean};
use crate::forward::request::{ForwardRequest, Images, Outputs};
use crate::generation::Generation;
use crate::picture::Picture;

/// Pictures for [`Engine::prepare`].
#[derive(Clone, Copy)]
pub enum PreparedImages<'a> {
    /// One after the other: one for each text, or as the `<image>`s of the texts take them.
    Flat(&'a [Picture]),
    /// Those of each text.
    Nested(&'a [Vec<Picture>]),
}

/// What `PaliGemmaProcessor` returns: texts as ids, and pictures.
#[derive(Clone)]
pub struct ModelInputs {
    /// Ids, masks, token types and labels, one row a text.
    pub text: Batch,
    /// All pictures, one row's after the other's.
    pub pictures: Vec<Picture>,
}

/// What [`Engine::forward_batch`] returns.
#[derive(Clone, Debug)]
pub struct BatchOutput {
    /// Of each row; padding is left out of all of them, see [`ForwardOutput::padding`].
    pub rows: Vec<ForwardOutput>,
    /// The mean cross-entropy of all targets of all rows; none if there is no target.
    pub loss: Option<f32>,
}

impl Engine {
    /// Texts and pictures into what the model reads: transformers' `PaliGemmaProcessor`.
    ///
    /// # Errors
    /// Texts, pictures and suffixes that do not fit together.
    pub fn prepare(
        &self,
        texts: &BatchRequest<'_>,
        images: PreparedImages<'_>,
    ) -> Result<ModelInputs, EngineError> {
        let (text, pictures) = match images {
            PreparedImages::Flat(pictures) => {
                let counts = ImageCounts::Flat(pictures.len());
                (self.processor.batch(texts, counts)?, pictures.to_vec())
            }
            PreparedImages::Nested(lists) => {
                let counts: Vec<usize> = lists.iter().map(Vec::len).collect();
                let text = self.processor.batch(texts, ImageCounts::Nested(&counts))?;
                (text, lists.concat())
            }
        };
        Ok(ModelInputs { text, pictures })
    }

    /// What the vision tower reads of a picture, `[3, side, side]`; by other steps than the
    /// checkpoint's if there are some, such as transformers' `do_rescale=False`.
    #[must_use]
    pub fn pixel_values(&self, picture: &Picture, steps: Option<PixelSteps>) -> Vec<f32> {
        let processor = self.processor.image_processor();
        match steps {
            Some(steps) => processor.pixel_values_by(picture.decoded(), steps),
            None => processor.pixel_values(picture.decoded()),
        }
    }

    /// [`Engine::forward`] for each row, with the labels of those that have some. Rows are run one
    /// after the other without their padding, which comes to the same: no token sees padding.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub async fn forward_batch(
        &mut self,
        inputs: &ModelInputs,
        outputs: &Outputs,
    ) -> Result<BatchOutput, EngineError> {
        let mut rows = Vec::with_capacity(inputs.text.input_ids.len());
        for (row, pictures) in inputs.rows() {
            let text = &inputs.text;
            let labels = &text.labels[row];
            let request = ForwardRequest {
                input_ids: Some(&text.input_ids[row]),
                attention_mask: Some(&text.attention_mask[row]),
                token_type_ids: Some(&text.token_type_ids[row]),
                images: Images::Pictures(pictures),
                labels: text.token_type_ids[row]
                    .contains(&1)
                    .then_some(labels.as_slice()),
                outputs: outputs.clone(),
                ..ForwardRequest::default()
            };
            rows.push(self.forward(request).await?);
        }
        let losses = rows.iter().filter_map(|row| row.loss.as_ref());
        let nats = losses.flat_map(|loss| loss.targets.iter().map(|(_, nats)| *nats));
        let loss = mean(nats);
        Ok(BatchOutput { rows, loss })
    }

    /// The answer to each row, its tokens picked as `generation` says: of each row by the same
    /// random numbers, so that it is what it would be alone.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub async fn generate_batch(
        &mut self,
        inputs: &ModelInputs,
        max_new_tokens: usize,
        generation: &Generation,
    ) -> Result<Vec<Answer>, EngineError> {
        let mut answers = Vec::with_capacity(inputs.text.input_ids.len());
        for (row, pictures) in inputs.rows() {
            let padding = inputs.text.attention_mask[row].iter();
            let padding = padding.take_while(|&&one| one == 0).count();
            let request = RunRequest {
                pictures,
                prompt: Prompt::Ids(&inputs.text.input_ids[row][padding..]),
                max_new_tokens,
            };
            let cancel = CancelToken::default();
            let mut unheard = |_| ();
            let answer = self.generate(&request, generation, &cancel, &mut unheard);
            answers.push(answer.await?);
        }
        Ok(answers)
    }
}

impl ModelInputs {
    /// Each row's number and pictures.
    fn rows(&self) -> impl Iterator<Item = (usize, &[Picture])> {
        let mut rest = self.pictures.as_slice();
        self.text
            .num_images
            .iter()
            .enumerate()
            .map(move |(row, &count)| {
                let (pictures, others) = rest.split_at(count.min(rest.len()));
                rest = others;
                (row, pictures)
            })
    }
}
