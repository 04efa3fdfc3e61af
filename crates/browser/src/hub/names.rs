//! Which names a repository and a revision can have.

use paligemma_checkpoint::SourceError;

/// The hub's own limit for a repository's name with its owner.
const LONGEST_NAME: usize = 96 + 1 + 96;

/// Longer than any branch or tag that people name.
const LONGEST_REVISION: usize = 255;

/// Refuses what is no `owner/name` (or, of the hub's first days, `name`), so that no name can lead
/// to another part of the server.
pub(super) fn check_repository(name: &str) -> Result<(), SourceError> {
    let legal = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("..")
            && !part.contains("--")
    };
    if name.len() <= LONGEST_NAME && name.split('/').count() <= 2 && name.split('/').all(legal) {
        return Ok(());
    }
    Err(blocked(
        "the repository's name",
        name,
        "write it as owner/name, like google/paligemma2-3b-mix-224",
    ))
}

/// Refuses what git would not take as the name of a branch or a tag (`git check-ref-format`).
pub(super) fn check_revision(revision: &str) -> Result<(), SourceError> {
    let legal = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.ends_with(".lock")
    };
    let characters = |c: char| !c.is_control() && !c.is_whitespace() && !"~^:?*[\\#%".contains(c);
    if revision.len() <= LONGEST_REVISION
        && revision.split('/').all(legal)
        && revision.chars().all(characters)
        && !revision.contains("..")
        && !revision.contains("@{")
        && !revision.starts_with('-')
        && revision != "@"
    {
        return Ok(());
    }
    Err(blocked(
        "the revision",
        revision,
        "write a branch, a tag or a commit, like main",
    ))
}

fn blocked(what: &str, given: &str, remedy: &str) -> SourceError {
    let given: String = given.chars().take(96).collect();
    SourceError::Blocked {
        path: format!("{what} {given:?}"),
        reason: "it is none that a hub has".to_owned(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories() {
        for name in ["google/paligemma2-3b-mix-224", "gpt2", "a_b/c.d", "0/1"] {
            assert_eq!(check_repository(name), Ok(()), "{name}");
        }
        let long = "a".repeat(LONGEST_NAME + 1);
        for name in [
            "", "/", "a/", "/b", "a/b/c", "a//b", "..", "a/..", "../b", "a/.b", "a/b.", "-a/b",
            "a/b-", "a b/c", "a/b?c", "a/b#c", "a/b%2e", "a\\b", "a/b\n", "ä/b", "a/b..c",
            "a/b--c", "a:b/c", "a@b/c", &long,
        ] {
            assert!(check_repository(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn names_of_revisions() {
        for revision in [
            "main",
            "bfloat16",
            "refs/pr/12",
            "v1.0",
            "feature/a+b",
            "0123456789abcdef0123456789abcdef01234567",
            "größe",
        ] {
            assert_eq!(check_revision(revision), Ok(()), "{revision}");
        }
        let long = "a".repeat(LONGEST_REVISION + 1);
        for revision in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../main", "a..b", ".hidden", "a/.b",
            "a.", "a.lock", "a b", "a\tb", "a\n", "a?b", "a#b", "a%2fb", "a:b", "a\\b", "a~1",
            "a^", "a[b", "a*", "a@{1}", "@", "-a", &long,
        ] {
            assert!(check_revision(revision).is_err(), "{revision:?}");
        }
    }

    #[test]
    fn a_message_says_what_to_write() {
        let message = check_repository("a b").unwrap_err().to_string();
        assert!(
            message.contains("\"a b\"") && message.contains("owner/name"),
            "{message}"
        );
    }
}
