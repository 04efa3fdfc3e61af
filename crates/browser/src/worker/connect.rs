//! From what a request names to bytes that can be read.

use std::future::Future;

use paligemma_checkpoint::{Origin, Source};
use web_sys::File;

use super::convert;
use crate::http::{HttpFolder, Patience, Token};
use crate::hub::HubRepository;
use crate::local::LocalFiles;
use crate::protocol::{ModelSource, Problem, Wanted};
use crate::source::BrowserSource;

/// A model's bytes, and what is known of them before one is read.
pub struct Found<S> {
    /// The bytes.
    pub source: S,
    /// Whose weights they are.
    pub origin: Origin,
    /// What the model is called.
    pub title: String,
    /// The licence its publisher states.
    pub licence: Option<String>,
    /// Its publisher wants people to accept conditions first.
    pub gated: bool,
}

impl<S> Found<S> {
    /// A model of which nothing is known but its name.
    pub fn anonymous(source: S, title: &str) -> Self {
        Self {
            source,
            origin: Origin::default(),
            title: title.to_owned(),
            licence: None,
            gated: false,
        }
    }
}

/// Finds models.
pub trait Connect {
    /// Their bytes.
    type Source: Source + 'static;

    /// Finds one, which is as patient with its server from then on. `files` are those that came
    /// beside the request.
    fn connect(
        &self,
        wanted: &Wanted,
        files: Vec<(String, File)>,
        patience: Patience,
    ) -> impl Future<Output = Result<Found<Self::Source>, Problem>>;

    /// Bytes that a source has received over a network so far.
    fn received(source: &Self::Source) -> u64;
}

/// The web, hubs, and files that a person chose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Browser;

impl Connect for Browser {
    type Source = BrowserSource;

    async fn connect(
        &self,
        wanted: &Wanted,
        files: Vec<(String, File)>,
        patience: Patience,
    ) -> Result<Found<BrowserSource>, Problem> {
        let problem = |error| convert::source_problem(&error);
        match &wanted.source {
            ModelSource::Url { url } => {
                let folder = HttpFolder::new(url).map_err(problem)?;
                let source = BrowserSource::Folder(folder.with_patience(patience));
                Ok(Found::anonymous(source, &title(&wanted.source)))
            }
            ModelSource::Files => {
                let files = LocalFiles::new(files).map_err(problem)?;
                let source = BrowserSource::Local(files);
                Ok(Found::anonymous(source, &title(&wanted.source)))
            }
            ModelSource::Hub {
                base_url,
                repository,
                revision,
            } => {
                let hub = HubRepository::new(base_url, repository, revision).map_err(problem)?;
                let token = wanted.token.as_ref().map(|token| Token::new(&token.0));
                let token = token.transpose().map_err(|error| Problem {
                    kind: crate::protocol::ProblemKind::Token,
                    message: error.to_string(),
                })?;
                let pinned = hub.resolve(token, &patience).await;
                let pinned = pinned.map_err(problem)?;
                Ok(Found {
                    origin: Origin {
                        repository: Some(repository.clone()),
                        commit: Some(pinned.commit().to_owned()),
                    },
                    title: repository.clone(),
                    licence: pinned.licence().map(str::to_owned),
                    gated: pinned.is_gated(),
                    source: BrowserSource::Hub(pinned),
                })
            }
        }
    }

    fn received(source: &BrowserSource) -> u64 {
        source.received()
    }
}

/// What a model is called, by where it comes from.
pub(super) fn title(source: &ModelSource) -> String {
    match source {
        ModelSource::Hub { repository, .. } => repository.clone(),
        ModelSource::Files => "Files of this machine".to_owned(),
        ModelSource::Url { url } => {
            let path = url.split(['?', '#']).next().unwrap_or_default();
            let mut parts = path.trim_end_matches('/').rsplit('/');
            let last = parts.next().unwrap_or_default();
            match (last, parts.next()) {
                // A folder with such a name says nothing by itself.
                ("model" | "main", Some(before)) => format!("{before}/{last}"),
                ("", _) => url.clone(),
                _ => last.to_owned(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_called_by_the_end_of_their_address() {
        let of = |url: &str| {
            title(&ModelSource::Url {
                url: url.to_owned(),
            })
        };
        assert_eq!(of("https://a.b/models/paligemma-q4/"), "paligemma-q4");
        assert_eq!(of("https://a.b/models/paligemma-q4?x=1"), "paligemma-q4");
        assert_eq!(of("http://localhost:8080/demo/model"), "demo/model");
        assert_eq!(of(""), "");
    }
}
