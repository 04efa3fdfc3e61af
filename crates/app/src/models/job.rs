//! Getting one model, step by step.

use paligemma_browser::protocol::{
    FetchProgress, KeptModel, ModelSource, Offer, Problem, Waiting, Wanted,
};

use super::pace::Pace;
use super::words;

/// What is being done to get a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Job {
    /// Nothing.
    None,
    /// What it would cost is being found out.
    Examining,
    /// The person decides.
    Offered(Offered),
    /// It arrives.
    Fetching(Fetch),
    /// It was stopped, by the person or by a failure; what has arrived is kept.
    Paused(Fetch),
}

/// A model on offer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offered {
    /// Where from; without a token.
    pub(crate) wanted: Wanted,
    /// What it costs.
    pub(crate) offer: Offer,
}

impl Offered {
    /// The same model whenever it is asked for again: a hub's revision may point elsewhere by then,
    /// its commit does not.
    pub(crate) fn pinned(&self) -> Wanted {
        let mut wanted = self.wanted.clone();
        if let (ModelSource::Hub { revision, .. }, Some(commit)) =
            (&mut wanted.source, &self.offer.commit)
        {
            revision.clone_from(commit);
        }
        wanted
    }
}

/// A model that arrives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fetch {
    /// Where from; without a token.
    pub(crate) wanted: Wanted,
    /// Identifies it among the kept ones.
    pub(crate) key: String,
    /// What it is called.
    pub(crate) title: String,
    /// How far it is; none before the first news.
    pub(crate) progress: Option<FetchProgress>,
    /// How fast it goes.
    pub(crate) pace: Pace,
    /// Nothing arrives, for this reason, and it goes on by itself.
    pub(crate) waiting: Option<Waiting>,
    /// It is to stop, and has not yet.
    pub(crate) stopping: bool,
    /// Once stopped, what has arrived is to be thrown away.
    pub(crate) discard: bool,
}

impl Fetch {
    /// Before anything has arrived in this attempt.
    pub(crate) fn new(wanted: Wanted, key: String, title: String) -> Self {
        Self {
            wanted,
            key,
            title,
            progress: None,
            pace: Pace::default(),
            waiting: None,
            stopping: false,
            discard: false,
        }
    }

    /// The same again, from where it is.
    pub(crate) fn again(self) -> Self {
        Self {
            progress: self.progress,
            ..Self::new(self.wanted, self.key, self.title)
        }
    }

    /// Takes news of its progress at `now` (milliseconds).
    pub(crate) fn note(&mut self, now: f64, progress: FetchProgress) {
        if self
            .progress
            .is_some_and(|before| before.stage != progress.stage)
        {
            self.pace = Pace::default();
        }
        self.pace.note(now, words::measure(&progress).0);
        self.progress = Some(progress);
        self.waiting = None;
    }
}

impl Job {
    /// The kept model that this is about.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Job::None | Job::Examining => None,
            Job::Offered(offered) => Some(&offered.offer.key),
            Job::Fetching(fetch) | Job::Paused(fetch) => Some(&fetch.key),
        }
    }

    /// Whether an answer of the worker is awaited.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Job::Examining | Job::Fetching(_))
    }
}

/// What went wrong, and during what.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    /// What happened.
    pub(crate) problem: Problem,
    /// During what.
    pub(crate) about: About,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum About {
    /// What the form says; nothing was asked.
    Form,
    /// Finding out what a model costs.
    Examining(Wanted),
    /// Getting it.
    Fetching(Fetch),
    /// Throwing a model away.
    Deleting,
}

/// A model that is on the GPU, or on its way there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Present {
    /// Its key, if it is kept.
    pub(crate) key: Option<String>,
    /// Where it came from, if that is known.
    pub(crate) wanted: Option<Wanted>,
    /// What it is called.
    pub(crate) title: String,
    /// It is the demo model.
    pub(crate) is_demo: bool,
}

impl Present {
    /// The demo model, kept under this key.
    pub(crate) fn demo(wanted: Wanted, key: Option<String>) -> Self {
        Self {
            key,
            wanted: Some(wanted),
            title: "Demo model".to_owned(),
            is_demo: true,
        }
    }

    /// A kept model other than the demo.
    pub(crate) fn kept(model: &KeptModel) -> Self {
        let wanted = model.source.clone().map(|source| Wanted {
            source,
            recipe: model.recipe.clone(),
            token: None,
            adapter: model.adapter.clone(),
        });
        Self {
            key: Some(model.key.clone()),
            wanted,
            title: model.title.clone(),
            is_demo: false,
        }
    }

    /// Whether both are known to be the same model. Of models that are not kept, only the demo is
    /// known.
    pub(crate) fn is_surely(&self, other: &Self) -> bool {
        match (&self.key, &other.key) {
            (None, None) => self.is_demo && other.is_demo,
            (one, another) => one == another,
        }
    }

    /// Its name in the middle of a sentence.
    pub(crate) fn spoken(&self) -> String {
        if self.is_demo {
            "the demo model".to_owned()
        } else {
            self.title.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paligemma_browser::protocol::FetchStage;

    fn progress(stage: FetchStage, fetched_bytes: u64, stored_bytes: u64) -> FetchProgress {
        FetchProgress {
            stage,
            fetched_bytes,
            fetch_bytes: 10_000,
            stored_bytes,
            store_bytes: 5_000,
        }
    }

    #[test]
    fn each_stage_has_its_own_pace() {
        let wanted = Wanted::folder("demo/model");
        let mut fetch = Fetch::new(wanted, "00".to_owned(), "mine".to_owned());
        fetch.note(0.0, progress(FetchStage::Weights, 0, 0));
        fetch.note(2_000.0, progress(FetchStage::Weights, 2_000, 1_000));
        assert_eq!(fetch.pace.rate(2_000.0), Some(1_000.0));
        fetch.note(3_000.0, progress(FetchStage::Checking, 10_000, 4_000));
        assert_eq!(fetch.pace.rate(3_000.0), None);
        fetch.note(5_000.0, progress(FetchStage::Checking, 10_000, 4_800));
        assert_eq!(fetch.pace.rate(5_000.0), Some(400.0));
    }

    #[test]
    fn what_arrives_ends_a_wait() {
        let mut fetch = Fetch::new(Wanted::folder("x"), "00".to_owned(), "x".to_owned());
        fetch.waiting = Some(Waiting {
            reason: "this device is offline".to_owned(),
            until_ms: Some(5_000.0),
            asked: false,
        });
        fetch.note(6_000.0, progress(FetchStage::Weights, 500, 0));
        assert_eq!(fetch.waiting, None);
    }

    #[test]
    fn models_that_are_not_kept_are_told_apart() {
        let demo =
            |key: Option<&str>| Present::demo(Wanted::folder("demo/model"), key.map(str::to_owned));
        let other = Present {
            is_demo: false,
            ..demo(None)
        };
        assert!(demo(None).is_surely(&demo(None)));
        assert!(demo(Some("a")).is_surely(&demo(Some("a"))));
        assert!(!demo(Some("a")).is_surely(&demo(Some("b"))));
        assert!(!demo(None).is_surely(&other));
        assert!(!other.is_surely(&other));
    }

    #[test]
    fn going_on_forgets_how_it_was_stopped() {
        let mut fetch = Fetch::new(Wanted::folder("x"), "00".to_owned(), "x".to_owned());
        fetch.note(0.0, progress(FetchStage::Weights, 500, 0));
        (fetch.stopping, fetch.discard) = (true, true);
        let again = fetch.again();
        assert!(!again.stopping && !again.discard);
        assert_eq!(again.progress.map(|it| it.fetched_bytes), Some(500));
        assert_eq!(again.pace, Pace::default());
    }
}
