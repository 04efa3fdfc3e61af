//! From a folder's URL and a path in it to the URL of a file.

use paligemma_checkpoint::{SourceError, check_path};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a segment of a path: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A folder.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// Ends with `/`.
    folder: String,
    /// Empty, or `?` and what follows: some servers carry a token there.
    query: String,
}

/// A file in it.
#[derive(Debug)]
pub(crate) struct Location {
    /// Within the folder.
    pub(crate) path: String,
    /// What is fetched.
    pub(crate) url: String,
    /// What messages name: the URL without its query, which may hold a secret.
    pub(crate) shown: String,
}

impl Address {
    /// Takes an absolute URL as the browser normalizes it.
    pub(crate) fn parse(url: &str) -> Result<Self, SourceError> {
        let rest = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#'])) {
            return Err(SourceError::Refused {
                path: url.chars().take(200).collect(),
                reason: "is not an http:// or https:// address",
            });
        }
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        let (folder, query) = match url.split_once('?') {
            Some((folder, query)) => (folder, format!("?{query}")),
            None => (url, String::new()),
        };
        let folder = format!("{}/", folder.trim_end_matches('/'));
        Ok(Self { folder, query })
    }

    /// Its URL, which ends with `/` and has no query.
    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    /// The file `path` in the folder.
    ///
    /// # Errors
    /// [`SourceError::Refused`] when the path could lead out of the folder.
    pub(crate) fn locate(&self, path: &str) -> Result<Location, SourceError> {
        check_path(path)?;
        let segments: Vec<String> = path.split('/').map(escape).collect();
        let shown = format!("{}{}", self.folder, segments.join("/"));
        let url = format!("{shown}{}", self.query);
        Ok(Location {
            path: path.to_owned(),
            url,
            shown,
        })
    }
}

/// A name as one segment of a URL's path: even its slashes are part of it.
pub(crate) fn escape(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_in_the_folder() {
        for (folder, path, url) in [
            ("https://a.b/m", "config.json", "https://a.b/m/config.json"),
            ("https://a.b/m/", "x/y.bin", "https://a.b/m/x/y.bin"),
            ("http://localhost:8080", "a", "http://localhost:8080/a"),
            (
                "https://a.b/m?token=1#top",
                "a b.json",
                "https://a.b/m/a%20b.json?token=1",
            ),
            (
                "https://a.b/m",
                "ß&=+.json",
                "https://a.b/m/%C3%9F%26%3D%2B.json",
            ),
        ] {
            let address = Address::parse(folder).unwrap();
            assert_eq!(address.locate(path).unwrap().url, url);
        }
    }

    #[test]
    fn a_query_is_sent_but_not_shown() {
        let at = Address::parse("https://a.b/m?token=1")
            .unwrap()
            .locate("c")
            .unwrap();
        assert_eq!(at.shown, "https://a.b/m/c");
    }

    #[test]
    fn what_leaves_the_folder_is_refused() {
        let address = Address::parse("https://a.b/m/").unwrap();
        for path in [
            "../x",
            "a/../../x",
            "/x",
            "https://c.d/x",
            "",
            "a//b",
            "%2e%2e/x",
            "x?y",
        ] {
            let refused = address.locate(path);
            assert!(
                matches!(refused, Err(SourceError::Refused { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn only_web_addresses_are_folders() {
        for url in [
            "",
            "demo/model",
            "file:///etc",
            "javascript:1",
            "https://",
            "http:///x",
        ] {
            assert!(
                matches!(Address::parse(url), Err(SourceError::Refused { .. })),
                "{url}"
            );
        }
    }
}
