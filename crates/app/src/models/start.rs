//! Which model the page begins with.

use paligemma_browser::protocol::{KeptModel, Library, ModelSource};

/// What the page does first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Start {
    /// Load this model, which the person chose the last time.
    Kept(KeptModel),
    /// Load the demo model, unless this page brings another one by now.
    Demo(KeptModel),
    /// Fetch the demo model: no model is kept in full.
    FetchDemo,
    /// Load the demo model without keeping it; nothing can be kept, for this reason.
    Transient(String),
}

/// Chooses what to begin with: the model that was asked for by its key (to try it again), else
/// the one that was used last. `demo` is the demo model's address.
pub(crate) fn choose(library: &Library, demo: &str, asked_for: Option<&str>) -> Start {
    let whole = |model: &&KeptModel| model.complete && !model.unreadable;
    let mut models = library.models.iter().filter(whole);
    let asked_for =
        asked_for.and_then(|key| library.models.iter().filter(whole).find(|it| it.key == key));
    match asked_for.or_else(|| models.next()).cloned() {
        Some(model) if is_demo(model.source.as_ref(), demo) => Start::Demo(model),
        Some(model) => Start::Kept(model),
        None => match &library.cannot_keep {
            Some(why) => Start::Transient(why.clone()),
            None => Start::FetchDemo,
        },
    }
}

/// A model that a person began to fetch and that can go on at once: the one nearest to its end.
pub(crate) fn unfinished<'a>(library: &'a Library, demo: &str) -> Option<&'a KeptModel> {
    let can_go_on = |model: &&KeptModel| {
        !model.complete
            && !model.unreadable
            && can_fetch(model)
            && !is_demo(model.source.as_ref(), demo)
    };
    let missing = |model: &&KeptModel| model.store_bytes.saturating_sub(model.stored_bytes);
    library.models.iter().filter(can_go_on).min_by_key(missing)
}

/// Whether what is missing of a kept model can be fetched without asking where.
pub(crate) fn can_fetch(model: &KeptModel) -> bool {
    matches!(
        model.source,
        Some(ModelSource::Hub { .. } | ModelSource::Url { .. })
    )
}

/// Whether a source is the demo model's address, with or without the slash at its end.
pub(crate) fn is_demo(source: Option<&ModelSource>, demo: &str) -> bool {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    matches!(source, Some(ModelSource::Url { url }) if bare(url) == bare(demo))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &str = "http://localhost:8080/demo/model";

    fn kept(key: &str, url: &str, complete: bool) -> KeptModel {
        KeptModel {
            key: key.to_owned(),
            title: key.to_owned(),
            recipe: "q4".to_owned(),
            commit: None,
            source: Some(ModelSource::Url {
                url: url.to_owned(),
            }),
            adapter: None,
            complete,
            unreadable: false,
            store_bytes: 100,
            stored_bytes: if complete { 100 } else { 40 },
            last_used_ms: 0.0,
        }
    }

    fn library(models: Vec<KeptModel>) -> Library {
        Library {
            models,
            ..Library::default()
        }
    }

    #[test]
    fn the_model_used_last_is_loaded() {
        let (real, demo) = (
            kept("real", "https://a.b/m", true),
            kept("demo", DEMO, true),
        );
        let both = library(vec![real.clone(), demo.clone()]);
        assert_eq!(choose(&both, DEMO, None), Start::Kept(real.clone()));
        let both = library(vec![demo.clone(), real.clone()]);
        assert_eq!(choose(&both, DEMO, None), Start::Demo(demo.clone()));
        assert_eq!(choose(&both, DEMO, Some("real")), Start::Kept(real));
        assert_eq!(choose(&both, DEMO, Some("gone")), Start::Demo(demo));
    }

    #[test]
    fn a_part_of_a_model_cannot_be_loaded() {
        let part = library(vec![kept("real", "https://a.b/m", false)]);
        assert_eq!(choose(&part, DEMO, Some("real")), Start::FetchDemo);
        let mut unreadable = kept("real", "https://a.b/m", true);
        unreadable.unreadable = true;
        assert_eq!(
            choose(&library(vec![unreadable]), DEMO, None),
            Start::FetchDemo
        );
        assert_eq!(choose(&library(Vec::new()), DEMO, None), Start::FetchDemo);
    }

    #[test]
    fn where_nothing_can_be_kept_the_demo_is_loaded() {
        let mut nothing = library(Vec::new());
        nothing.cannot_keep = Some("a private window".to_owned());
        let start = Start::Transient("a private window".to_owned());
        assert_eq!(choose(&nothing, DEMO, None), start);
    }

    #[test]
    fn the_demo_is_known_by_its_address() {
        let at = |url: &str| ModelSource::Url {
            url: url.to_owned(),
        };
        assert!(is_demo(Some(&at(DEMO)), DEMO));
        assert!(is_demo(Some(&at(&format!("{DEMO}/"))), DEMO));
        assert!(!is_demo(Some(&at("https://a.b/demo/model")), DEMO));
        assert!(!is_demo(Some(&ModelSource::Files), DEMO));
        assert!(!is_demo(None, DEMO));
    }

    #[test]
    fn what_can_go_on_is_offered() {
        let mut files = kept("files", "", false);
        files.source = Some(ModelSource::Files);
        files.stored_bytes = 99;
        let mut nearly = kept("nearly", "https://a.b/n", false);
        nearly.stored_bytes = 90;
        let library = library(vec![
            kept("whole", "https://a.b/w", true),
            kept("demo", DEMO, false),
            files,
            kept("begun", "https://a.b/m", false),
            nearly,
        ]);
        let key = unfinished(&library, DEMO).map(|model| model.key.as_str());
        assert_eq!(key, Some("nearly"));
    }
}
