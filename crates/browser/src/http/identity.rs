//! What tells one version of a file from another, so that two are never mixed.

use super::verdict::{Head, Refusal, total_bytes};

/// What has to stay the same while a source is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    /// Each file, whatever its version was at first.
    FirstSeen,
    /// The files of a commit (40 hexadecimal digits). The address names the commit, so lengths
    /// have to agree; validators do not count, because a hub's delivery network makes them up
    /// from one server to the next.
    Commit(String),
}

/// What is known of a file, from its first answer on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) bytes: Option<u64>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Identity {
    /// Of a file whose length a list says.
    pub(super) fn sized(bytes: u64) -> Self {
        Self {
            bytes: Some(bytes),
            ..Self::default()
        }
    }

    /// The `ETag`, or else the time of the last change, if the server lets them be seen.
    pub(super) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().or(self.last_modified.as_deref())
    }

    /// Adds what an answer with status 200 or 206 says.
    ///
    /// # Errors
    /// [`Refusal::Changed`] when it says otherwise than before.
    pub(super) fn meet(&mut self, head: &Head, pin: &Pin) -> Result<(), Refusal> {
        let seen = Self::of(head);
        if let (Some(before), Some(now)) = (self.bytes, seen.bytes)
            && before != now
        {
            return Err(Refusal::Changed(format!("{now} bytes instead of {before}")));
        }
        match pin {
            Pin::Commit(commit) => {
                let other = head.repo_commit.as_deref().map(str::trim);
                if let Some(other) = other.filter(|other| !other.eq_ignore_ascii_case(commit)) {
                    let other: String = other.chars().take(40).collect();
                    return Err(Refusal::Changed(format!(
                        "commit {other} instead of {commit}"
                    )));
                }
            }
            // Where both are seen, the entity tag decides: it is the finer one.
            Pin::FirstSeen => match (&self.etag, &seen.etag) {
                (Some(before), Some(now)) => differ("entity tag", before, now)?,
                _ => {
                    if let (Some(before), Some(now)) = (&self.last_modified, &seen.last_modified) {
                        differ("time of change", before, now)?;
                    }
                }
            },
        }
        self.bytes = self.bytes.or(seen.bytes);
        self.etag = self.etag.take().or(seen.etag);
        self.last_modified = self.last_modified.take().or(seen.last_modified);
        Ok(())
    }

    fn of(head: &Head) -> Self {
        // A weak tag promises the same meaning, not the same bytes (RFC 9110, 8.8.1).
        let strong = |tag: &&str| tag.starts_with('"');
        let trimmed = |value: &Option<String>| value.as_deref().map(str::trim).map(str::to_owned);
        Self {
            bytes: total_bytes(head),
            etag: trimmed(&head.etag).filter(|tag| strong(&tag.as_str())),
            last_modified: trimmed(&head.last_modified).filter(|time| !time.is_empty()),
        }
    }
}

fn differ(what: &str, before: &str, now: &str) -> Result<(), Refusal> {
    if before == now {
        return Ok(());
    }
    Err(Refusal::Changed(format!("another {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn part(total: u64, etag: Option<&str>, last_modified: Option<&str>) -> Head {
        Head {
            status: 206,
            content_range: Some(format!("bytes 0-0/{total}")),
            etag: etag.map(str::to_owned),
            last_modified: last_modified.map(str::to_owned),
            ..Head::default()
        }
    }

    fn changed(first: &Head, second: &Head, pin: &Pin) -> Option<String> {
        let mut identity = Identity::default();
        identity.meet(first, pin).unwrap();
        match identity.meet(second, pin) {
            Ok(()) => None,
            Err(Refusal::Changed(how)) => Some(how),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn another_version_is_noticed() {
        let first = part(10, Some("\"a\""), Some("Mon"));
        for (second, expected) in [
            (part(10, Some("\"a\""), Some("Mon")), None),
            (part(11, Some("\"a\""), Some("Mon")), Some("11 bytes")),
            (part(10, Some("\"b\""), Some("Mon")), Some("entity tag")),
            // The same bytes on another machine of the same server.
            (part(10, Some("\"a\""), Some("Tue")), None),
            (part(10, None, Some("Tue")), Some("time of change")),
            (part(10, Some("W/\"b\""), Some("Mon")), None),
            (
                part(10, Some("W/\"a\""), Some("Tue")),
                Some("time of change"),
            ),
            // Headers may be hidden.
            (part(10, None, None), None),
            (
                Head {
                    status: 206,
                    ..Head::default()
                },
                None,
            ),
        ] {
            let how = changed(&first, &second, &Pin::FirstSeen);
            assert_eq!(how.is_some(), expected.is_some(), "{second:?} {how:?}");
            assert!(
                how.unwrap_or_default()
                    .contains(expected.unwrap_or_default())
            );
        }
    }

    #[test]
    fn what_comes_later_is_remembered_too() {
        let mut identity = Identity::default();
        for (head, same) in [
            (part(10, None, None), true),
            (part(10, Some("\"a\""), None), true),
            (part(10, None, None), true),
            (part(10, Some("\"b\""), None), false),
        ] {
            assert_eq!(identity.meet(&head, &Pin::FirstSeen).is_ok(), same);
        }
        assert_eq!(identity.validator(), Some("\"a\""));
        assert_eq!(identity.bytes, Some(10));
    }

    #[test]
    fn a_commit_is_held_by_length_and_name() {
        let pin = Pin::Commit(COMMIT.to_owned());
        let first = part(10, Some("\"a\""), Some("Mon"));
        // Two servers of one delivery network.
        assert_eq!(
            changed(&first, &part(10, Some("\"b\""), Some("Tue")), &pin),
            None
        );
        assert!(changed(&first, &part(9, Some("\"a\""), None), &pin).is_some());
        for (commit, same) in [
            (COMMIT, true),
            ("ffffffffffffffffffffffffffffffffffffffff", false),
        ] {
            let mut named = part(10, None, None);
            named.repo_commit = Some(commit.to_owned());
            assert_eq!(changed(&first, &named, &pin).is_none(), same);
        }
        let mut listed = Identity::sized(11);
        assert!(listed.meet(&first, &pin).is_err());
    }
}
