//! A checkpoint folder on a web server, read piece by piece with range requests.
//!
//! Servers differ: some know no ranges (they send the whole file, of which only the asked bytes
//! are kept), some answer an unknown path with the start page, some hide headers from other
//! origins. `verdict` judges an answer's head, `body` reads what follows it.

mod address;
mod body;
mod verdict;

use std::cell::RefCell;
use std::ops::Range;

use gloo_timers::future::TimeoutFuture;
use paligemma_checkpoint::{Source, SourceError};

use self::address::{Address, Location};
use self::body::{Body, fetch};
use self::verdict::{Plan, Refusal, Size, judge_head, judge_read, judge_size};

/// Pauses before the second and later attempts, in milliseconds: long enough for a dropped
/// Wi-Fi to come back, short enough that nobody thinks the page hangs.
const PAUSES_MS: [u32; 3] = [300, 1000, 3000];

/// The longest that a server's `Retry-After` is obeyed, in milliseconds.
const LONGEST_PAUSE_MS: u32 = 10_000;

/// The files under one URL.
pub struct HttpFolder {
    address: Address,
    /// The rest of a file from a server without ranges, so that reading on from where the last
    /// read ended does not fetch the beginning again.
    open: RefCell<Option<OpenFile>>,
}

struct OpenFile {
    path: String,
    body: Body,
}

impl HttpFolder {
    /// The folder at `url`, which is absolute; nothing is fetched yet.
    ///
    /// # Errors
    /// [`SourceError::Refused`] when `url` is not an `http:` or `https:` address.
    pub fn new(url: &str) -> Result<Self, SourceError> {
        Ok(Self {
            address: Address::parse(url)?,
            open: RefCell::new(None),
        })
    }

    async fn ask_size(&self, at: &Location) -> Result<Size, Refusal> {
        // The range makes browsers ask for the file as it is, not compressed in transit, so that
        // the length is the file's.
        let head = fetch(&at.url, "HEAD", Some(0..1)).await;
        if let Ok(answer) = head {
            let size = judge_head(&answer.head(), &at.path);
            answer.abandon();
            if let Some(size) = size {
                return Ok(size);
            }
        }
        let answer = fetch(&at.url, "GET", Some(0..1)).await?;
        match judge_size(&answer.head(), &at.path) {
            Ok(Some(size)) => {
                answer.abandon();
                Ok(size)
            }
            Ok(None) => Ok(Size::Bytes(answer.into_body()?.count().await?)),
            Err(refusal) => {
                answer.abandon();
                Err(refusal)
            }
        }
    }

    async fn ask_range(&self, at: &Location, range: &Range<u64>) -> Result<Vec<u8>, Refusal> {
        if let Some(mut body) = self.reopen(&at.path, range.start) {
            // A connection that broke in the pause between two reads is no failed attempt.
            if let Ok(bytes) = body.take(range).await {
                self.keep_open(&at.path, body);
                return Ok(bytes);
            }
        }
        let answer = fetch(&at.url, "GET", Some(range.clone())).await?;
        match judge_read(&answer.head(), &at.path, range) {
            Ok(Plan::Part) => {
                let mut body = answer.into_body()?;
                let bytes = body.take(&(0..range.end - range.start)).await?;
                body.expect_end().await?;
                Ok(bytes)
            }
            Ok(Plan::Whole) => {
                let mut body = answer.into_body()?;
                let bytes = body.take(range).await?;
                self.keep_open(&at.path, body);
                Ok(bytes)
            }
            Err(refusal) => {
                answer.abandon();
                Err(refusal)
            }
        }
    }

    fn reopen(&self, path: &str, start: u64) -> Option<Body> {
        let open = self.open.borrow_mut().take()?;
        (open.path == path && open.body.position() <= start).then_some(open.body)
    }

    fn keep_open(&self, path: &str, body: Body) {
        *self.open.borrow_mut() = Some(OpenFile {
            path: path.to_owned(),
            body,
        });
    }
}

impl Source for HttpFolder {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        let at = self.address.locate(path)?;
        match patiently(&at, async || self.ask_size(&at).await).await {
            Ok(Size::Bytes(bytes)) => Ok(Some(bytes)),
            Ok(Size::Missing) | Err(SourceError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let at = self.address.locate(path)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        patiently(&at, async || self.ask_range(&at, &range).await).await
    }
}

/// Repeats `attempt` while it fails for a reason that may pass.
async fn patiently<T>(
    at: &Location,
    mut attempt: impl AsyncFnMut() -> Result<T, Refusal>,
) -> Result<T, SourceError> {
    let mut pauses = PAUSES_MS.into_iter();
    loop {
        let refusal = match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(refusal) => refusal,
        };
        let (reason, asked_ms) = match refusal {
            Refusal::Missing => {
                return Err(SourceError::Missing {
                    path: at.shown.clone(),
                });
            }
            Refusal::Final(reason) => return Err(failed(at, reason)),
            Refusal::Passing {
                reason,
                retry_after_ms,
            } => (reason, retry_after_ms),
        };
        let Some(pause) = pauses.next() else {
            let attempts = PAUSES_MS.len() + 1;
            return Err(failed(at, format!("{reason}, {attempts} times in a row")));
        };
        TimeoutFuture::new(pause.max(asked_ms.unwrap_or(0).min(LONGEST_PAUSE_MS))).await;
    }
}

fn failed(at: &Location, reason: String) -> SourceError {
    SourceError::Failed {
        path: at.shown.clone(),
        reason,
    }
}
