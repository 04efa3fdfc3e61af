//! The adapter that a request wants merged into its model.

use paligemma_checkpoint::{LoraAdapter, Source};
use paligemma_engine::EngineError;
use web_sys::File;

use super::connect::{Connect, Found};
use super::convert;
use crate::http::Patience;
use crate::protocol::{ADAPTER_FILES, ModelSource, Problem, Wanted};

/// The model's files, and the adapter's without what tells them apart.
pub(super) type Sorted = (Vec<(String, File)>, Vec<(String, File)>);

/// Sorts the files that came beside a request.
pub(super) fn sorted(files: Vec<(String, File)>) -> Sorted {
    let (mut models, mut adapters) = (Vec::new(), Vec::new());
    for (path, file) in files {
        match path.strip_prefix(ADAPTER_FILES) {
            Some(path) => adapters.push((path.to_owned(), file)),
            None => models.push((path, file)),
        }
    }
    (models, adapters)
}

/// Finds and opens the adapter, if one is wanted; `files` are the adapter's.
pub(super) async fn open<C: Connect>(
    connect: &C,
    wanted: &Wanted,
    files: Vec<(String, File)>,
    patience: Patience,
) -> Result<Option<LoraAdapter<C::Source>>, Problem> {
    let Some(source) = wanted.adapter.clone() else {
        return Ok(None);
    };
    let wanted = Wanted {
        token: wanted.token.clone().filter(|_| may_know(wanted, &source)),
        source,
        recipe: wanted.recipe.clone(),
        adapter: None,
    };
    let Found { source, origin, .. } = connect.connect(&wanted, files, patience).await?;
    let adapter = LoraAdapter::open(source, origin).await;
    adapter.map(Some).map_err(convert::checkpoint_problem)
}

/// Whether the token of a request is for the adapter's hub as well: it goes to the hub that it was
/// given for and to no other.
fn may_know(wanted: &Wanted, adapter: &ModelSource) -> bool {
    let hub = |source: &ModelSource| match source {
        ModelSource::Hub { base_url, .. } => Some(base_url.trim_end_matches('/').to_owned()),
        _ => None,
    };
    match (hub(&wanted.source), hub(adapter)) {
        (Some(model), Some(adapter)) => model == adapter,
        // It was given for this one: the model's own source has no use for it.
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

/// A packed model takes no adapter.
pub(super) fn refuse_packed<S: Source>(adapter: Option<&LoraAdapter<S>>) -> Result<(), Problem> {
    match adapter {
        Some(_) => Err(convert::problem(&EngineError::AdapterForPacked)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Token;

    #[test]
    fn a_token_goes_to_its_own_hub_alone() {
        let hub = |base_url: &str| ModelSource::Hub {
            base_url: base_url.to_owned(),
            repository: "me/mine".to_owned(),
            revision: "main".to_owned(),
        };
        let wanted = |source| Wanted {
            source,
            token: Some(Token("secret".to_owned())),
            ..Wanted::folder("x")
        };
        let model = wanted(hub("https://a.b/"));
        assert!(may_know(&model, &hub("https://a.b")));
        assert!(!may_know(&model, &hub("https://c.d")));
        let url = "https://a.b/x".to_owned();
        assert!(!may_know(&model, &ModelSource::Url { url }));
        assert!(!may_know(&model, &ModelSource::Files));
        assert!(may_know(&wanted(ModelSource::Files), &hub("https://a.b")));
    }
}
