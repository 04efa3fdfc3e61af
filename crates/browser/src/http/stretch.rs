//! Which reads belong together: a file that is read through is one request, not thousands.

use std::ops::Range;

use super::verdict::Ask;

/// A read of this many bytes is taken for the beginning of a stretch.
const LONG: u64 = 1 << 20;

/// A read of this many bytes is, when it goes on where the last one ended. Less may be a header,
/// whose file is then left for another.
const GOING_ON: u64 = 256 << 10;

/// Bytes that are read and thrown away rather than asked around: what arrives in the time of a
/// new request.
pub(super) const WIDEST_GAP: u64 = 1 << 20;

/// Where the last read ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) path: String,
    pub(super) end: u64,
}

/// What to ask for, to get the file's bytes from `missing` to `range.end`, of which `range.start`
/// was the first that was wanted. `bytes` is the file's length where it is known.
pub(super) fn plan(
    path: &str,
    range: &Range<u64>,
    missing: u64,
    last: &Last,
    bytes: Option<u64>,
) -> Ask {
    let length = range.end - range.start;
    let goes_on =
        last.path == path && last.end <= range.start && range.start - last.end <= WIDEST_GAP;
    if length >= LONG || (goes_on && length >= GOING_ON) {
        Ask {
            start: missing,
            end: bytes,
            open: true,
        }
    } else {
        Ask::exactly(&(missing..range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn last(path: &str, end: u64) -> Last {
        Last {
            path: path.to_owned(),
            end,
        }
    }

    #[test]
    fn reading_through_is_a_stretch_and_looking_around_is_not() {
        let size = Some(100 * MIB);
        for (range, last, open) in [
            // A header, its length first.
            (0..8, Last::default(), false),
            (8..60_000, last("a", 8), false),
            (4096..4096 + MIB, Last::default(), true),
            (5 * MIB..5 * MIB + GOING_ON, last("a", 5 * MIB), true),
            (6 * MIB..6 * MIB + GOING_ON, last("a", 5 * MIB), true),
            (7 * MIB..7 * MIB + GOING_ON, last("a", 5 * MIB), false),
            (4 * MIB..4 * MIB + GOING_ON, last("a", 5 * MIB), false),
            (5 * MIB..5 * MIB + GOING_ON, last("b", 5 * MIB), false),
        ] {
            let ask = plan("a", &range, range.start, &last, size);
            assert_eq!(ask.open, open, "{range:?} {last:?}");
            let end = if open { size } else { Some(range.end) };
            assert_eq!((ask.start, ask.end), (range.start, end));
        }
    }

    #[test]
    fn what_is_there_is_not_asked_for_again() {
        let range = 0..2 * MIB;
        let ask = plan("a", &range, 700, &Last::default(), None);
        assert_eq!(ask.header(), "bytes=700-");
        let ask = plan("a", &(0..8), 3, &Last::default(), None);
        assert_eq!(ask.header(), "bytes=3-7");
    }
}
