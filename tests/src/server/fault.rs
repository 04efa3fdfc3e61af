//! What goes wrong, and when.

use std::fmt;

use super::content::Content;

/// One thing that goes wrong with one file.
#[derive(Clone)]
pub struct Fault {
    pub(super) file: String,
    pub(super) head: bool,
    pub(super) when: When,
    pub(super) what: What,
}

/// Which of a file's requests are struck, counted from 0 when the fault is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Only this one.
    Nth(usize),
    /// This one and all that follow.
    From(usize),
    /// The first one that asks for this byte of the file; where the fault has a place in the
    /// body, it is counted from this byte.
    Byte(u64),
}

/// What happens instead of a good answer.
#[derive(Clone)]
pub enum What {
    /// The connection is closed without an answer.
    NoAnswer,
    /// Neither an answer nor an end.
    Silence,
    /// The connection is closed after so many bytes of the body.
    Cut(u64),
    /// After so many bytes of the body nothing more comes, and the connection stays.
    Stall(u64),
    /// The body ends after so many bytes as if it were complete.
    Truncated(u64, Stated),
    /// 200 with the whole file, though a part was asked for.
    Whole,
    /// 206 with the bytes so far from those that were asked for, and a `Content-Range` that says
    /// so.
    OtherRange(i64),
    /// The asked bytes, in which this one of the file is another.
    Corrupt(u64),
    /// Another version of the file.
    Version(Content),
    /// A status without a body, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// A redirection to the same path below this URL, which ends without `/`.
    Redirect(String),
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no answer"),
            Self::Silence => f.write_str("silence"),
            Self::Cut(after) => write!(f, "cut after {after}"),
            Self::Stall(after) => write!(f, "stall after {after}"),
            Self::Truncated(after, stated) => {
                write!(f, "truncated after {after}, stated: {stated:?}")
            }
            Self::Whole => f.write_str("the whole file"),
            Self::OtherRange(shift) => write!(f, "another range by {shift}"),
            Self::Corrupt(at) => write!(f, "byte {at} wrong"),
            Self::Version(content) => write!(f, "another version of {} bytes", content.len()),
            Self::Status(status, headers) => write!(f, "status {status} {headers:?}"),
            Self::Redirect(to) => write!(f, "redirection to {to}"),
        }
    }
}

/// What the header of a truncated answer says of its length. (One that says the full length and
/// breaks it is [`What::Cut`].)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stated {
    /// The truth.
    Truth,
    /// Nothing.
    Nothing,
}

impl Fault {
    /// Strikes `GET` requests for a file, named by its path or the end of it:
    /// `model.safetensors`.
    pub fn new(file: &str, when: When, what: What) -> Self {
        Self {
            file: file.to_owned(),
            head: false,
            when,
            what,
        }
    }

    /// A status without a body.
    pub fn status(file: &str, when: When, status: u16) -> Self {
        Self::new(file, when, What::Status(status, Vec::new()))
    }

    /// Strikes, and counts, `HEAD` requests too.
    #[must_use]
    pub fn and_head(mut self) -> Self {
        self.head = true;
        self
    }
}

/// Whether `path` (`/models/a/config.json`) is the file, or ends with its name.
pub(super) fn names(file: &str, path: &str) -> bool {
    let file = file.trim_start_matches('/');
    path.strip_suffix(file)
        .is_some_and(|before| before.ends_with('/'))
}

/// A fault and what has become of it.
pub(super) struct Armed {
    pub(super) fault: Fault,
    pub(super) acted: bool,
    seen: usize,
}

/// A fault that strikes a request.
pub(super) struct Strike {
    pub(super) what: What,
    /// Where in the file the places in its body count from, if not from the body's beginning.
    pub(super) from: Option<u64>,
}

impl Armed {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            fault,
            acted: false,
            seen: 0,
        }
    }

    /// Takes notice of a request for `path`. `covers` says whether it asks for a byte.
    pub(super) fn meet(
        &mut self,
        path: &str,
        head: bool,
        covers: impl Fn(u64) -> bool,
    ) -> Option<Strike> {
        let fault = &self.fault;
        if !names(&fault.file, path) || (head && !fault.head) {
            return None;
        }
        let nth = self.seen;
        self.seen += 1;
        let (strikes, from) = match fault.when {
            When::Nth(n) => (nth == n, None),
            When::From(n) => (nth >= n, None),
            When::Byte(byte) => (!self.acted && covers(byte), Some(byte)),
        };
        self.acted |= strikes;
        strikes.then(|| Strike {
            what: fault.what.clone(),
            from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_end_of_its_path() {
        for (file, path, expected) in [
            ("a.bin", "/a.bin", true),
            ("a.bin", "/m/a.bin", true),
            ("/m/a.bin", "/m/a.bin", true),
            ("m/a.bin", "/x/m/a.bin", true),
            ("a.bin", "/m/aa.bin", false),
            ("a.bin", "/m/a.bin/b", false),
        ] {
            assert_eq!(names(file, path), expected, "{file} {path}");
        }
    }

    #[test]
    fn faults_strike_when_they_are_told_to() {
        let struck = |when| {
            let mut armed = Armed::new(Fault::new("a", when, What::NoAnswer));
            // Others are not counted.
            assert!(armed.meet("/b", false, |_| true).is_none());
            assert!(armed.meet("/a", true, |_| true).is_none());
            let ranges = [0..10, 10..20, 10..20];
            ranges.map(|range| {
                armed
                    .meet("/a", false, |byte| range.contains(&byte))
                    .is_some()
            })
        };
        assert_eq!(struck(When::Nth(1)), [false, true, false]);
        assert_eq!(struck(When::From(1)), [false, true, true]);
        assert_eq!(struck(When::Byte(15)), [false, true, false]);
        assert_eq!(struck(When::Byte(99)), [false; 3]);
    }
}
