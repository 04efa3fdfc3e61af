//! One call from pictures and text, or from chat messages, to text: the shape of transformers'
//! `pipeline("image-text-to-text")`.

use paligemma_processor::{Message, apply_chat_template};

use crate::answer::{Answer, CancelToken};
use crate::engine::{Engine, Prompt, RunRequest};
use crate::error::EngineError;
use crate::generation::Generation;
use crate::picture::Picture;

/// Answers several requests, one after the other.
///
/// ```no_run
/// use paligemma_engine::{Engine, Folder, ImageTextToText, LoadOptions, Picture, PipelineInput};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let source = Folder::new("paligemma2-3b-mix-224");
/// let engine = Engine::load(source, &LoadOptions::default(), &mut |_| ()).await?;
/// let mut pipeline = ImageTextToText::new(engine);
/// let cat = Picture::decode(&std::fs::read("cat.jpg")?)?;
/// let answers = pipeline
///     .call(&[PipelineInput::new(&[cat], "What is in this image?")], 50)
///     .await?;
/// println!("{}", answers[0].generated_text);
/// # Ok(())
/// # }
/// ```
pub struct ImageTextToText {
    engine: Engine,
}

/// A request to a pipeline.
#[derive(Clone)]
pub enum PipelineInput {
    /// Pictures and a prompt about them.
    Prompt {
        /// In the order of the prompt's `<image>`s, or of their mention.
        images: Vec<Picture>,
        /// The prompt, as it is.
        text: String,
    },
    /// Chat messages, which must come down to one prompt.
    Messages(Vec<Message<Picture>>),
}

impl PipelineInput {
    /// Pictures and a prompt about them.
    #[must_use]
    pub fn new(images: &[Picture], text: &str) -> Self {
        Self::Prompt {
            images: images.to_vec(),
            text: text.to_owned(),
        }
    }
}

/// What a pipeline returns of a request.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The prompt.
    pub input_text: String,
    /// The answer, without the prompt (transformers' `return_full_text=False`).
    pub generated_text: String,
    /// The answer in full: ids, boxes, times.
    pub answer: Answer,
}

impl Generated {
    /// Prompt, line break, answer: what transformers' `generate` decodes to.
    #[must_use]
    pub fn full_text(&self) -> String {
        format!("{}\n{}", self.input_text, self.generated_text)
    }
}

impl ImageTextToText {
    /// A pipeline of a loaded model.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// The model, for everything else.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Answers each request with at most `max_new_tokens` tokens, in their order.
    ///
    /// # Errors
    /// The first request that fails: messages that are no prompt, pictures that do not fit it, or
    /// as [`Engine::run`].
    pub async fn call(
        &mut self,
        inputs: &[PipelineInput],
        max_new_tokens: usize,
    ) -> Result<Vec<Generated>, EngineError> {
        let greedy = Generation::default();
        self.call_with(inputs, max_new_tokens, &greedy).await
    }

    /// As [`ImageTextToText::call`], with tokens picked as `generation` says (transformers'
    /// `generate_kwargs`).
    ///
    /// # Errors
    /// As [`ImageTextToText::call`]; and options out of their range or that do not go together.
    pub async fn call_with(
        &mut self,
        inputs: &[PipelineInput],
        max_new_tokens: usize,
        generation: &Generation,
    ) -> Result<Vec<Generated>, EngineError> {
        let mut all = Vec::with_capacity(inputs.len());
        for input in inputs {
            let (images, text) = match input {
                PipelineInput::Prompt { images, text } => (images.clone(), text.clone()),
                PipelineInput::Messages(messages) => {
                    let (text, images) = apply_chat_template(messages)?;
                    (images.into_iter().cloned().collect(), text)
                }
            };
            let request = RunRequest {
                pictures: &images,
                prompt: Prompt::Text(&text),
                max_new_tokens,
            };
            let cancel = CancelToken::default();
            let mut unheard = |_| ();
            let answer = self
                .engine
                .generate(&request, generation, &cancel, &mut unheard)
                .await?;
            all.push(Generated {
                input_text: text.replace("<image>", ""),
                generated_text: answer.text.clone(),
                answer,
            });
        }
        Ok(all)
    }
}
