//! Fetching, and reading a body chunk by chunk without ever holding all of it.

use std::ops::Range;

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, Response,
    WorkerGlobalScope,
};

use super::verdict::{Head, Refusal};

/// An answer whose body has not been touched.
pub(super) struct Answer {
    response: Response,
    abort: AbortController,
}

/// Asks for `url`. Nothing of the answer is kept in the browser's cache, and nothing is taken from
/// it: a file of gigabytes in ranges would only push out everything else.
pub(super) async fn fetch(
    url: &str,
    method: &str,
    range: Option<Range<u64>>,
) -> Result<Answer, Refusal> {
    let abort = AbortController::new().map_err(|error| broken(&error))?;
    let init = RequestInit::new();
    init.set_method(method);
    init.set_cache(RequestCache::NoStore);
    init.set_signal(Some(&abort.signal()));
    if let Some(range) = range {
        let headers = Headers::new().map_err(|error| broken(&error))?;
        let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        headers
            .set("Range", &value)
            .map_err(|error| broken(&error))?;
        init.set_headers_headers(&headers);
    }
    let global = js_sys::global();
    let promise = match global.dyn_ref::<WorkerGlobalScope>() {
        Some(scope) => scope.fetch_with_str_and_init(url, &init),
        None => match web_sys::window() {
            Some(window) => window.fetch_with_str_and_init(url, &init),
            None => return Err(Refusal::Final("there is no network here".to_owned())),
        },
    };
    let response = JsFuture::from(promise)
        .await
        .map_err(|error| broken(&error))?;
    let response = response.dyn_into().map_err(|error| broken(&error))?;
    Ok(Answer { response, abort })
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
            retry_after: get("Retry-After"),
        }
    }

    /// Ends the transfer of a body that nobody wants.
    pub(super) fn abandon(self) {
        self.abort.abort();
    }

    pub(super) fn into_body(self) -> Result<Body, Refusal> {
        let stream = self.response.body();
        let reader = stream
            .map(|stream| ReadableStreamDefaultReader::new(&stream))
            .transpose();
        Ok(Body {
            reader: reader.map_err(|error| broken(&error))?,
            abort: self.abort,
            chunk: None,
            position: 0,
        })
    }
}

/// A body on its way. Dropping it ends the transfer.
pub(super) struct Body {
    /// `None` for an answer without a body.
    reader: Option<ReadableStreamDefaultReader>,
    abort: AbortController,
    /// What has arrived beyond `position`.
    chunk: Option<Uint8Array>,
    position: u64,
}

impl Body {
    /// Bytes passed so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The bytes in `range`, counted from the body's beginning; `range` must not start before
    /// [`position`](Self::position).
    pub(super) async fn take(&mut self, range: &Range<u64>) -> Result<Vec<u8>, Refusal> {
        let wanted = range.end.saturating_sub(range.start);
        let mut bytes = Vec::new();
        usize::try_from(wanted)
            .ok()
            .and_then(|wanted| bytes.try_reserve_exact(wanted).ok())
            .ok_or_else(|| Refusal::Final(format!("there is no memory for {wanted} bytes")))?;
        while self.position < range.end {
            let Some(chunk) = self.next_chunk().await? else {
                return Err(Refusal::passing(format!(
                    "it ended after {} bytes where {} were expected",
                    self.position, range.end
                )));
            };
            let keep = cut(self.position, chunk.length(), range);
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
        Ok(bytes)
    }

    /// Bytes up to the end.
    pub(super) async fn count(mut self) -> Result<u64, Refusal> {
        while let Some(chunk) = self.next_chunk().await? {
            self.position += u64::from(chunk.length());
        }
        Ok(self.position)
    }

    /// Fails when there is more.
    pub(super) async fn expect_end(&mut self) -> Result<(), Refusal> {
        while let Some(chunk) = self.next_chunk().await? {
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
        let result = JsFuture::from(reader.read())
            .await
            .map_err(|error| broken(&error))?;
        let get = |name: &str| Reflect::get(&result, &JsValue::from_str(name));
        if get("done").map_err(|error| broken(&error))?.is_truthy() {
            return Ok(None);
        }
        let chunk = get("value").map_err(|error| broken(&error))?;
        chunk.dyn_into().map(Some).map_err(|error| broken(&error))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.abort.abort();
    }
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
    Refusal::passing(format!("the connection failed ({reason})"))
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
