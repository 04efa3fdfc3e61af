//! Asking where the model looked.

use leptos::prelude::*;
use paligemma_browser::protocol::{Event, Look, ProblemKind};

use super::Session;

impl Session {
    /// Asks for the token, layer and head that are chosen, of the answer that is there. Only the
    /// latest question's answer is shown.
    pub(crate) fn look(self) {
        let looked = self.page.looked;
        let answered = self.page.reply.with_untracked(|reply| {
            let reply = reply.as_ref()?;
            let ids = reply.answer.as_ref()?.token_ids.clone();
            (!ids.is_empty()).then(|| looked.question(reply.prompt.clone(), ids))
        });
        let (Some(asked), Some(client)) = (answered, self.client()) else {
            return;
        };
        if self.page.running.with_untracked(Option::is_some) {
            return;
        }
        let handles = self.handles();
        let handles: Vec<_> = handles.iter().map(AsRef::as_ref).collect();
        let turn = self.inner.try_update_value(|inner| {
            inner.look_turn += 1;
            inner.look_turn
        });
        client.attention(&handles, asked.clone(), move |event| {
            let is_latest = self.inner.with_value(|inner| Some(inner.look_turn) == turn);
            if !is_latest || !self.answers(&asked) {
                return;
            }
            match event {
                Event::Attention { map, .. } => {
                    looked.problem.set(None);
                    looked.map.set(Some(map));
                }
                Event::Failed { problem, .. } if problem.kind == ProblemKind::DeviceLost => {
                    self.engine_failed(problem);
                }
                Event::Failed { problem, .. } => {
                    looked.map.set(None);
                    looked.problem.set(Some(problem));
                }
                _ => {}
            }
        });
    }

    /// The answer on the page is still the one that was asked about.
    fn answers(self, asked: &Look) -> bool {
        self.page.reply.with_untracked(|reply| {
            reply.as_ref().is_some_and(|reply| {
                let ids = reply.answer.as_ref().map(|answer| &answer.token_ids);
                reply.prompt == asked.prompt && ids == Some(&asked.token_ids)
            })
        })
    }
}
