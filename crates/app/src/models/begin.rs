//! What happens before anybody asks: the model that was used last comes back, or the demo comes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use leptos::prelude::*;
use paligemma_browser::message::Files;
use paligemma_browser::protocol::{Event, KeptModel, Library, Offer, Problem, ProblemKind, Wanted};

use super::job::{Job, Present};
use super::start::{self, Start};
use super::state::{DEMO_MODEL, Models};
use crate::platform::page as browser;
use crate::state::{EngineState, Leg, Underway};
use crate::wording;

/// How long a kept demo model waits to be compared with the one that the page brings: a slow
/// network must not keep anybody from what is on their disk.
const PATIENCE: Duration = Duration::from_secs(4);

impl Models {
    /// Starts the worker and loads a model: the one with this key, else the one that was used
    /// last, else the demo model. Also begins again after a failure.
    pub(crate) fn connect(self, key: Option<String>) {
        let turn = self.next_load_turn();
        self.inner.update_value(|inner| inner.load_id = None);
        self.remark.set(None);
        // The worker that answered an earlier request is gone with it.
        let went_on = self.interrupt_job();
        self.page
            .engine
            .set(EngineState::Loading(Underway::starting()));
        let Some(client) = self.session.connect() else {
            return;
        };
        client.library(move |event| match event {
            Event::Library { library, .. } => {
                self.library.set(Some(library.clone()));
                if self.is_load_turn(turn) {
                    self.begin(&library, key.as_deref());
                }
            }
            Event::Failed { problem, .. } if self.is_load_turn(turn) => {
                self.begin_without_store(&problem.message);
            }
            _ => {}
        });
        if went_on {
            self.resume();
        }
    }

    fn begin(self, library: &Library, key: Option<&str>) {
        let demo = Self::demo_url();
        match start::choose(library, &demo, key) {
            Start::Kept(model) => self.load_kept(&model),
            Start::Demo(model) => self.check_demo(model),
            Start::FetchDemo => self.get_demo(None),
            Start::Transient(why) => return self.begin_without_store(&why),
        }
        if let Some(model) = start::unfinished(library, &demo)
            && self.job.with_untracked(|job| *job == Job::None)
        {
            self.remark.set(Some(format!(
                "{} is here in part, {}: it goes on from there under Model.",
                model.title,
                wording::part_of(model.stored_bytes, model.store_bytes)
            )));
        }
    }

    /// Without a place to keep models the page works all the same.
    fn begin_without_store(self, why: &str) {
        self.remark.set(Some(format!(
            "This browser keeps no models, so the model is loaded anew each time: {}.",
            why.trim_end_matches('.')
        )));
        let wanted = Wanted::folder(DEMO_MODEL);
        let present = Present::demo(wanted.clone(), None);
        self.load_once(present, wanted, &Files::new());
    }

    /// Loads a kept demo model, unless the page brings another one by now.
    fn check_demo(self, kept: KeptModel) {
        let present = Self::present_of(&kept);
        let client = self.session.client().filter(|_| is_online());
        let Some(client) = client else {
            return self.load_kept(&kept);
        };
        let turn = self.next_load_turn();
        self.underway(&present, Leg::Loading, (0, 0));
        self.present.set(Some(present));
        let decided = Rc::new(Cell::new(false));
        let decide = move |decided: &Cell<bool>| self.is_load_turn(turn) && !decided.replace(true);
        let late = {
            let (decided, kept) = (Rc::clone(&decided), kept.clone());
            move || {
                if decide(&decided) {
                    self.load_kept(&kept);
                }
            }
        };
        set_timeout(late, PATIENCE);
        client.examine(
            Wanted::folder(DEMO_MODEL),
            &Files::new(),
            move |event| match event {
                Event::Offer { offer, .. } if decide(&decided) => {
                    if offer.key == kept.key {
                        self.load_kept(&kept);
                    } else {
                        self.fetch_demo(&offer, Some(kept.clone()));
                    }
                }
                Event::Failed { .. } if decide(&decided) => self.load_kept(&kept),
                _ => {}
            },
        );
    }

    /// Asks about the demo model, then fetches it. `old` is the one that is kept, if one is.
    fn get_demo(self, old: Option<KeptModel>) {
        let Some(client) = self.session.client() else {
            return;
        };
        let turn = self.next_load_turn();
        let present = Present::demo(Wanted::folder(DEMO_MODEL), None);
        self.underway(&present, Leg::Fetching, (0, 0));
        self.present.set(Some(present));
        let mut old = old;
        client.examine(
            Wanted::folder(DEMO_MODEL),
            &Files::new(),
            move |event| match event {
                _ if !self.is_load_turn(turn) => {}
                Event::Offer { offer, .. } => match &offer.cannot_keep {
                    Some(why) => self.begin_without_store(why),
                    None => self.fetch_demo(&offer, old.take()),
                },
                Event::Failed { problem, .. } => self.demo_failed(problem, old.take()),
                _ => {}
            },
        );
    }

    /// Fetches the demo model on offer, which is a part of this page and small: no one is asked.
    fn fetch_demo(self, offer: &Offer, old: Option<KeptModel>) {
        let present = Present::demo(Wanted::folder(DEMO_MODEL), Some(offer.key.clone()));
        if offer.complete {
            return self.load_present(present, true);
        }
        self.fetch_then_load(present, old);
    }

    /// A damaged demo model: what is damaged is fetched again.
    pub(super) fn mend_demo(self, present: Present) {
        self.fetch_then_load(present, None);
    }

    fn fetch_then_load(self, present: Present, mut old: Option<KeptModel>) {
        let (Some(client), Some(key)) = (self.session.client(), present.key.clone()) else {
            return;
        };
        let turn = self.next_load_turn();
        self.underway(&present, Leg::Fetching, (0, 0));
        self.present.set(Some(present.clone()));
        client.fetch(
            Wanted::folder(DEMO_MODEL),
            &Files::new(),
            &key,
            move |event| {
                let is_wanted = self.is_load_turn(turn);
                match event {
                    Event::Fetching { progress, .. } if is_wanted => {
                        self.arriving(&present, &progress);
                    }
                    Event::Kept { key, .. } => {
                        if let Some(old) = old.take().filter(|old| old.key != key) {
                            self.discard(&old.key);
                        }
                        self.refresh();
                        if is_wanted {
                            // Damaged straight after it was checked: another attempt would not
                            // mend the disk.
                            self.load_present(present.clone(), false);
                        }
                    }
                    Event::Failed { problem, .. } if is_wanted => {
                        self.demo_failed(problem, old.take());
                    }
                    _ => {}
                }
            },
        );
    }

    /// The demo model does not come: an older one does, or one that is not kept, or none.
    fn demo_failed(self, problem: Problem, old: Option<KeptModel>) {
        match (old, problem.kind) {
            (Some(old), _) => self.load_kept(&old),
            (None, ProblemKind::Storage) => self.begin_without_store(&problem.message),
            (None, _) => self.session.engine_failed(problem),
        }
    }
}

/// Whether the browser believes that there is a network. It may be wrong when it says so, not when
/// it denies it.
fn is_online() -> bool {
    browser::window().navigator().on_line()
}
