//! Bringing a model to the GPU.

use leptos::prelude::*;
use paligemma_browser::client::Client;
use paligemma_browser::message::Files;
use paligemma_browser::protocol::{
    Event, FetchProgress, FetchStage, KeptModel, Library, ProblemKind, Wanted,
};

use super::job::Present;
use super::state::Models;
use super::words;
use crate::state::{EngineState, Leg, Loaded, Underway};

impl Models {
    /// Loads a kept model in place of the present one.
    pub(super) fn load_kept(self, model: &KeptModel) {
        self.load_present(Self::present_of(model), true);
    }

    /// Loads a model that is kept; `repair`: should it be damaged and be the demo, it is mended
    /// without asking, as that costs next to nothing.
    pub(super) fn load_present(self, present: Present, repair: bool) {
        let (Some(client), Some(key)) = (self.session.client(), present.key.clone()) else {
            return;
        };
        let turn = self.begin_load(&client, present.clone());
        let id = client.load_kept(&key, move |event| match event {
            Event::Failed { problem, .. }
                if problem.kind == ProblemKind::Damaged && present.is_demo && repair =>
            {
                if self.is_load_turn(turn) {
                    self.inner.update_value(|inner| inner.load_id = None);
                    self.mend_demo(present.clone());
                }
            }
            event => self.on_load_event(turn, event),
        });
        self.inner.update_value(|inner| inner.load_id = Some(id));
    }

    /// Loads a model without keeping it.
    pub(super) fn load_once(self, present: Present, wanted: Wanted, files: &Files) {
        let Some(client) = self.session.client() else {
            return;
        };
        let turn = self.begin_load(&client, present);
        let id = client.load(wanted, files, move |event| self.on_load_event(turn, event));
        self.inner.update_value(|inner| inner.load_id = Some(id));
    }

    /// Loads the present model once more, if it is loaded, being loaded, or could not be. One that
    /// still comes from a server is loaded after that anyway.
    pub(super) fn reload(self) {
        let Some(present) = self.present.get_untracked() else {
            return;
        };
        let is_here = self
            .library
            .with_untracked(|library| is_here(&present, library.as_ref()));
        if !is_here {
            return;
        }
        if self
            .page
            .engine
            .with_untracked(|engine| matches!(engine, EngineState::Failed(_)))
        {
            self.try_again();
            return;
        }
        let is_loaded = |engine: &EngineState| matches!(engine, EngineState::Ready(_));
        let is_loading = self.inner.with_value(|inner| inner.load_id.is_some());
        if !is_loading && !self.page.engine.with_untracked(is_loaded) {
            return;
        }
        if present.key.is_some() {
            self.load_present(present, true);
        } else if let Some(wanted) = present.wanted.clone() {
            self.load_once(present, wanted, &Files::new());
        }
    }

    /// Whether the present model can be loaded once more.
    pub(super) fn can_reload(self) -> bool {
        let present = self.present.get();
        self.library.with(|library| {
            let is_here = |present: &Present| is_here(present, library.as_ref());
            present.as_ref().is_some_and(is_here)
        })
    }

    /// Tries again what failed: with a new worker, the same model first.
    pub(crate) fn try_again(self) {
        let key = self
            .present
            .with_untracked(|present| present.as_ref().and_then(|it| it.key.clone()));
        self.connect(key);
    }

    /// Whether the present model is damaged and could be mended by fetching.
    pub(crate) fn can_repair(self) -> bool {
        self.present.with(|present| {
            present
                .as_ref()
                .is_some_and(|it| it.key.is_some() && it.wanted.is_some())
        })
    }

    /// Another load begins, of whatever; its turn.
    pub(super) fn next_load_turn(self) -> u32 {
        self.inner
            .try_update_value(|inner| {
                inner.load_turn += 1;
                inner.load_turn
            })
            .unwrap_or_default()
    }

    /// Whether this is still what is to be loaded.
    pub(super) fn is_load_turn(self, turn: u32) -> bool {
        self.inner.with_value(|inner| inner.load_turn == turn)
    }

    /// Says where the model that comes is.
    pub(super) fn underway(self, present: &Present, leg: Leg, (done, total): (u64, u64)) {
        self.page.engine.set(EngineState::Loading(Underway {
            title: present.spoken(),
            leg,
            done,
            total,
        }));
    }

    /// The same of one that is being fetched before the page can do anything.
    pub(super) fn arriving(self, present: &Present, progress: &FetchProgress) {
        let leg = match progress.stage {
            FetchStage::Checking => Leg::Checking,
            FetchStage::Elsewhere | FetchStage::Files | FetchStage::Weights => Leg::Fetching,
        };
        self.underway(present, leg, words::measure(progress));
    }

    fn begin_load(self, client: &Client, present: Present) -> u32 {
        let turn = self.next_load_turn();
        let earlier = self
            .inner
            .try_update_value(|inner| inner.load_id.take())
            .flatten();
        if let Some(id) = earlier {
            client.cancel(id);
        }
        self.session.abandon_run();
        let is_other = self
            .present
            .with_untracked(|it| it.as_ref().is_some_and(|it| !it.is_surely(&present)));
        if is_other {
            // What an earlier model said would stand under the name of this one.
            self.page.clear_reply();
        }
        self.underway(&present, Leg::Loading, (0, 0));
        self.present.set(Some(present));
        turn
    }

    fn on_load_event(self, turn: u32, event: Event) {
        if !self.is_load_turn(turn) {
            return;
        }
        match event {
            Event::Loading {
                loaded_bytes,
                total_bytes,
                ..
            } => {
                if let Some(present) = self.present.get_untracked() {
                    self.underway(&present, Leg::Loading, (loaded_bytes, total_bytes));
                }
            }
            Event::Ready {
                model,
                adapter,
                load_ms,
                tuned,
                ..
            } => {
                self.session.keep_tuned(tuned);
                self.inner.update_value(|inner| inner.load_id = None);
                self.page.engine.set(EngineState::Ready(Loaded {
                    model,
                    adapter,
                    load_ms,
                }));
                // It was used just now.
                self.refresh();
            }
            Event::Failed { problem, .. } => {
                self.inner.update_value(|inner| inner.load_id = None);
                self.session.engine_failed(problem);
            }
            _ => {}
        }
    }
}

/// Whether a model can be loaded without asking anybody: it is kept in full, or needs neither files
/// nor a token that the page no longer has.
fn is_here(present: &Present, library: Option<&Library>) -> bool {
    let Some(key) = &present.key else {
        return present.wanted.is_some();
    };
    library.is_some_and(|library| {
        let mut models = library.models.iter();
        models.any(|model| model.key == *key && model.complete && !model.unreadable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_loaded_again() {
        let demo = |key: Option<&str>| {
            let wanted = Wanted::folder("demo/model");
            Present::demo(wanted, key.map(str::to_owned))
        };
        let kept = |key: &str, complete| KeptModel {
            key: key.to_owned(),
            title: key.to_owned(),
            recipe: "q4".to_owned(),
            commit: None,
            source: None,
            adapter: None,
            complete,
            unreadable: false,
            store_bytes: 100,
            stored_bytes: 100,
            last_used_ms: 0.0,
        };
        let library = Library {
            models: vec![kept("whole", true), kept("part", false)],
            ..Library::default()
        };
        assert!(is_here(&demo(Some("whole")), Some(&library)));
        for key in ["part", "deleted"] {
            assert!(!is_here(&demo(Some(key)), Some(&library)), "{key}");
        }
        assert!(!is_here(&demo(Some("whole")), None));
        assert!(is_here(&demo(None), None));
        let chosen = Present {
            wanted: None,
            ..demo(None)
        };
        assert!(!is_here(&chosen, Some(&library)));
    }
}
