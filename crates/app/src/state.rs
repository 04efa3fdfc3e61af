//! What the page knows, as signals.

use std::sync::Arc;

use leptos::prelude::*;
use paligemma_browser::protocol::{AdapterInfo, Answer, Detection, ModelInfo, Problem, Stopped};
use paligemma_scenes::Truth;
use paligemma_tasks::{Template, referred};

use crate::film::Frame;
use crate::looked::Looked;
use crate::masks::Masks;
use crate::platform::file::ObjectUrl;
use crate::prompt::preset;
use crate::prompt::settings::Settings;
use crate::truth::{Score, score};

/// The page's state; a handle that is cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    /// The model and what computes it.
    pub(crate) engine: RwSignal<EngineState>,
    /// What is being computed, if anything is.
    pub(crate) running: RwSignal<Option<Stage>>,
    /// The picture on the stage.
    pub(crate) picture: RwSignal<Option<Shown>>,
    /// Further pictures of the same question.
    pub(crate) film: RwSignal<Vec<Frame>>,
    /// Where the model looked.
    pub(crate) looked: Looked,
    /// Why the last file that was offered is not on the stage.
    pub(crate) picture_problem: RwSignal<Option<Problem>>,
    /// A new scene is being composed.
    pub(crate) composing: RwSignal<bool>,
    /// The prompt as it stands in its field.
    pub(crate) prompt: RwSignal<String>,
    /// The prompts that the model knows; none for the demo model, whose tasks the page has itself.
    pub(crate) templates: RwSignal<&'static [Template]>,
    /// The person has typed the prompt, so the page no longer suggests one.
    pub(crate) prompt_typed: RwSignal<bool>,
    /// How answers are generated.
    pub(crate) settings: RwSignal<Settings>,
    /// The latest answer, complete or not.
    pub(crate) reply: RwSignal<Option<Reply>>,
    /// The detection under the pointer or the focus.
    pub(crate) pointed: RwSignal<Option<usize>>,
    /// The detection that was clicked, lit until another is.
    pub(crate) pinned: RwSignal<Option<usize>>,
    /// Draw what the picture really shows.
    pub(crate) show_truth: RwSignal<bool>,
    /// The latest answer's masks.
    pub(crate) masks: Masks,
}

/// The model's state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EngineState {
    /// On its way.
    Loading(Underway),
    /// Answers prompts.
    Ready(Loaded),
    /// Cannot work; the page is still usable to look at pictures.
    Failed(Problem),
}

/// A model on its way to the GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Underway {
    /// What it is called, in the middle of a sentence.
    pub(crate) title: String,
    /// Where it is.
    pub(crate) leg: Leg,
    /// Bytes so far.
    pub(crate) done: u64,
    /// Bytes in all; 0 while unknown.
    pub(crate) total: u64,
}

/// The way to the GPU in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leg {
    /// It is not known yet which model comes.
    Starting,
    /// From a server to what the browser keeps.
    Fetching,
    /// What was stored is read back and checked.
    Checking,
    /// To the GPU.
    Loading,
}

impl Underway {
    /// Before anything is known.
    pub(crate) fn starting() -> Self {
        Self {
            title: String::new(),
            leg: Leg::Starting,
            done: 0,
            total: 0,
        }
    }
}

/// A loaded model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    /// What was loaded.
    pub(crate) model: ModelInfo,
    /// What computes.
    pub(crate) adapter: AdapterInfo,
    /// Milliseconds it took.
    pub(crate) load_ms: f64,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Handed to the worker.
    Asked,
    /// The vision tower works.
    Encoding,
    /// The prompt is read.
    Prefill(usize),
    /// Tokens written so far.
    Writing(usize),
    /// The person wants it to stop; the next token ends it.
    Stopping,
}

/// A picture on the stage.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Counts pictures, so that late news about an earlier one is told apart.
    pub(crate) turn: u32,
    /// Where the browser finds its bytes.
    pub(crate) url: Arc<ObjectUrl>,
    /// Its file name, or what stands for it.
    pub(crate) name: String,
    /// Pixels, as a person sees it.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
    /// What it really shows, where that is known.
    pub(crate) truth: Option<Truth>,
}

/// An answer, complete or not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    /// What was asked.
    pub(crate) prompt: String,
    /// The raw text so far.
    pub(crate) text: String,
    /// The objects so far.
    pub(crate) detections: Vec<Detection>,
    /// The finished answer.
    pub(crate) answer: Option<Answer>,
    /// Why there is none.
    pub(crate) problem: Option<Problem>,
}

impl Reply {
    /// The answer to a prompt, before its first token.
    pub(crate) fn to(prompt: String) -> Self {
        Self {
            prompt,
            text: String::new(),
            detections: Vec::new(),
            answer: None,
            problem: None,
        }
    }

    /// The objects so far, as people are shown them: once the answer is complete, an object that
    /// the model gave no label is what the prompt refers to.
    fn shown(&self) -> Vec<Detection> {
        let mut detections = self.detections.clone();
        let referred = self.answer.as_ref().and_then(|_| referred(&self.prompt));
        if let Some(referred) = referred {
            for detection in &mut detections {
                if detection.label.is_empty() {
                    referred.clone_into(&mut detection.label);
                }
            }
        }
        detections
    }

    /// Whether the prompt asks for boxes rather than words.
    pub(crate) fn asks_for_boxes(&self) -> bool {
        match preset::read(&self.prompt) {
            Some((task, _)) => task.has_boxes(),
            None => !self.detections.is_empty(),
        }
    }

    /// How the answer met the truth; none unless `detect` or `segment` has been answered in full.
    pub(crate) fn score(&self, truth: &Truth) -> Option<Score> {
        let (task, asked) = preset::read(&self.prompt)?;
        let complete = self.answer.as_ref()?.stopped == Stopped::Eos;
        (complete && task.has_boxes()).then(|| score(truth, &self.detections, &asked))
    }
}

impl Page {
    /// A page on which nothing has happened.
    pub(crate) fn new() -> Self {
        Self {
            engine: RwSignal::new(EngineState::Loading(Underway::starting())),
            running: RwSignal::new(None),
            picture: RwSignal::new(None),
            film: RwSignal::new(Vec::new()),
            looked: Looked::new(),
            picture_problem: RwSignal::new(None),
            composing: RwSignal::new(false),
            prompt: RwSignal::new(String::new()),
            templates: RwSignal::new(&[]),
            prompt_typed: RwSignal::new(false),
            settings: RwSignal::new(Settings::default()),
            reply: RwSignal::new(None),
            pointed: RwSignal::new(None),
            pinned: RwSignal::new(None),
            show_truth: RwSignal::new(false),
            masks: Masks::new(),
        }
    }

    /// The detections of the latest answer, so far.
    pub(crate) fn detections(self) -> Memo<Vec<Detection>> {
        Memo::new(move |_| {
            self.reply
                .with(|reply| reply.as_ref().map(Reply::shown).unwrap_or_default())
        })
    }

    /// The detection to light: under the pointer or the focus, else the one that was clicked.
    pub(crate) fn lit(self) -> Option<usize> {
        self.pointed.get().or(self.pinned.get())
    }

    /// What the picture really shows, where that is known.
    pub(crate) fn truth(self) -> Memo<Option<Truth>> {
        Memo::new(move |_| {
            self.picture
                .with(|p| p.as_ref().and_then(|p| p.truth.clone()))
        })
    }

    /// Whether a prompt can be run now.
    pub(crate) fn can_run(self) -> bool {
        self.running.get().is_none()
            && self.picture.with(Option::is_some)
            && self
                .engine
                .with(|engine| matches!(engine, EngineState::Ready(_)))
            && self.prompt.with(|prompt| !prompt.trim().is_empty())
    }

    /// Forgets the latest answer.
    pub(crate) fn clear_reply(self) {
        self.pointed.set(None);
        self.pinned.set(None);
        self.looked.clear();
        self.masks.clear();
        self.reply.set(None);
    }

    /// Puts a prompt into the field on the person's behalf.
    pub(crate) fn suggest(self, prompt: String) {
        self.prompt_typed.set(false);
        self.prompt.set(prompt);
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paligemma_browser::protocol::Timings;
    use paligemma_scenes::TruthObject;

    fn answered(prompt: &str, stopped: Stopped) -> Reply {
        let detections = vec![Detection {
            label: "cat".into(),
            bbox: [0.0, 0.0, 10.0, 10.0],
            score: None,
        }];
        let answer = Answer {
            text: String::new(),
            token_ids: Vec::new(),
            logprobs: Vec::new(),
            stopped,
            detections: detections.clone(),
            timings: Timings::default(),
        };
        Reply {
            detections,
            answer: Some(answer),
            ..Reply::to(prompt.to_owned())
        }
    }

    #[test]
    fn an_object_without_a_label_is_what_was_asked_for() {
        let shown = |prompt: &str, complete: bool| {
            let mut reply = answered(prompt, Stopped::Eos);
            reply.detections[0].label = String::new();
            if !complete {
                reply.answer = None;
            }
            reply.shown()[0].label.clone()
        };
        assert_eq!(shown("the left dog", true), "the left dog");
        assert_eq!(shown("segment the left dog", true), "the left dog");
        // It may still be on its way.
        assert_eq!(shown("the left dog", false), "");
        assert_eq!(shown("detect cat ; dog", true), "");
        let labelled = answered("the left dog", Stopped::Eos);
        assert_eq!(labelled.shown()[0].label, "cat");
    }

    #[test]
    fn only_a_complete_answer_to_a_detect_prompt_is_scored() {
        let cat = TruthObject {
            label: "cat".into(),
            bbox: [0.0, 0.0, 10.0, 10.0],
        };
        let truth = Truth {
            seed: None,
            width: 20,
            height: 20,
            objects: vec![cat],
        };
        let score = |prompt, stopped| answered(prompt, stopped).score(&truth);
        assert_eq!(
            score("detect cat", Stopped::Eos).map(|s| (s.found, s.expected)),
            Some((1, 1))
        );
        assert_eq!(score("detect cat", Stopped::Cancelled), None);
        assert_eq!(score("caption en", Stopped::Eos), None);
        assert_eq!(Reply::to("detect cat".into()).score(&truth), None);
    }
}
