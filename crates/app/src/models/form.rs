//! Where a person says that a model comes from.

use paligemma_browser::protocol::ModelSource;

use super::{published, recipe};

/// The hub that the published checkpoints are on.
pub(crate) const HUB: &str = "https://huggingface.co";

/// Which of the three kinds of sources is on show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A repository on a hub.
    Hub,
    /// A folder on any web server.
    Folder,
    /// Files on this machine.
    Files,
}

impl Origin {
    /// All, in the order of their buttons.
    pub(crate) const ALL: [Origin; 3] = [Origin::Hub, Origin::Folder, Origin::Files];

    /// The words on its button.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Origin::Hub => "From a hub",
            Origin::Folder => "From an address",
            Origin::Files => "From this machine",
        }
    }

    /// Its name in the page.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Origin::Hub => "hub",
            Origin::Folder => "folder",
            Origin::Files => "files",
        }
    }
}

/// What stands in the fields. A token is not among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Which fields count.
    pub(crate) origin: Origin,
    /// `owner/name`
    pub(crate) repository: String,
    /// Branch, tag or commit.
    pub(crate) revision: String,
    /// The hub's address.
    pub(crate) base_url: String,
    /// A hub that the page's address named, or a kept model: not one to begin with the next time.
    pub(crate) visited_hub: Option<String>,
    /// A folder's address.
    pub(crate) folder_url: String,
    /// The recipe's name.
    pub(crate) recipe: String,
    /// An adapter's repository or address.
    pub(crate) adapter: String,
    /// How many of an adapter's files are chosen.
    pub(crate) adapter_files: usize,
}

/// A field that keeps the form from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The field's id.
    pub(crate) field: &'static str,
    /// What is wrong and what to do.
    pub(crate) message: &'static str,
}

impl Form {
    /// The form as it is at first.
    pub(crate) fn new(base_url: Option<String>) -> Self {
        let first = published::all().next();
        let first = first.map(|it| (it.repository(), it.best_revision().to_owned()));
        let (repository, revision) = first.unwrap_or_default();
        Self {
            origin: Origin::Hub,
            repository,
            revision,
            base_url: base_url.unwrap_or_else(|| HUB.to_owned()),
            visited_hub: None,
            folder_url: String::new(),
            recipe: recipe::DEFAULT.to_owned(),
            adapter: String::new(),
            adapter_files: 0,
        }
    }

    /// Takes over what the page's address says: `?model=URL` or `?hub=URL&repo=NAME&revision=NAME`.
    /// Says whether there was anything.
    pub(crate) fn fill(&mut self, parameter: impl Fn(&str) -> Option<String>) -> bool {
        let said = |name: &str| {
            let value = parameter(name)?.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        if let Some(url) = said("model") {
            self.origin = Origin::Folder;
            self.folder_url = url;
            return true;
        }
        let (hub, repository, revision) = (said("hub"), said("repo"), said("revision"));
        let any = hub.is_some() || repository.is_some();
        if any {
            self.origin = Origin::Hub;
        }
        if let Some(hub) = hub {
            self.base_url.clone_from(&hub);
            self.visited_hub = Some(hub);
        }
        if let Some(repository) = repository {
            self.name(&repository);
        }
        if let Some(revision) = revision.filter(|_| any) {
            self.revision = revision;
        }
        any
    }

    /// The hub to begin with on the next visit, if the person named one here: a link that somebody
    /// sent must not turn all later visits to another hub.
    pub(crate) fn own_hub(&self) -> Option<&str> {
        let bare = |url: &str| url.trim().trim_end_matches('/').to_owned();
        let hub = self.base_url.trim();
        let visited = self.visited_hub.as_deref().map(bare);
        // A name and a password are not for keeping.
        let is_own = self.origin == Origin::Hub && visited != Some(bare(hub)) && !hub.contains('@');
        is_own.then_some(hub)
    }

    /// Puts another repository into the form; its revision becomes the best one, unless the person
    /// has chosen another than those that the page suggests. A link to a model's page is taken
    /// apart.
    pub(crate) fn name(&mut self, repository: &str) {
        let (repository, revision) = take_apart(repository);
        self.repository = repository.to_owned();
        let suggested = ["", "main", published::HALF_BRANCH].contains(&self.revision.trim());
        if let Some(revision) = revision {
            self.revision = revision.to_owned();
        } else if suggested {
            let known = published::named(repository);
            self.revision = known.map_or("main", |it| it.best_revision()).to_owned();
        }
    }

    /// Puts a source into the fields.
    pub(crate) fn show(&mut self, source: &ModelSource, recipe: &str) {
        match source {
            ModelSource::Hub {
                base_url,
                repository,
                revision,
            } => {
                self.origin = Origin::Hub;
                self.base_url.clone_from(base_url);
                self.visited_hub = Some(base_url.clone());
                self.repository.clone_from(repository);
                self.revision.clone_from(revision);
            }
            ModelSource::Url { url } => {
                self.origin = Origin::Folder;
                self.folder_url.clone_from(url);
            }
            ModelSource::Files => self.origin = Origin::Files,
        }
        if recipe::named(recipe).is_some() {
            recipe.clone_into(&mut self.recipe);
        }
    }

    /// The source that the form describes.
    ///
    /// # Errors
    /// The first field that has to be filled in.
    pub(crate) fn source(&self, has_files: bool) -> Result<ModelSource, Refusal> {
        let filled = |value: &str, field, message| {
            let value = value.trim();
            if value.is_empty() {
                Err(Refusal { field, message })
            } else {
                Ok(value.to_owned())
            }
        };
        match self.origin {
            Origin::Hub => Ok(ModelSource::Hub {
                repository: filled(
                    &self.repository,
                    "hub-repository",
                    "No repository is named: choose one, or write owner/name.",
                )?,
                revision: filled(
                    &self.revision,
                    "hub-revision",
                    "No revision is named: write main, or a branch, tag or commit.",
                )?,
                base_url: filled(
                    &self.base_url,
                    "hub-base-url",
                    "The hub has no address: write https://huggingface.co, or a mirror’s.",
                )?,
            }),
            Origin::Folder => Ok(ModelSource::Url {
                url: filled(
                    &self.folder_url,
                    "packed-url",
                    "No address is given: write that of a folder with a model in it.",
                )?,
            }),
            Origin::Files if has_files => Ok(ModelSource::Files),
            Origin::Files => Err(Refusal {
                field: "model-files",
                message: "No files are chosen: choose a model’s files, or the folder they lie in.",
            }),
        }
    }
}

/// The page of a repository, where its conditions are accepted.
pub(crate) fn repository_page(base_url: &str, repository: &str) -> Option<String> {
    let base_url = base_url.trim().trim_end_matches('/');
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_address = base_url.starts_with("https://") || base_url.starts_with("http://");
    (is_address && !repository.is_empty() && repository.chars().all(safe))
        .then(|| format!("{base_url}/{repository}"))
}

/// `owner/name`, and the revision, of what may be a link to a repository's page.
pub(super) fn take_apart(text: &str) -> (&str, Option<&str>) {
    let text = text.trim();
    let Some((_, after)) = text.split_once("://") else {
        return (text, None);
    };
    let Some((_, path)) = after.split_once('/') else {
        return (text, None);
    };
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let path = path.trim_end_matches('/');
    match path.split_once("/tree/") {
        Some((repository, revision)) => (repository, Some(revision)),
        None => (path, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(address: &[(&str, &str)]) -> (Form, bool) {
        let mut form = Form::new(None);
        let any = form.fill(|name| {
            let found = address.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        (form, any)
    }

    #[test]
    fn the_first_form_asks_for_the_model_most_people_want() {
        let hub = ModelSource::Hub {
            base_url: "https://huggingface.co".to_owned(),
            repository: "google/paligemma2-3b-mix-224".to_owned(),
            revision: "main".to_owned(),
        };
        assert_eq!(Form::new(None).source(false), Ok(hub));
    }

    #[test]
    fn an_empty_field_is_named() {
        let field = |form: &Form| form.source(false).map_err(|refusal| refusal.field);
        let mut form = Form::new(None);
        form.repository = "  ".to_owned();
        assert_eq!(field(&form), Err("hub-repository"));
        form.origin = Origin::Folder;
        assert_eq!(field(&form), Err("packed-url"));
        form.origin = Origin::Files;
        assert_eq!(field(&form), Err("model-files"));
        assert_eq!(form.source(true), Ok(ModelSource::Files));
    }

    #[test]
    fn the_address_fills_the_form() {
        let (form, any) = filled(&[("model", " https://a.b/packed/ ")]);
        assert!(any);
        let url = "https://a.b/packed/".to_owned();
        assert_eq!(form.source(false), Ok(ModelSource::Url { url }));

        let (form, any) = filled(&[("hub", "http://localhost:9"), ("repo", "me/mine")]);
        assert!(any);
        let hub = ModelSource::Hub {
            base_url: "http://localhost:9".to_owned(),
            repository: "me/mine".to_owned(),
            revision: "main".to_owned(),
        };
        assert_eq!(form.source(false), Ok(hub));

        for nothing in [&[("seed", "7")][..], &[("revision", "x")], &[("model", "")]] {
            assert_eq!(filled(nothing), (Form::new(None), false));
        }
    }

    #[test]
    fn a_hub_in_the_address_is_for_this_visit() {
        let mut form = Form::new(None);
        assert_eq!(form.own_hub(), Some(HUB));
        form.base_url = " https://mirror.example ".to_owned();
        assert_eq!(form.own_hub(), Some("https://mirror.example"));
        form.base_url = "https://me:secret@mirror.example".to_owned();
        assert_eq!(form.own_hub(), None);

        let (mut form, _) = filled(&[("hub", "https://other.example/"), ("repo", "me/mine")]);
        assert_eq!(form.own_hub(), None);
        form.base_url = "https://other.example".to_owned();
        assert_eq!(form.own_hub(), None);
        // Typed by the person.
        form.base_url = "https://mirror.example".to_owned();
        assert_eq!(form.own_hub(), Some("https://mirror.example"));
        form.origin = Origin::Files;
        assert_eq!(form.own_hub(), None);
    }

    #[test]
    fn paligemma_1_is_read_from_its_smaller_branch() {
        let mut form = Form::new(None);
        form.name("google/paligemma-3b-mix-224");
        assert_eq!(form.revision, "bfloat16");
        form.name("google/paligemma2-3b-mix-448");
        assert_eq!(form.revision, "main");
        form.revision = "v1".to_owned();
        form.name("google/paligemma-3b-mix-224");
        assert_eq!(form.revision, "v1");
    }

    #[test]
    fn links_are_taken_apart() {
        let mut form = Form::new(None);
        form.name("https://huggingface.co/me/mine/tree/dev?x=1");
        assert_eq!((&*form.repository, &*form.revision), ("me/mine", "dev"));
        assert_eq!(
            take_apart("https://huggingface.co/me/mine/"),
            ("me/mine", None)
        );
        assert_eq!(take_apart(" me/mine "), ("me/mine", None));
        assert_eq!(take_apart("https://"), ("https://", None));
    }

    #[test]
    fn only_addresses_become_links() {
        let page = repository_page(HUB, "me/mine");
        assert_eq!(page.as_deref(), Some("https://huggingface.co/me/mine"));
        assert_eq!(repository_page("javascript:alert(1)", "me/mine"), None);
        assert_eq!(repository_page(HUB, "me/mine?x"), None);
        assert_eq!(repository_page(HUB, ""), None);
    }
}
