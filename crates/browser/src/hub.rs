//! A model repository on a hub, pinned to a commit.
//!
//! A revision such as `main` may point elsewhere tomorrow, so it is resolved once: from then on
//! every address names the commit, and the commit's list of files says how long each is and, for
//! large ones, what its SHA-256 is.

mod listing;
mod names;

pub use listing::HubFile;

use std::collections::BTreeMap;
use std::ops::Range;

use paligemma_checkpoint::{Digest, Source, SourceError, check_path};

use self::listing::Listing;
use crate::http::{Address, HttpFolder, Location, Patience, Token, escape};

/// The hub that the published checkpoints are on.
pub const DEFAULT_HUB: &str = "https://huggingface.co";

/// The longest list of files that is read, in bytes.
const LONGEST_LISTING: usize = 16 << 20;

/// A repository by name, and one of its revisions.
#[derive(Clone, Debug)]
pub struct HubRepository {
    base: Address,
    name: String,
    revision: String,
}

impl HubRepository {
    /// The repository `name` (`google/paligemma2-3b-mix-224`) at `revision` (a branch, a tag or a
    /// commit) on the hub, or the mirror of it, at `base_url`. Nothing is fetched yet.
    ///
    /// # Errors
    /// [`SourceError::Blocked`] or [`SourceError::Refused`] when one of them is none.
    pub fn new(base_url: &str, name: &str, revision: &str) -> Result<Self, SourceError> {
        names::check_repository(name)?;
        names::check_revision(revision)?;
        if base_url.contains(['?', '#', '@']) {
            return Err(SourceError::Blocked {
                path: "the hub's address".to_owned(),
                reason: "it has more than a server and a path".to_owned(),
                remedy: format!("write it like {DEFAULT_HUB}"),
            });
        }
        Ok(Self {
            base: Address::parse(base_url)?,
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// `owner/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it was given.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The page for people, on which access to a gated repository is asked for.
    pub fn page(&self) -> String {
        self.url("").url
    }

    /// Asks the hub for the commit that the revision points to now, and for the list of its files.
    ///
    /// # Errors
    /// [`SourceError`] when the hub cannot be reached, does not know the repository or the
    /// revision, asks for a token, or answers what a hub does not.
    pub async fn resolve(
        &self,
        token: Option<Token>,
        patience: &Patience,
    ) -> Result<PinnedRepository, SourceError> {
        let connect = |address| {
            HttpFolder::at(address)
                .with_token(token.clone())
                .with_patience(patience.clone())
                .with_gate(self.page())
        };
        let revision = escape(&self.revision);
        let mut at = self.url(&format!("/revision/{revision}"));
        at.url = self.api(&at.url);
        at.shown.clone_from(&at.url);
        at.url.push_str("?blobs=true");
        let answer = match connect(self.base.clone()).whole(&at, LONGEST_LISTING).await {
            Err(SourceError::Missing { .. }) => Err(no_hub(
                &at,
                "there is no such repository or revision, or this server is no hub",
            )),
            answer => answer,
        }?;
        let listing = Listing::parse(&answer).map_err(|reason| no_hub(&at, &reason))?;
        listing
            .is_of(&self.revision)
            .map_err(|reason| no_hub(&at, &reason))?;
        let folder = Address::parse(&self.url(&format!("/resolve/{}", listing.commit)).url)?;
        let sizes = listing.files.iter().map(|(path, file)| (path, file.bytes));
        let folder = connect(folder).with_commit(&listing.commit, sizes);
        Ok(PinnedRepository {
            repository: self.clone(),
            listing,
            folder,
        })
    }

    /// What lies at `path` below the repository's own page.
    fn url(&self, path: &str) -> Location {
        let name: Vec<String> = self.name.split('/').map(escape).collect();
        let url = format!("{}{}{path}", self.base.folder(), name.join("/"));
        Location {
            path: String::new(),
            shown: url.clone(),
            url,
        }
    }

    /// The same below the hub's interface for programs.
    fn api(&self, url: &str) -> String {
        let base = self.base.folder();
        format!("{base}api/models/{}", url.trim_start_matches(base))
    }
}

/// A server that is asked as the hub is has to answer as the hub does.
fn no_hub(at: &Location, reason: &str) -> SourceError {
    SourceError::Blocked {
        path: at.shown.clone(),
        reason: reason.to_owned(),
        remedy: format!(
            "check the repository's name and revision; a mirror has to answer {} like the hub, \
             with JSON that has \"sha\" and, in \"siblings\", each file's \"rfilename\" and \"size\"",
            at.url
        ),
    }
}

/// The files of one commit of a repository.
pub struct PinnedRepository {
    repository: HubRepository,
    listing: Listing,
    folder: HttpFolder,
}

impl PinnedRepository {
    /// The repository it is a commit of.
    pub fn repository(&self) -> &HubRepository {
        &self.repository
    }

    /// The commit, 40 lower-case hexadecimal digits.
    pub fn commit(&self) -> &str {
        &self.listing.commit
    }

    /// The files, by path.
    pub fn files(&self) -> &BTreeMap<String, HubFile> {
        &self.listing.files
    }

    /// The licence's short name, where the repository's card has one: `gemma`.
    pub fn licence(&self) -> Option<&str> {
        self.listing.licence.as_deref()
    }

    /// Whether its files are given only to those who accepted its licence.
    pub fn is_gated(&self) -> bool {
        self.listing.gated
    }

    /// Bytes of its files that have arrived so far, those read again included.
    pub fn received(&self) -> u64 {
        self.folder.received()
    }
}

impl Source for PinnedRepository {
    /// By the commit's list: no request is needed.
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        check_path(path)?;
        Ok(self.listing.files.get(path).map(|file| file.bytes))
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        check_path(path)?;
        let Some(file) = self.listing.files.get(path) else {
            return Err(SourceError::Missing {
                path: format!("{path} of {}", self.repository.name),
            });
        };
        if range.end > file.bytes {
            return Err(SourceError::Short {
                path: path.to_owned(),
                wanted: range.end.saturating_sub(range.start),
                got: file.bytes.saturating_sub(range.start),
            });
        }
        self.folder.read(path, range).await
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        self.listing.files.get(path)?.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(base: &str, name: &str, revision: &str) -> Result<HubRepository, SourceError> {
        HubRepository::new(base, name, revision)
    }

    #[test]
    fn addresses_of_a_repository() {
        let hub = repository("https://hub.example/mirror/", "a/b.c", "refs/pr/1").unwrap();
        assert_eq!(hub.page(), "https://hub.example/mirror/a/b.c");
        assert_eq!(
            hub.api(&hub.url("/revision/refs%2Fpr%2F1").url),
            "https://hub.example/mirror/api/models/a/b.c/revision/refs%2Fpr%2F1"
        );
        let hub = repository(DEFAULT_HUB, "a/b", "main").unwrap();
        assert_eq!(
            hub.api(&hub.page()),
            "https://huggingface.co/api/models/a/b"
        );
    }

    #[test]
    fn what_is_no_hub_is_refused() {
        for base in [
            "",
            "huggingface.co",
            "file:///models",
            "https://a.b/?key=1",
            "https://a.b/#c",
            "https://me:secret@a.b",
        ] {
            let refused = repository(base, "a/b", "main");
            assert!(refused.is_err(), "{base}");
            assert!(!refused.unwrap_err().to_string().contains("secret"));
        }
        assert!(repository(DEFAULT_HUB, "a/../b", "main").is_err());
        assert!(repository(DEFAULT_HUB, "a/b", "..").is_err());
    }
}
