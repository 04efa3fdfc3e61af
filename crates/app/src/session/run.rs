//! Running a prompt, hearing its tokens, stopping it.

use leptos::prelude::*;
use paligemma_browser::protocol::{Event, Problem, ProblemKind};
use paligemma_tasks::best_fit;

use super::Session;
use crate::prompt::preset;
use crate::state::{Reply, Stage};

/// Where nothing else is known. Enough for ten masks; an answer that is longer is not one.
const MAX_NEW_TOKENS: usize = 256;

impl Session {
    /// Asks the prompt about the picture on the stage and those beside it.
    pub(crate) fn run(self) {
        if !untrack(move || self.page.can_run()) {
            return;
        }
        let prompt = self.page.prompt.get_untracked().trim().to_owned();
        let handles = self.handles();
        let handles: Vec<_> = handles.iter().map(AsRef::as_ref).collect();
        let Some(client) = self.client().filter(|_| !handles.is_empty()) else {
            return;
        };
        self.page.clear_reply();
        self.page.reply.set(Some(Reply::to(prompt.clone())));
        let has_boxes = preset::read(&prompt).is_some_and(|(task, _)| task.has_boxes());
        let settings = self.page.settings.get_untracked();
        let asked = match settings.asked(has_boxes) {
            Ok(asked) => asked,
            Err(unreadable) => {
                let problem = Problem {
                    kind: ProblemKind::Prompt,
                    message: unreadable.to_string(),
                };
                return self.update_reply(|reply| reply.problem = Some(problem));
            }
        };
        self.page.running.set(Some(Stage::Asked));
        let turn = self.inner.try_update_value(|inner| {
            inner.run_turn += 1;
            inner.run_turn
        });
        let on_event = move |event| {
            if self.inner.with_value(|inner| Some(inner.run_turn) == turn) {
                self.on_run_event(event);
            }
        };
        let known = self.page.templates.get_untracked();
        let usual = best_fit(known, &prompt).map_or(MAX_NEW_TOKENS, |it| it.max_new_tokens);
        let limit = asked.max_new_tokens.map_or(usual, |most| most as usize);
        let id = client.run_with(&handles, &prompt, limit, asked.generation, on_event);
        self.inner.update_value(|inner| inner.run_id = Some(id));
    }

    fn on_run_event(self, event: Event) {
        let stage = |stage| {
            // Once it is to stop, only its end is news.
            if self.page.running.get_untracked() != Some(Stage::Stopping) {
                self.page.running.set(Some(stage));
            }
        };
        match event {
            Event::EncodingImage { .. } => stage(Stage::Encoding),
            Event::Prefill { tokens, .. } => stage(Stage::Prefill(tokens)),
            Event::Token {
                text,
                detections,
                count,
                ..
            } => {
                stage(Stage::Writing(count));
                self.update_reply(|reply| (reply.text, reply.detections) = (text, detections));
            }
            Event::Masks { masks, .. } => self.page.masks.add(masks),
            Event::Done { answer, .. } => {
                self.page.running.set(None);
                self.update_reply(|reply| {
                    reply.text.clone_from(&answer.text);
                    reply.detections.clone_from(&answer.detections);
                    reply.answer = Some(answer);
                });
            }
            Event::Failed { problem, .. } => self.run_failed(problem),
            _ => {}
        }
    }

    fn run_failed(self, problem: Problem) {
        match problem.kind {
            ProblemKind::Picture => {
                self.page.running.set(None);
                self.page.clear_reply();
                self.page.picture_problem.set(Some(problem));
            }
            ProblemKind::Prompt | ProblemKind::Internal | ProblemKind::LimitsTooSmall => {
                self.page.running.set(None);
                self.update_reply(|reply| reply.problem = Some(problem));
            }
            // Everything else keeps the engine from answering the next prompt, too.
            _ => self.engine_failed(problem),
        }
    }

    fn update_reply(self, change: impl FnOnce(&mut Reply)) {
        self.page.reply.update(|reply| {
            if let Some(reply) = reply {
                change(reply);
            }
        });
    }

    /// Stops the run at its next token; what is there stays.
    pub(crate) fn stop(self) {
        let (client, id) = self
            .inner
            .with_value(|inner| (inner.client.clone(), inner.run_id));
        if let (Some(client), Some(id), Some(_)) = (client, id, self.page.running.get_untracked()) {
            self.page.running.set(Some(Stage::Stopping));
            client.cancel(id);
        }
    }
}
