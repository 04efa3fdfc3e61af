//! Fetching, and reading a body chunk by chunk without ever holding all of it.

use std::cell::Cell;
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;

use gloo_timers::callback::Timeout;
use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, RequestMode,
    Response, WorkerGlobalScope,
};

use super::verdict::{Head, Refusal};

/// What every request of a source has in common. Not `Debug`: it may hold a token.
#[derive(Clone)]
pub(super) struct Line {
    /// Sent to the folder's own origin. Browsers drop the header when that redirects elsewhere
    /// (Fetch standard, "HTTP-redirect fetch"), so that a delivery network never sees a token.
    pub(super) authorization: Option<String>,
    /// How long nothing may arrive, in milliseconds.
    pub(super) stall_ms: u32,
    /// Bytes of bodies that have arrived.
    pub(super) received: Rc<Cell<u64>>,
    /// Requests in a row that were answered, though not to this page.
    pub(super) shut: Rc<Cell<u32>>,
}

/// So many in a row are no accident.
const SHUT: u32 = 2;

/// An answer whose body has not been touched.
pub(super) struct Answer {
    response: Response,
    watch: Watch,
    received: Rc<Cell<u64>>,
}

impl Line {
    /// Asks for `url`, or for a part of it. Nothing of the answer is kept in the browser's cache,
    /// and nothing is taken from it: a file of gigabytes would only push out everything else.
    pub(super) async fn fetch(
        &self,
        url: &str,
        method: &str,
        range: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let watch = Watch::new(self.stall_ms)?;
        let init = RequestInit::new();
        init.set_method(method);
        init.set_cache(RequestCache::NoStore);
        init.set_signal(Some(&watch.abort.signal()));
        let headers = Headers::new().map_err(|error| broken(&error))?;
        let given = [
            ("Range", range),
            ("Authorization", self.authorization.as_deref()),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                headers.set(name, value).map_err(|error| broken(&error))?;
            }
        }
        init.set_headers_headers(&headers);
        let response = match watch.guard(JsFuture::from(begin(url, &init)?)).await {
            Ok(response) => response,
            Err(refusal) => return Err(self.explained(url, refusal).await),
        };
        self.shut.set(0);
        let response = response.dyn_into().map_err(|error| broken(&error))?;
        Ok(Answer {
            response,
            watch,
            received: Rc::clone(&self.received),
        })
    }

    /// Browsers do not say whether a server could not be reached or only did not let the page read
    /// its answer. It is the latter where it answers a request of which nothing can be read, time
    /// and again; a server that let the page read something before is not suspected.
    async fn explained(&self, url: &str, refusal: Refusal) -> Refusal {
        let suspected = self.received.get() == 0 && !is_offline() && !is_here(url);
        if !suspected || !self.answers_unread(url).await {
            self.shut.set(0);
            return refusal;
        }
        self.shut.set(self.shut.get() + 1);
        match self.shut.get() < SHUT {
            true => refusal,
            false => Refusal::Shut,
        }
    }

    /// Whether there is an answer to a request that anybody may make and nobody may read.
    async fn answers_unread(&self, url: &str) -> bool {
        let Ok(watch) = Watch::new(self.stall_ms) else {
            return false;
        };
        let init = RequestInit::new();
        init.set_method("HEAD");
        init.set_mode(RequestMode::NoCors);
        init.set_cache(RequestCache::NoStore);
        init.set_signal(Some(&watch.abort.signal()));
        match begin(url, &init) {
            Ok(answer) => watch.guard(JsFuture::from(answer)).await.is_ok(),
            Err(_) => false,
        }
    }
}

fn begin(url: &str, init: &RequestInit) -> Result<Promise, Refusal> {
    let global = js_sys::global();
    match global.dyn_ref::<WorkerGlobalScope>() {
        Some(scope) => Ok(scope.fetch_with_str_and_init(url, init)),
        None => match web_sys::window() {
            Some(window) => Ok(window.fetch_with_str_and_init(url, init)),
            None => Err(Refusal::Final("there is no network here".to_owned())),
        },
    }
}

/// Whether it is on the page's own server.
fn is_here(url: &str) -> bool {
    let origin = Reflect::get(&js_sys::global(), &JsValue::from_str("origin")).ok();
    let origin = origin.and_then(|origin| origin.as_string());
    origin.is_some_and(|origin| url.starts_with(&format!("{origin}/")))
}

impl Answer {
    pub(super) fn head(&self) -> Head {
        let headers = self.response.headers();
        let get = |name| headers.get(name).ok().flatten();
        Head {
            status: self.response.status(),
            content_type: get("Content-Type"),
            content_length: get("Content-Length"),
            content_range: get("Content-Range"),
            content_encoding: get("Content-Encoding"),
            retry_after: get("Retry-After").map(seconds_from_now),
            etag: get("ETag"),
            last_modified: get("Last-Modified"),
            repo_commit: get("X-Repo-Commit"),
        }
    }

    /// Ends the transfer of a body that nobody wants.
    pub(super) fn abandon(self) {
        self.watch.abort.abort();
    }

    /// The body, which begins with the file's byte `start`; `end` is where it says it ends.
    pub(super) fn into_body(self, start: u64, end: Option<u64>) -> Result<Body, Refusal> {
        let stream = self.response.body();
        let reader = stream
            .map(|stream| ReadableStreamDefaultReader::new(&stream))
            .transpose();
        Ok(Body {
            reader: reader.map_err(|error| broken(&error))?,
            watch: self.watch,
            received: self.received,
            chunk: None,
            position: start,
            end,
        })
    }
}

/// A body on its way. Dropping it ends the transfer. The stream is read no faster than it is
/// taken from, so that a slow reader slows the server down instead of filling the memory.
pub(super) struct Body {
    /// `None` for an answer without a body.
    reader: Option<ReadableStreamDefaultReader>,
    watch: Watch,
    received: Rc<Cell<u64>>,
    /// What has arrived beyond `position`.
    chunk: Option<Uint8Array>,
    position: u64,
    end: Option<u64>,
}

impl Body {
    /// The file's byte that comes next.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether everything that was promised has been taken.
    pub(super) fn is_used_up(&self) -> bool {
        self.end.is_some_and(|end| end <= self.position)
    }

    /// Appends what `bytes` lacks of the file's `range`, of which it holds the beginning; what
    /// arrives stays in it even when the rest does not. The first missing byte must not lie
    /// before [`position`](Self::position). `false` when the body ended earlier, as it had said.
    pub(super) async fn fill(
        &mut self,
        range: &Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<bool, Refusal> {
        while range.start + (bytes.len() as u64) < range.end {
            let Some(chunk) = self.next_chunk().await? else {
                if self.is_used_up() {
                    return Ok(false);
                }
                return Err(Refusal::passing(format!(
                    "it ended at byte {} where {} were expected",
                    self.position,
                    self.end.unwrap_or(range.end)
                )));
            };
            let missing = range.start + bytes.len() as u64..range.end;
            let keep = cut(self.position, chunk.length(), &missing);
            let filled = bytes.len();
            let kept = chunk.subarray(keep.start, keep.end);
            bytes.resize(filled + kept.length() as usize, 0);
            if let Some(room) = bytes.get_mut(filled..) {
                kept.copy_to(room);
            }
            self.position += u64::from(keep.end);
            self.chunk =
                (keep.end < chunk.length()).then(|| chunk.subarray(keep.end, chunk.length()));
        }
        Ok(true)
    }

    /// Everything up to the end, if that is no more than `limit` bytes.
    pub(super) async fn collect(&mut self, limit: usize) -> Result<Vec<u8>, Refusal> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next_chunk().await? {
            if bytes.len() + chunk.length() as usize > limit {
                return Err(Refusal::Final(format!("it is longer than {limit} bytes")));
            }
            bytes.extend_from_slice(&chunk.to_vec());
            self.position += u64::from(chunk.length());
        }
        Ok(bytes)
    }

    /// Bytes up to the end.
    pub(super) async fn count(mut self) -> Result<u64, Refusal> {
        while let Some(chunk) = self.next_chunk().await? {
            self.position += u64::from(chunk.length());
        }
        Ok(self.position)
    }

    /// Fails when there is more. That it ends neatly is not asked for: what was wanted is here.
    pub(super) async fn expect_end(&mut self) -> Result<(), Refusal> {
        while let Ok(Some(chunk)) = self.next_chunk().await {
            if chunk.length() > 0 {
                return Err(Refusal::Final(
                    "the server sent more than was asked for".to_owned(),
                ));
            }
        }
        Ok(())
    }

    async fn next_chunk(&mut self) -> Result<Option<Uint8Array>, Refusal> {
        if let Some(chunk) = self.chunk.take() {
            return Ok(Some(chunk));
        }
        let Some(reader) = &self.reader else {
            return Ok(None);
        };
        let result = self.watch.guard(JsFuture::from(reader.read())).await?;
        let get = |name: &str| Reflect::get(&result, &JsValue::from_str(name));
        if get("done").map_err(|error| broken(&error))?.is_truthy() {
            return Ok(None);
        }
        let chunk = get("value").map_err(|error| broken(&error))?;
        let chunk: Uint8Array = chunk.dyn_into().map_err(|error| broken(&error))?;
        self.received
            .set(self.received.get() + u64::from(chunk.length()));
        Ok(Some(chunk))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.watch.abort.abort();
    }
}

/// Ends a transfer in which nothing moves any more: a connection can be dead for hours without
/// either side noticing.
struct Watch {
    abort: AbortController,
    stall_ms: u32,
    stalled: Rc<Cell<bool>>,
}

impl Watch {
    fn new(stall_ms: u32) -> Result<Self, Refusal> {
        Ok(Self {
            abort: AbortController::new().map_err(|error| broken(&error))?,
            stall_ms,
            stalled: Rc::new(Cell::new(false)),
        })
    }

    async fn guard<T>(&self, step: impl Future<Output = Result<T, JsValue>>) -> Result<T, Refusal> {
        let timeout = Timeout::new(self.stall_ms, {
            let (abort, stalled) = (self.abort.clone(), Rc::clone(&self.stalled));
            move || {
                stalled.set(true);
                abort.abort();
            }
        });
        let result = step.await;
        drop(timeout);
        result.map_err(|error| {
            if self.stalled.get() && !is_offline() {
                let seconds = f64::from(self.stall_ms) / 1000.0;
                Refusal::passing(format!("nothing came for {seconds} s"))
            } else {
                broken(&error)
            }
        })
    }
}

/// A `Retry-After` that names a moment, as the seconds until then (RFC 9110, 10.2.3); another one
/// as it is.
fn seconds_from_now(value: String) -> String {
    // Every such date has its weekday in front, and nothing else has letters.
    if !value.contains(|c: char| c.is_ascii_alphabetic()) {
        return value;
    }
    let seconds = (js_sys::Date::parse(&value) - js_sys::Date::now()) / 1000.0;
    if seconds.is_nan() {
        return value;
    }
    format!("{:.0}", seconds.clamp(0.0, f64::from(u32::MAX)).ceil())
}

/// Of a chunk of `length` bytes at `position`, the bytes in `range`; where there are none, the
/// empty range at the chunk's end. Everything before the range's end counts as passed.
fn cut(position: u64, length: u32, range: &Range<u64>) -> Range<u32> {
    let within = |offset: u64| {
        u32::try_from(offset.saturating_sub(position))
            .unwrap_or(u32::MAX)
            .min(length)
    };
    within(range.start)..within(range.end)
}

/// What `fetch` and streams reject with: browsers say no more than that it failed.
fn broken(error: &JsValue) -> Refusal {
    let reason = match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => "no reason was given".to_owned(),
    };
    Refusal::passing(if is_offline() {
        "this device is offline".to_owned()
    } else {
        format!("the connection failed ({reason})")
    })
}

/// Whether the browser knows that there is no network. That it knows of none is no proof that the
/// server cannot be reached, so this is asked only after a failure.
fn is_offline() -> bool {
    let get = |object: &JsValue, name: &str| Reflect::get(object, &JsValue::from_str(name)).ok();
    let online = get(&js_sys::global(), "navigator").and_then(|it| get(&it, "onLine"));
    online.is_some_and(|online| online.as_bool() == Some(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_cut_to_the_range() {
        for (position, length, range, keep) in [
            (0, 10, 0..10, 0..10),
            (0, 10, 3..5, 3..5),
            (0, 10, 3..50, 3..10),
            (0, 10, 20..30, 10..10),
            (20, 10, 5..25, 0..5),
            (20, 10, 25..1 << 40, 5..10),
            (1 << 40, 10, (1 << 40) + 1..(1 << 40) + 2, 1..2),
        ] {
            assert_eq!(
                cut(position, length, &range),
                keep,
                "{position} {length} {range:?}"
            );
        }
    }
}
