//! Getting a model that a person asks for: what it costs, fetching, pausing, throwing away.

use leptos::prelude::*;
use leptos::task::spawn_local;
use paligemma_browser::protocol::{Event, KeptModel, Problem, ProblemKind, Wanted};

use super::job::{About, Fetch, Job, Offered, Present, Trouble};
use super::state::Models;
use crate::platform::{page as browser, storage};

impl Models {
    /// Finds out what a model costs. Nothing but a few small files is fetched.
    pub(super) fn examine(self, wanted: Wanted) {
        let Some(client) = self.session.client() else {
            return self.no_worker(About::Examining(wanted));
        };
        let turn = self.next_job_turn();
        self.trouble.set(None);
        self.job.set(Job::Examining);
        let asked = self.with_token(&wanted);
        let files = self.files_of(&wanted);
        client.examine(asked, &files, move |event| match event {
            _ if !self.is_job_turn(turn) => {}
            Event::Offer { offer, .. } => {
                let wanted = wanted.clone();
                self.job.set(Job::Offered(Offered { wanted, offer }));
            }
            Event::Failed { problem, .. } => {
                self.job.set(Job::None);
                let about = About::Examining(wanted.clone());
                self.trouble.set(Some(Trouble { problem, about }));
            }
            _ => {}
        });
    }

    /// The person takes the offer.
    pub(super) fn accept(self) {
        let Job::Offered(offered) = self.job.get_untracked() else {
            return;
        };
        let wanted = offered.pinned();
        let Offered { offer, .. } = offered;
        let fetch = move || self.fetch(Fetch::new(wanted, offer.key, offer.title));
        // The browser's answer first: whether it promises to keep what is fetched.
        spawn_local(async move {
            self.promise.set(storage::persist().await);
            self.refresh();
            fetch();
        });
    }

    /// The person takes the offer of a model that is here already.
    pub(super) fn load_offered(self) {
        let Job::Offered(Offered { wanted, offer }) = self.job.get_untracked() else {
            return;
        };
        self.job.set(Job::None);
        self.forget_token();
        let present = self.find(&offer.key).as_ref().map(Self::present_of);
        let unlisted = || Present {
            key: Some(offer.key.clone()),
            wanted: Some(wanted),
            title: offer.title.clone(),
            is_demo: false,
        };
        self.load_present(present.unwrap_or_else(unlisted), true);
    }

    /// The person takes the offer of a model that cannot be kept.
    pub(super) fn load_offered_once(self) {
        let Job::Offered(Offered { wanted, offer }) = self.job.get_untracked() else {
            return;
        };
        let present = Present {
            key: None,
            wanted: None,
            title: offer.title,
            is_demo: false,
        };
        let (asked, files) = (self.with_token(&wanted), self.files_of(&wanted));
        self.load_once(present, asked, &files);
        self.job.set(Job::None);
        self.forget_token();
    }

    /// Fetches what is missing of a kept model, or is damaged.
    pub(super) fn fetch_kept(self, model: &KeptModel) {
        let Some(source) = model.source.clone() else {
            return;
        };
        let wanted = Wanted {
            source,
            recipe: model.recipe.clone(),
            token: None,
            adapter: model.adapter.clone(),
        };
        self.ask_to_persist();
        let title = Self::present_of(model).title;
        self.fetch(Fetch::new(wanted, model.key.clone(), title));
    }

    /// Fetches what is damaged of the present model, then loads it.
    pub(crate) fn repair_present(self) {
        let Some(present) = self.present.get_untracked() else {
            return;
        };
        if let (Some(key), Some(wanted)) = (present.key, present.wanted) {
            self.open();
            self.fetch(Fetch::new(wanted, key, present.title));
        }
    }

    /// Fetches a model, or goes on fetching it, and loads it then.
    fn fetch(self, fetch: Fetch) {
        let Some(client) = self.session.client() else {
            return self.no_worker(About::Fetching(fetch));
        };
        let turn = self.next_job_turn();
        self.trouble.set(None);
        self.remark.set(None);
        let asked = self.with_token(&fetch.wanted);
        let (files, key) = (self.files_of(&fetch.wanted), fetch.key.clone());
        self.job.set(Job::Fetching(fetch));
        let id = client.fetch_patiently(asked, &files, &key, move |event| {
            if self.is_job_turn(turn) {
                self.on_fetch_event(event);
            }
        });
        self.inner.update_value(|inner| inner.fetch_id = Some(id));
    }

    fn on_fetch_event(self, event: Event) {
        match event {
            Event::Fetching { progress, .. } => {
                let now = browser::now();
                self.job.update(|job| {
                    if let Job::Fetching(fetch) = job {
                        fetch.note(now, progress);
                    }
                });
            }
            Event::Waiting { waiting, .. } => self.job.update(|job| {
                if let Job::Fetching(fetch) = job {
                    fetch.waiting = waiting;
                }
            }),
            Event::Kept { key, .. } => {
                let title = self.stop_fetching(Job::None).map(|fetch| fetch.title);
                self.forget_token();
                self.load_new(key, title.unwrap_or_default());
                if self.is_open() {
                    browser::focus("model-present");
                }
            }
            Event::Paused { .. } => self.paused(None),
            Event::Failed { problem, .. } if problem.kind == ProblemKind::Cancelled => {
                self.paused(None);
            }
            Event::Failed { problem, .. } => self.paused(Some(problem)),
            _ => {}
        }
    }

    /// Fetching has ended before the model was complete.
    fn paused(self, problem: Option<Problem>) {
        let Some(fetch) = self.stop_fetching(Job::None) else {
            return;
        };
        if fetch.discard {
            return self.discard(&fetch.key);
        }
        let fetch = fetch.again();
        if let Some(problem) = problem {
            let about = About::Fetching(fetch.clone());
            self.trouble.set(Some(Trouble { problem, about }));
        }
        self.job.set(Job::Paused(fetch));
        self.refresh();
    }

    /// Loads a model that has just become complete.
    fn load_new(self, key: String, title: String) {
        let Some(client) = self.session.client() else {
            return;
        };
        let turn = self.next_load_turn();
        client.library(move |event| {
            if let Event::Library { library, .. } = event {
                self.library.set(Some(library));
            }
            if self.is_load_turn(turn) {
                let listed = self.find(&key).as_ref().map(Self::present_of);
                let unlisted = || Present {
                    key: Some(key.clone()),
                    wanted: None,
                    title: title.clone(),
                    is_demo: false,
                };
                self.load_present(listed.unwrap_or_else(unlisted), false);
            }
        });
    }

    /// Stops for now; what has arrived is kept.
    pub(super) fn pause(self) {
        self.job.update(|job| {
            if let Job::Fetching(fetch) = job {
                fetch.stopping = true;
            }
        });
        let id = self.inner.with_value(|inner| inner.fetch_id);
        if let (Some(client), Some(id)) = (self.session.client(), id) {
            client.cancel(id);
        }
    }

    /// Lets a fetch that waits for the network or the server try again at once.
    pub(super) fn hurry(self) {
        let waits = self
            .job
            .with_untracked(|job| matches!(job, Job::Fetching(fetch) if fetch.waiting.is_some()));
        let id = self.inner.with_value(|inner| inner.fetch_id);
        if let (true, Some(client), Some(id)) = (waits, self.session.client(), id) {
            client.hurry(id);
        }
    }

    /// Goes on.
    pub(super) fn resume(self) {
        if let Job::Paused(fetch) = self.job.get_untracked() {
            self.fetch(fetch.again());
        }
    }

    /// Stops for good: what has arrived is thrown away.
    pub(super) fn cancel(self) {
        match self.job.get_untracked() {
            Job::Fetching(_) => {
                self.job.update(|job| {
                    if let Job::Fetching(fetch) = job {
                        fetch.discard = true;
                    }
                });
                self.pause();
            }
            Job::Paused(fetch) => self.discard(&fetch.key),
            Job::Offered(_) => {
                self.job.set(Job::None);
                self.trouble.set(None);
                self.forget_token();
            }
            Job::None | Job::Examining => {}
        }
    }

    /// What has arrived does not fit what is there now: begins with nothing.
    pub(super) fn start_anew(self, fetch: Fetch) {
        let wanted = fetch.wanted.clone();
        self.discard_then(&fetch.key, move || self.examine(wanted));
    }

    /// Throws a kept model away, in full or in part.
    pub(super) fn discard(self, key: &str) {
        self.discard_then(key, || {});
    }

    fn discard_then(self, key: &str, then: impl FnOnce() + 'static) {
        let Some(client) = self.session.client() else {
            return self.no_worker(About::Deleting);
        };
        self.doomed.set(None);
        if self.job.with_untracked(|job| job.key() == Some(key)) {
            self.next_job_turn();
            self.job.set(Job::None);
            self.trouble.set(None);
        }
        let mut then = Some(then);
        client.delete(key, move |event| match event {
            Event::Library { library, .. } => {
                self.library.set(Some(library));
                if let Some(then) = then.take() {
                    then();
                }
            }
            Event::Failed { problem, .. } => {
                let about = About::Deleting;
                self.trouble.set(Some(Trouble { problem, about }));
                self.refresh();
            }
            _ => {}
        });
    }

    /// Asks the browser not to clear what is kept; its answer is shown.
    pub(super) fn ask_to_persist(self) {
        spawn_local(async move {
            self.promise.set(storage::persist().await);
            self.refresh();
        });
    }

    /// The worker is being replaced. Whether it was fetching, so that the next one should.
    pub(super) fn interrupt_job(self) -> bool {
        self.next_job_turn();
        self.inner.update_value(|inner| inner.fetch_id = None);
        match self.job.get_untracked() {
            Job::Fetching(fetch) => {
                let goes_on = !fetch.stopping;
                self.job.set(Job::Paused(fetch.again()));
                goes_on
            }
            Job::Examining => {
                self.job.set(Job::None);
                false
            }
            Job::None | Job::Offered(_) | Job::Paused(_) => false,
        }
    }

    fn stop_fetching(self, next: Job) -> Option<Fetch> {
        self.inner.update_value(|inner| inner.fetch_id = None);
        let mut stopped = None;
        self.job.update(|job| {
            if let Job::Fetching(fetch) = std::mem::replace(job, next) {
                stopped = Some(fetch);
            }
        });
        stopped
    }

    fn with_token(self, wanted: &Wanted) -> Wanted {
        Wanted {
            token: self
                .token_for(&wanted.source)
                .or_else(|| self.token_for(wanted.adapter.as_ref()?)),
            ..wanted.clone()
        }
    }

    fn next_job_turn(self) -> u32 {
        self.inner
            .try_update_value(|inner| {
                inner.job_turn += 1;
                inner.job_turn
            })
            .unwrap_or_default()
    }

    fn is_job_turn(self, turn: u32) -> bool {
        self.inner.with_value(|inner| inner.job_turn == turn)
    }

    fn no_worker(self, about: About) {
        let problem = Problem {
            kind: ProblemKind::Worker,
            message: "The page’s worker does not run, so nothing can be fetched: close this \
                      and see what the page says about it."
                .to_owned(),
        };
        self.trouble.set(Some(Trouble { problem, about }));
    }
}
