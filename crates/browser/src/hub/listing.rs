//! What a hub says of one revision of a repository, checked.

use std::collections::BTreeMap;

use paligemma_checkpoint::{Digest, check_path};
use serde::Deserialize;
use serde_json::Value;

/// More files than any repository of a model has.
const MOST_FILES: usize = 100_000;

/// A longer file is none: 1 TiB, more than the disks that it would be kept on.
const LONGEST_FILE: u64 = 1 << 40;

/// A file of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, which hubs know of large files only.
    pub digest: Option<Digest>,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// 40 lower-case hexadecimal digits.
    pub(super) commit: String,
    pub(super) files: BTreeMap<String, HubFile>,
    pub(super) licence: Option<String>,
    pub(super) gated: bool,
}

/// The parts of the answer that matter. What only informs is a `Value`, so that a mirror that
/// writes it otherwise is still of use.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
    #[serde(default)]
    gated: Value,
    #[serde(default, rename = "cardData")]
    card: Value,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Reads an answer to `/api/models/{name}/revision/{revision}?blobs=true`; the error is a
    /// reason.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let answer: Answer = serde_json::from_slice(json)
            .map_err(|error| format!("the answer is not what a hub says of a model ({error})"))?;
        let commit = answer.sha.to_ascii_lowercase();
        if !is_commit(&commit) {
            return Err("the \"sha\" is not 40 hexadecimal digits".to_owned());
        }
        if answer.siblings.len() > MOST_FILES {
            return Err(format!("it lists more than {MOST_FILES} files"));
        }
        let mut files = BTreeMap::new();
        for sibling in answer.siblings {
            // A name that no checkpoint can ask for is of no use, and of no harm.
            if check_path(&sibling.rfilename).is_err() {
                continue;
            }
            let file = sibling.file()?;
            if files.insert(sibling.rfilename.clone(), file).is_some() {
                return Err(format!("{:?} is listed twice", sibling.rfilename));
            }
        }
        let licence = answer.card.get("license").and_then(Value::as_str);
        Ok(Self {
            commit,
            files,
            licence: licence.map(|name| name.chars().take(64).collect()),
            // `false`, or how access is given: "auto", "manual".
            gated: !matches!(answer.gated, Value::Null | Value::Bool(false)),
        })
    }

    /// Refuses another commit than the one that was asked for by its own name.
    pub(super) fn is_of(&self, revision: &str) -> Result<(), String> {
        let revision = revision.to_ascii_lowercase();
        if !is_commit(&revision) || revision == self.commit {
            return Ok(());
        }
        Err(format!(
            "the answer is about commit {} where {revision} was asked for",
            self.commit
        ))
    }
}

impl Sibling {
    fn file(&self) -> Result<HubFile, String> {
        let name = &self.rfilename;
        let large = self.lfs.as_ref();
        let bytes = match (self.size, large.and_then(|lfs| lfs.size)) {
            (Some(a), Some(b)) if a != b => {
                return Err(format!("{name:?} is listed with two lengths"));
            }
            (Some(bytes), _) | (None, Some(bytes)) => bytes,
            (None, None) => return Err(format!("{name:?} is listed without a length")),
        };
        if bytes > LONGEST_FILE {
            return Err(format!("{name:?} is listed with {bytes} bytes"));
        }
        let digest = large.and_then(|lfs| lfs.sha256.as_deref()).map(|text| {
            text.parse()
                .map_err(|error| format!("{name:?}: it {error}"))
        });
        Ok(HubFile {
            bytes,
            digest: digest.transpose()?,
        })
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// The shape of the hub's own answer, with what we do not read.
    fn answer() -> Value {
        json!({
            "_id": "6", "id": "google/x", "modelId": "google/x", "author": "google",
            "sha": SHA, "private": false, "gated": "manual", "disabled": false,
            "tags": ["transformers"], "downloads": 1, "likes": 1,
            "cardData": { "license": "gemma", "library_name": "transformers" },
            "siblings": [
                { "rfilename": ".gitattributes", "size": 1570, "blobId": "a" },
                { "rfilename": "model-00001-of-00002.safetensors", "size": 4_986_817_288u64,
                  "blobId": "b",
                  "lfs": { "sha256": SHA256, "size": 4_986_817_288u64, "pointerSize": 135 } },
                { "rfilename": "a/../../b", "size": 1 },
            ],
            "usedStorage": 1
        })
    }

    fn parse(value: &Value) -> Result<Listing, String> {
        Listing::parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_hubs_answer() {
        let listing = parse(&answer()).unwrap();
        assert_eq!(listing.commit, SHA);
        assert_eq!(listing.licence.as_deref(), Some("gemma"));
        assert!(listing.gated);
        let files: Vec<_> = listing.files.iter().collect();
        let large = HubFile {
            bytes: 4_986_817_288,
            digest: Some(SHA256.parse().unwrap()),
        };
        let small = HubFile {
            bytes: 1570,
            digest: None,
        };
        assert_eq!(
            files,
            [
                (&".gitattributes".to_owned(), &small),
                (&"model-00001-of-00002.safetensors".to_owned(), &large)
            ]
        );
    }

    #[test]
    fn a_mirror_may_say_less() {
        let listing = parse(&json!({
            "sha": SHA.to_uppercase(),
            "siblings": [{ "rfilename": "a", "size": 0 }, { "rfilename": "b", "lfs": { "size": 2 } }],
        }));
        let listing = listing.unwrap();
        assert_eq!((listing.commit.as_str(), listing.gated), (SHA, false));
        assert_eq!(listing.files["b"].bytes, 2);
        assert_eq!(listing.licence, None);
        let mut open = answer();
        open["gated"] = json!(false);
        assert!(!parse(&open).unwrap().gated);
    }

    #[test]
    fn nonsense_is_refused() {
        for (path, value, word) in [
            ("/sha", json!("main"), "sha"),
            ("/sha", json!("g".repeat(40)), "sha"),
            ("/sha", json!(null), "not what a hub says"),
            ("/siblings", json!({}), "not what a hub says"),
            ("/siblings/0/size", json!(null), "without a length"),
            ("/siblings/0/size", json!(-1), "not what a hub says"),
            ("/siblings/0/size", json!(1u64 << 41), "bytes"),
            (
                "/siblings/0/rfilename",
                json!("model-00001-of-00002.safetensors"),
                "twice",
            ),
            ("/siblings/1/size", json!(5), "two lengths"),
            ("/siblings/1/lfs/sha256", json!("abc"), "SHA-256"),
        ] {
            let mut broken = answer();
            *broken.pointer_mut(path).unwrap() = value;
            let reason = parse(&broken).unwrap_err();
            assert!(reason.contains(word), "{path}: {reason}");
        }
        for json in ["", "<!doctype html>", "[]", "{}", "{\"error\":\"no\"}"] {
            assert!(Listing::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn a_commit_is_the_one_that_was_asked_for() {
        let listing = parse(&answer()).unwrap();
        assert_eq!(listing.is_of("main"), Ok(()));
        assert_eq!(listing.is_of(SHA), Ok(()));
        assert!(listing.is_of(&"f".repeat(40)).is_err());
    }
}
