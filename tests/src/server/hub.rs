//! A repository as a hub serves it: a list of files by revision, and the files by commit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::content::Content;

/// A repository of a model. `/api/models/{name}/revision/{revision}` lists its files,
/// `/{name}/resolve/{commit}/{path}` has them.
#[derive(Clone)]
pub struct Repository {
    name: String,
    commit: String,
    /// The branch `main` points to it.
    is_main: bool,
    files: BTreeMap<String, Content>,
    licence: String,
    token: Option<String>,
    elsewhere: Option<String>,
}

/// What a request of a hub is about.
pub(super) enum Wanted<'a> {
    /// The list of files, with their lengths or without.
    List,
    File(&'a str),
}

impl Repository {
    /// `owner/name` at a commit, to which the branch `main` points.
    pub fn new(name: &str, commit: &str) -> Self {
        Self {
            name: name.to_owned(),
            commit: commit.to_owned(),
            is_main: true,
            files: BTreeMap::new(),
            licence: "gemma".to_owned(),
            token: None,
            elsewhere: None,
        }
    }

    /// Adds a file.
    #[must_use]
    pub fn with(mut self, path: &str, content: impl Into<Content>) -> Self {
        self.files.insert(path.to_owned(), content.into());
        self
    }

    /// Adds the files of a folder, not of those in it.
    #[must_use]
    pub fn with_folder(mut self, folder: &Path) -> Self {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_str().unwrap();
                self = self.with(name, Content::file(&path));
            }
        }
        self
    }

    /// Gives its files, not its list, only to who sends this access token.
    #[must_use]
    pub fn gated_by(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Redirects requests for large files to the same path below this URL, as a hub does to its
    /// delivery network; that server takes no token and needs the same
    /// [files](super::Server::put) at `/{name}/resolve/{commit}/{path}`.
    #[must_use]
    pub fn delivered_by(mut self, url: &str) -> Self {
        self.elsewhere = Some(url.to_owned());
        self
    }

    /// The path at which a server has one of the files.
    pub fn path_of(&self, file: &str) -> String {
        format!("/{}/resolve/{}/{file}", self.name, self.commit)
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Content)> {
        let files = self.files.iter();
        files.map(|(path, content)| (path.as_str(), content))
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// The branch `main` points to another commit of the same repository.
    pub(super) fn give_way_to(&mut self, other: &Self) {
        if self.name == other.name {
            self.is_main = false;
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(super) fn content(&self, file: &str) -> Option<&Content> {
        self.files.get(file)
    }

    pub(super) fn elsewhere(&self, file: &str) -> Option<&str> {
        self.elsewhere.as_deref().filter(|_| is_large(file))
    }

    /// What `path` (`/…`, percent-encoding resolved) asks of this repository.
    pub(super) fn wants<'a>(&self, path: &'a str) -> Option<Wanted<'a>> {
        let revision = |given: &str| (given == "main" && self.is_main) || given == self.commit;
        let list = format!("/api/models/{}/revision/", self.name);
        if let Some(given) = path.strip_prefix(&list) {
            return revision(given).then_some(Wanted::List);
        }
        let rest = path.strip_prefix(&format!("/{}/resolve/", self.name))?;
        let (given, file) = rest.split_once('/')?;
        revision(given).then_some(Wanted::File(file))
    }

    /// The list, in the shape of Hugging Face's.
    pub(super) fn list(&self, blobs: bool) -> Value {
        let files = self.files.iter().map(|(path, content)| {
            let mut file = json!({ "rfilename": path });
            if blobs {
                file["size"] = content.len().into();
                if let Some(sha256) = content.sha256().filter(|_| is_large(path)) {
                    let sha256 = sha256.iter().fold(String::new(), |mut text, byte| {
                        let _ = write!(text, "{byte:02x}");
                        text
                    });
                    file["lfs"] =
                        json!({ "sha256": sha256, "size": content.len(), "pointerSize": 134 });
                }
            }
            file
        });
        json!({
            "id": self.name,
            "modelId": self.name,
            "sha": self.commit,
            "private": false,
            "gated": if self.token.is_some() { json!("manual") } else { json!(false) },
            "cardData": { "license": self.licence },
            "siblings": files.collect::<Vec<_>>(),
        })
    }
}

/// What a hub keeps apart from git.
fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors") || file.ends_with("tokenizer.json")
}
