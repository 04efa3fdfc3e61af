//! What an answer's status and headers mean, apart from how it was fetched.

use std::ops::Range;

/// The part of an answer that comes before its body. A header is `None` when it was not sent, or
/// when a server of another origin does not let the page see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) content_length: Option<String>,
    pub(super) content_range: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) retry_after: Option<String>,
}

/// What a server says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Missing,
    Bytes(u64),
}

/// What the body of an answer to a range request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Exactly the range.
    Part,
    /// The file from its beginning.
    Whole,
}

/// Why an attempt gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such file.
    Missing,
    /// It may be different in a moment.
    Passing {
        reason: String,
        retry_after_ms: Option<u32>,
    },
    /// It will not.
    Final(String),
}

impl Refusal {
    pub(super) fn passing(reason: String) -> Self {
        Self::Passing {
            reason,
            retry_after_ms: None,
        }
    }
}

/// The size by the answer to a `HEAD` request for the first byte; `None` when that does not tell:
/// servers get `HEAD` wrong often enough that only a clear answer counts.
pub(super) fn judge_head(head: &Head, path: &str) -> Option<Size> {
    match judge_status(head, path) {
        Ok(()) => {}
        Err(Refusal::Missing) => return Some(Size::Missing),
        Err(Refusal::Passing { .. } | Refusal::Final(_)) => return None,
    }
    match head.status {
        206 => total(head).map(Size::Bytes),
        _ => length(head).filter(|&bytes| bytes > 0).map(Size::Bytes),
    }
}

/// The size by the answer to a `GET` request for the first byte; `None` when only reading the
/// body to its end will tell.
pub(super) fn judge_size(head: &Head, path: &str) -> Result<Option<Size>, Refusal> {
    // The first byte of an empty file cannot be had.
    if head.status == 416
        && let Some(0) = total(head)
    {
        return Ok(Some(Size::Bytes(0)));
    }
    judge_status(head, path)?;
    if head.status == 206 {
        return match total(head) {
            Some(bytes) => Ok(Some(Size::Bytes(bytes))),
            None => Err(Refusal::Final(
                "the server does not say how large it is (Content-Range is missing, or hidden by \
                 Access-Control-Expose-Headers)"
                    .to_owned(),
            )),
        };
    }
    Ok(length(head).map(Size::Bytes))
}

/// What to do with the answer to a `GET` request for `range`.
pub(super) fn judge_read(head: &Head, path: &str, range: &Range<u64>) -> Result<Plan, Refusal> {
    if head.status == 416 {
        return Err(Refusal::Final(format!(
            "it ends before byte {} and so is not the file it was",
            range.end
        )));
    }
    judge_status(head, path)?;
    if head.status == 200 {
        return Ok(Plan::Whole);
    }
    if is_encoded(head) {
        return Err(Refusal::Final(
            "the server compresses parts of files".to_owned(),
        ));
    }
    // Where the header is hidden, the body's length is all there is to check: one range was asked
    // for, and 206 says that the server heeded it.
    let Some(given) = &head.content_range else {
        return Ok(Plan::Part);
    };
    match parse_content_range(given) {
        Some((Some(part), _)) if part == *range => Ok(Plan::Part),
        _ => Err(Refusal::Final(format!(
            "the server answered with {given:?} where bytes {}-{} were asked for",
            range.start,
            range.end - 1
        ))),
    }
}

/// What holds for every request. After `Ok` the status is 200 or 206.
fn judge_status(head: &Head, path: &str) -> Result<(), Refusal> {
    match head.status {
        200 | 206 => {}
        404 | 410 => return Err(Refusal::Missing),
        status @ (408 | 425 | 429 | 500 | 502 | 503 | 504) => {
            let seconds = head
                .retry_after
                .as_deref()
                .and_then(|s| s.trim().parse::<u32>().ok());
            return Err(Refusal::Passing {
                reason: format!("the server answered {status} ({})", name(status)),
                retry_after_ms: seconds.map(|s| s.saturating_mul(1000)),
            });
        }
        status => {
            return Err(Refusal::Final(format!(
                "the server answered {status} ({})",
                name(status)
            )));
        }
    }
    let kind = head
        .content_type
        .as_deref()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    // Servers of single-page applications answer an unknown path with the start page and 200.
    if kind.starts_with("text/html") && !path.ends_with(".html") {
        return Err(Refusal::Missing);
    }
    if kind.starts_with("multipart/byteranges") {
        return Err(Refusal::Final(
            "the server answered in several parts".to_owned(),
        ));
    }
    Ok(())
}

fn name(status: u16) -> &'static str {
    match status {
        400 => "bad request",
        401 => "a login is needed",
        403 => "access is denied",
        405 => "this way of asking is not allowed",
        408 => "the request took too long",
        416 => "the file is shorter than that",
        425 | 503 => "not ready",
        429 => "too many requests",
        _ => match status / 100 {
            3 => "a redirection without a target",
            4 => "the request is refused",
            5 => "the server has a fault",
            _ => "not an answer to this request",
        },
    }
}

/// The file's length by `Content-Length`, which counts compressed bytes where there is an
/// encoding.
fn length(head: &Head) -> Option<u64> {
    if is_encoded(head) {
        return None;
    }
    head.content_length.as_deref()?.trim().parse().ok()
}

fn total(head: &Head) -> Option<u64> {
    parse_content_range(head.content_range.as_deref()?)?.1
}

fn is_encoded(head: &Head) -> bool {
    head.content_encoding
        .as_deref()
        .is_some_and(|encoding| !matches!(encoding.trim(), "" | "identity"))
}

/// `bytes 0-4/10` is `(Some(0..5), Some(10))`; either part may be `*` (RFC 9110, 14.4).
fn parse_content_range(value: &str) -> Option<(Option<Range<u64>>, Option<u64>)> {
    let (unit, rest) = value.trim().split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (part, total) = rest.trim().split_once('/')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    if part == "*" {
        return Some((None, total));
    }
    let (first, last) = part.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let end = last.checked_add(1)?;
    (first < end && total.is_none_or(|total| end <= total)).then_some((Some(first..end), total))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "model.safetensors";

    /// A head from `name: value` lines.
    fn head(status: u16, headers: &[&str]) -> Head {
        let mut head = Head {
            status,
            ..Head::default()
        };
        for line in headers {
            let (name, value) = line.split_once(": ").unwrap();
            let field = match name {
                "type" => &mut head.content_type,
                "length" => &mut head.content_length,
                "range" => &mut head.content_range,
                "encoding" => &mut head.content_encoding,
                "retry" => &mut head.retry_after,
                _ => panic!("{name}"),
            };
            *field = Some(value.to_owned());
        }
        head
    }

    fn passing(status: u16) -> bool {
        let refusal = judge_read(&head(status, &[]), FILE, &(0..1));
        matches!(refusal, Err(Refusal::Passing { .. }))
    }

    #[test]
    fn sizes_by_head() {
        let bytes = |n| Some(Size::Bytes(n));
        for (status, headers, expected) in [
            (200, &["length: 10"][..], bytes(10)),
            (200, &["length: 10", "type: application/json"], bytes(10)),
            (200, &["length: 10", "encoding: identity"], bytes(10)),
            (206, &["length: 1", "range: bytes 0-0/10"], bytes(10)),
            (404, &[], Some(Size::Missing)),
            (410, &["length: 10"], Some(Size::Missing)),
            (
                200,
                &["length: 10", "type: text/html; charset=utf-8"],
                Some(Size::Missing),
            ),
            (
                200,
                &["length: 10", "type:  Text/HTML"],
                Some(Size::Missing),
            ),
            // Not clear enough: another request decides.
            (200, &["length: 0"], None),
            (200, &["length: 10", "encoding: gzip"], None),
            (200, &["length: -1"], None),
            (200, &[], None),
            (206, &["length: 1"], None),
            (206, &["range: bytes 0-0/*"], None),
            (206, &["range: bytes 0-10/10"], None),
            (403, &[], None),
            (405, &[], None),
            (500, &[], None),
        ] {
            assert_eq!(
                judge_head(&head(status, headers), FILE),
                expected,
                "{status} {headers:?}"
            );
        }
    }

    #[test]
    fn sizes_by_first_byte() {
        for (status, headers, expected) in [
            (
                206,
                &["range: bytes 0-0/10", "length: 1"][..],
                Some(Some(Size::Bytes(10))),
            ),
            (200, &["length: 10"], Some(Some(Size::Bytes(10)))),
            (200, &["length: 0"], Some(Some(Size::Bytes(0)))),
            (416, &["range: bytes */0"], Some(Some(Size::Bytes(0)))),
            (200, &["length: 4", "encoding: br"], Some(None)),
            (200, &[], Some(None)),
            (206, &["length: 1"], None),
            (206, &["range: bytes 0-0/*"], None),
            (416, &[], None),
            (403, &["length: 10"], None),
        ] {
            let judged = judge_size(&head(status, headers), FILE).ok();
            assert_eq!(judged, expected, "{status} {headers:?}");
        }
        assert_eq!(judge_size(&head(404, &[]), FILE), Err(Refusal::Missing));
        assert_eq!(
            judge_size(&head(200, &["type: text/html"]), FILE),
            Err(Refusal::Missing)
        );
    }

    #[test]
    fn pages_may_be_pages() {
        let page = head(200, &["type: text/html", "length: 3"]);
        assert_eq!(judge_head(&page, "licence.html"), Some(Size::Bytes(3)));
        assert_eq!(judge_read(&page, "licence.html", &(0..3)), Ok(Plan::Whole));
    }

    #[test]
    fn reads() {
        let range = 100..200;
        for (status, headers, expected) in [
            (206, &["range: bytes 100-199/1000"][..], Some(Plan::Part)),
            (206, &["range: bytes 100-199/*"], Some(Plan::Part)),
            (206, &["range: Bytes 100-199/200"], Some(Plan::Part)),
            (206, &[], Some(Plan::Part)),
            (200, &["length: 1000"], Some(Plan::Whole)),
            (200, &["encoding: gzip"], Some(Plan::Whole)),
            (206, &["range: bytes 0-99/1000"], None),
            (206, &["range: bytes 100-198/1000"], None),
            (206, &["range: bytes 100-200/1000"], None),
            (206, &["range: bytes 100-199/150"], None),
            (206, &["range: bytes */1000"], None),
            (206, &["range: bytes 199-100/1000"], None),
            (206, &["range: bytes 100-99999999999999999999/*"], None),
            (206, &["range: bytes -18446744073709551615/*"], None),
            (206, &["range: items 100-199/1000"], None),
            (206, &["range: nonsense"], None),
            (206, &["range: bytes 100-199/1000", "encoding: gzip"], None),
            (206, &["type: multipart/byteranges; boundary=x"], None),
            (204, &[], None),
            (304, &[], None),
            (401, &[], None),
            (416, &["range: bytes */150"], None),
        ] {
            let judged = judge_read(&head(status, headers), FILE, &range);
            match expected {
                Some(plan) => assert_eq!(judged, Ok(plan), "{status} {headers:?}"),
                None => {
                    assert!(
                        matches!(judged, Err(Refusal::Final(_))),
                        "{status} {headers:?}"
                    );
                }
            }
        }
        let page = head(200, &["type: text/html"]);
        assert_eq!(judge_read(&page, FILE, &range), Err(Refusal::Missing));
        assert_eq!(
            judge_read(&head(404, &[]), FILE, &range),
            Err(Refusal::Missing)
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(passing(status), "{status}");
        }
        for status in [
            200, 206, 301, 400, 401, 403, 404, 405, 410, 416, 451, 501, 505,
        ] {
            assert!(!passing(status), "{status}");
        }
    }

    #[test]
    fn the_servers_own_pause_is_heeded() {
        let busy = |headers: &[&str]| match judge_read(&head(429, headers), FILE, &(0..1)) {
            Err(Refusal::Passing { retry_after_ms, .. }) => retry_after_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!(busy(&["retry: 2"]), Some(2000));
        assert_eq!(busy(&["retry: 4294967295"]), Some(u32::MAX));
        assert_eq!(busy(&["retry: Wed, 21 Oct 2015 07:28:00 GMT"]), None);
        assert_eq!(busy(&[]), None);
    }
}
