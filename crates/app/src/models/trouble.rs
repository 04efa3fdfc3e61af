//! What went wrong while getting a model, and the next step.

use leptos::prelude::*;
use paligemma_browser::protocol::{ModelSource, ProblemKind};

use super::job::{About, Trouble};
use super::state::Models;
use crate::notice::{Notice, kind_name};
use crate::platform::page as browser;

/// The trouble, while there is some.
#[component]
pub(crate) fn TroubleNote(
    /// The models.
    models: Models,
) -> impl IntoView {
    move || {
        models.trouble.get().map(|trouble| {
            let kind = match trouble.about {
                About::Form => "form".to_owned(),
                _ => kind_name(trouble.problem.kind),
            };
            view! {
                <div id="models-error" data-kind=kind>
                    <Notice problem=trouble.problem.clone()>
                        <div class="actions">
                            <NextStep models trouble />
                            <button class="quiet" type="button" on:click=move |_| models.trouble.set(None)>
                                "Dismiss"
                            </button>
                        </div>
                    </Notice>
                </div>
            }
        })
    }
}

/// The button that leads on.
#[component]
fn NextStep(models: Models, trouble: Trouble) -> impl IntoView {
    let step = step(&trouble);
    let trouble = StoredValue::new(trouble);
    let take = move |_| {
        let about = trouble.with_value(|trouble| trouble.about.clone());
        match step {
            None => {}
            Some(Step::Token) => models.ask_for_token(&about),
            Some(Step::SeeKept) => browser::focus("kept-title"),
            Some(Step::Repeat) => models.repeat(about),
            Some(Step::StartAnew) => match about {
                About::Fetching(fetch) => models.start_anew(fetch),
                other => models.repeat(other),
            },
        }
    };
    step.map(|step| {
        view! {
            <button class="primary" type="button" data-step=step.name() on:click=take>
                {step.words()}
            </button>
        }
    })
}

/// What a person can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Type a token.
    Token,
    /// The same again.
    Repeat,
    /// Throw away what has arrived, and ask again what there is.
    StartAnew,
    /// Look at what is kept, to delete some.
    SeeKept,
}

impl Step {
    fn words(self) -> &'static str {
        match self {
            Step::Token => "Enter a token",
            Step::Repeat => "Try again",
            Step::StartAnew => "Start anew",
            Step::SeeKept => "See what is kept",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Step::Token => "token",
            Step::Repeat => "repeat",
            Step::StartAnew => "start-anew",
            Step::SeeKept => "see-kept",
        }
    }
}

/// The step that helps; none where only other words in the form do.
fn step(trouble: &Trouble) -> Option<Step> {
    if matches!(trouble.about, About::Form) {
        return None;
    }
    match trouble.problem.kind {
        ProblemKind::Token if takes_token(&trouble.about) => Some(Step::Token),
        ProblemKind::Token => Some(Step::Repeat),
        ProblemKind::Changed => Some(Step::StartAnew),
        ProblemKind::Storage => Some(Step::SeeKept),
        ProblemKind::Network | ProblemKind::Damaged | ProblemKind::Cancelled => Some(Step::Repeat),
        // Deleting is done from the list.
        _ => None,
    }
    .filter(|_| trouble.about != About::Deleting)
}

/// Whether it is about a hub: other servers get no token.
fn takes_token(about: &About) -> bool {
    let source = match about {
        About::Examining(wanted) => &wanted.source,
        About::Fetching(fetch) => &fetch.wanted.source,
        About::Form | About::Deleting => return false,
    };
    matches!(source, ModelSource::Hub { .. })
}

impl Models {
    /// Shows the field for a token, with the source that wants it.
    fn ask_for_token(self, about: &About) {
        let wanted = match about {
            About::Examining(wanted) => Some(wanted),
            About::Fetching(fetch) => Some(&fetch.wanted),
            About::Form | About::Deleting => None,
        };
        if let Some(wanted) = wanted
            && matches!(wanted.source, ModelSource::Hub { .. })
        {
            self.show_source(&wanted.source, &wanted.recipe);
        }
        // The one that is held was refused.
        self.forget_token();
        browser::focus("hub-token");
    }

    fn repeat(self, about: About) {
        match about {
            About::Examining(wanted) => self.examine(wanted),
            About::Fetching(_) => self.resume(),
            About::Form | About::Deleting => self.trouble.set(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::job::Fetch;
    use paligemma_browser::protocol::{Problem, Wanted};

    #[test]
    fn each_trouble_has_its_step() {
        let folder = Fetch::new(Wanted::folder("x"), "00".to_owned(), "x".to_owned());
        let mut fetch = folder.clone();
        fetch.wanted.source = ModelSource::Hub {
            base_url: "https://hub.example".to_owned(),
            repository: "me/mine".to_owned(),
            revision: "main".to_owned(),
        };
        let step = |kind, about| {
            let problem = Problem {
                kind,
                message: String::new(),
            };
            step(&Trouble { problem, about })
        };
        let fetching = || About::Fetching(fetch.clone());
        assert_eq!(step(ProblemKind::Token, fetching()), Some(Step::Token));
        // There is no field for a token that another server would get.
        let about = About::Fetching(folder);
        assert_eq!(step(ProblemKind::Token, about), Some(Step::Repeat));
        assert_eq!(
            step(ProblemKind::Changed, fetching()),
            Some(Step::StartAnew)
        );
        assert_eq!(step(ProblemKind::Storage, fetching()), Some(Step::SeeKept));
        assert_eq!(step(ProblemKind::Network, fetching()), Some(Step::Repeat));
        assert_eq!(step(ProblemKind::Checkpoint, fetching()), None);
        assert_eq!(step(ProblemKind::Network, About::Deleting), None);
        assert_eq!(step(ProblemKind::Token, About::Form), None);
    }
}
