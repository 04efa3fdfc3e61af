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
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// The hub's `X-Repo-Commit`.
    pub(super) repo_commit: Option<String>,
}

/// What a server says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Missing,
    Bytes(u64),
}

/// The bytes that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) start: u64,
    /// `None` for everything up to the file's end.
    pub(super) end: Option<u64>,
    /// Whether the server may end earlier: what is missing is asked for again.
    pub(super) open: bool,
}

impl Ask {
    /// The bytes in `range`, all of them.
    pub(super) fn exactly(range: &Range<u64>) -> Self {
        Self {
            start: range.start,
            end: Some(range.end),
            open: false,
        }
    }

    /// The value of a `Range` header. Both forms, unlike others, need no permission from a server
    /// of another origin (Fetch standard, "CORS-safelisted request-header").
    pub(super) fn header(&self) -> String {
        match self.end {
            Some(end) => format!("bytes={}-{}", self.start, end.saturating_sub(1)),
            None => format!("bytes={}-", self.start),
        }
    }
}

/// What the body of an answer to a range request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The file from where it was asked for, up to this byte, where that is known.
    Part(Option<u64>),
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
    /// The server answers, and does not let pages of other sites read what (CORS).
    Shut,
    /// The server wants to know who asks (401), or does not want to give it to them (403).
    Denied(u16),
    /// The file is another than before, in this way.
    Changed(String),
    /// The file ends before what was asked for, after this many bytes.
    Short(u64),
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
        Err(_) => return None,
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

/// What to do with the answer to a `GET` request for some bytes.
pub(super) fn judge_read(head: &Head, path: &str, ask: &Ask) -> Result<Plan, Refusal> {
    if head.status == 416 {
        return Err(Refusal::Final(format!(
            "it ends before byte {} and so is not the file it was",
            ask.end.unwrap_or(ask.start + 1)
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
        return Ok(Plan::Part(ask.end));
    };
    match parse_content_range(given) {
        Some((Some(part), _)) if fits(&part, ask) => Ok(Plan::Part(Some(part.end))),
        _ => Err(Refusal::Final(format!(
            "the server answered with {given:?} where {} were asked for",
            ask.header().replace('=', " ")
        ))),
    }
}

/// Whether the answer to a `GET` request without a range is the file.
pub(super) fn judge_whole(head: &Head, path: &str) -> Result<(), Refusal> {
    judge_status(head, path)?;
    if head.status == 200 {
        return Ok(());
    }
    Err(Refusal::Final(
        "the server sent a part where all was asked for".to_owned(),
    ))
}

fn fits(part: &Range<u64>, ask: &Ask) -> bool {
    let ends = match ask.end {
        Some(end) if ask.open => part.end <= end,
        Some(end) => part.end == end,
        None => true,
    };
    part.start == ask.start && ends
}

/// How large the file is, by any answer about it that was not refused.
pub(super) fn total_bytes(head: &Head) -> Option<u64> {
    match head.status {
        206 => total(head),
        // Some servers answer `HEAD` with a length of 0, and mean nothing by it.
        _ => length(head).filter(|&bytes| bytes > 0),
    }
}

/// What a denied request means to the person who sent it: the reason, and what to do.
/// `gate` is the page on which a hub's repository gives access to itself.
pub(super) fn explain_denied(status: u16, gate: Option<&str>, token: bool) -> (String, String) {
    let reason = format!("the server answered {status} ({})", name(status));
    let remedy = match (gate, token) {
        (None, _) if status == 403 => "check the address, whether the server lets you in, and \
                                       whether the file is there at all, as some servers answer \
                                       so for one that is not"
            .to_owned(),
        (None, _) => "check the address and whether the server lets you in".to_owned(),
        (Some(page), false) => format!(
            "the repository is gated, or not there, so check its name, accept its licence on \
             {page} while signed in, and then paste an access token with read permission"
        ),
        (Some(page), true) => format!(
            "the repository is gated and this access token does not open it, so accept its \
             licence on {page} with the account that the token belongs to, and check that the \
             token is valid and has permission to read gated repositories"
        ),
    };
    (reason, remedy)
}

/// What to do about a server that wants to be left alone for so many milliseconds, more than
/// anybody waits for; `now` is in minutes since midnight.
pub(super) fn explain_pause(now: u32, pause_ms: u32) -> String {
    let minutes = pause_ms.div_ceil(60_000);
    let then = (now + minutes) % (24 * 60);
    let long = match minutes {
        0..120 => format!("{minutes} minutes"),
        _ => format!("{} hours", minutes.div_ceil(60)),
    };
    format!(
        "try again after {:02}:{:02}, in {long}; what has arrived stays",
        then / 60,
        then % 60
    )
}

/// What holds for every request. After `Ok` the status is 200 or 206.
fn judge_status(head: &Head, path: &str) -> Result<(), Refusal> {
    match head.status {
        200 | 206 => {}
        404 | 410 => return Err(Refusal::Missing),
        status @ (401 | 403) => return Err(Refusal::Denied(status)),
        status @ (408 | 425 | 429 | 500 | 502 | 503 | 504) => {
            let seconds = head
                .retry_after
                .as_deref()
                .and_then(|s| s.trim().parse::<u32>().ok());
            let wish = seconds
                .filter(|&seconds| seconds > 1)
                .map(|seconds| format!(", asking for a pause of {seconds} s"));
            return Err(Refusal::Passing {
                reason: format!(
                    "the server answered {status} ({}{})",
                    name(status),
                    wish.unwrap_or_default()
                ),
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
mod tests;
