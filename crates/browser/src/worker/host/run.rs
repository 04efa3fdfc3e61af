//! One question: answered token by token, its masks sent as they come.

use paligemma_engine as engine;
use paligemma_engine::{CancelToken, Picture, Prompt, RunRequest};

use super::{Shared, no_model};
use crate::protocol::{Answer, Event, Problem, ProblemKind, Stopped, Timings};
use crate::worker::connect::Connect;
use crate::worker::convert;
use crate::worker::masks::Fresh;

/// A question that waits for its turn.
pub(super) struct Run {
    pub(super) id: u32,
    /// Held here rather than by name, so that the page may drop a picture once it has asked.
    pub(super) pictures: Vec<Picture>,
    pub(super) prompt: String,
    pub(super) max_new_tokens: usize,
    pub(super) generation: engine::Generation,
    pub(super) cancel: CancelToken,
}

impl<C: Connect + 'static> Shared<C> {
    pub(super) async fn run(&self, run: Run) {
        let ended = self.try_run(&run).await;
        self.running.borrow_mut().remove(&run.id);
        match ended {
            Ok(answer) => (self.post)(Event::Done { id: run.id, answer }),
            Err(problem) => self.fail(run.id, problem),
        }
    }

    async fn try_run(&self, run: &Run) -> Result<Answer, Problem> {
        if run.cancel.is_cancelled() {
            return Ok(nothing());
        }
        let taken = self.engine.borrow_mut().take();
        let Some(mut engine) = taken else {
            return Err(no_model());
        };
        let request = RunRequest {
            pictures: &run.pictures,
            prompt: Prompt::Text(&run.prompt),
            max_new_tokens: run.max_new_tokens,
        };
        let fresh = Fresh::default();
        let post_masks = |detections: &[engine::Detection]| {
            let masks = fresh.of(detections);
            if !masks.is_empty() {
                (self.post)(Event::Masks { id: run.id, masks });
            }
        };
        let mut on_event = |event| {
            if let engine::Event::Token { detections, .. } = &event {
                post_masks(detections);
            }
            if let Some(event) = progress(run.id, event) {
                (self.post)(event);
            }
        };
        let ended = engine
            .generate(&request, &run.generation, &run.cancel, &mut on_event)
            .await;
        // A GPU that failed does not come back to this engine: the next load makes a new one.
        let broken = engine.is_broken();
        if !broken {
            *self.engine.borrow_mut() = Some(engine);
        }
        if let Ok(answer) = &ended {
            post_masks(&answer.detections);
        }
        ended.map(convert::answer).map_err(|error| {
            let mut problem = convert::problem(&error);
            if broken && problem.kind != ProblemKind::OutOfMemory {
                problem.kind = ProblemKind::DeviceLost;
            }
            problem
        })
    }
}

/// What the page hears of a run before it has ended.
fn progress(id: u32, event: engine::Event) -> Option<Event> {
    match event {
        engine::Event::EncodingImage { .. } => Some(Event::EncodingImage { id }),
        engine::Event::Prefill { tokens } => Some(Event::Prefill { id, tokens }),
        engine::Event::Token {
            text,
            detections,
            scores,
            count,
            ..
        } => {
            let detections = convert::detections(&detections, &scores);
            Some(Event::Token {
                id,
                text,
                detections,
                count,
            })
        }
        // The page has no place for a warning; loading and the end have events of their own.
        engine::Event::Warning { .. }
        | engine::Event::Loading { .. }
        | engine::Event::Done { .. } => None,
    }
}

/// The answer of a run that was cancelled before its turn.
fn nothing() -> Answer {
    Answer {
        text: String::new(),
        token_ids: Vec::new(),
        logprobs: Vec::new(),
        stopped: Stopped::Cancelled,
        detections: Vec::new(),
        timings: Timings::default(),
    }
}
