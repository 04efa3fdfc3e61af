//! A checkpoint folder on a web server, read piece by piece with range requests.
//!
//! Servers differ: some know no ranges (they send the whole file, of which only the asked bytes
//! are kept), some answer an unknown path with the start page, some hide headers from other
//! origins. `verdict` judges an answer's head, `body` reads what follows it, `identity` notices a
//! file that is replaced meanwhile.

mod absent;
mod address;
mod body;
mod identity;
mod patience;
mod stretch;
mod token;
mod verdict;
mod vigil;

pub(crate) use address::{Address, Location, escape};
pub use patience::Patience;
pub use token::Token;
pub use vigil::Vigil;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use gloo_timers::future::TimeoutFuture;
use paligemma_checkpoint::{Source, SourceError};

use self::absent::{ALWAYS_THERE, Absent};
use self::body::{Answer, Body, Line};
use self::identity::{Identity, Pin};
use self::patience::{Attempts, Next};
use self::stretch::{Last, WIDEST_GAP};
use self::verdict::{
    Ask, Head, Plan, Refusal, Size, explain_denied, explain_pause, judge_head, judge_read,
    judge_size, judge_whole,
};

/// The files under one URL.
///
/// Reads that follow each other in a file flow from one answer; a read that looks at a few bytes
/// asks for these only. When a connection breaks or stalls, what has arrived stays, and the next
/// request begins with the first byte that is missing.
pub struct HttpFolder {
    address: Address,
    token: Option<Token>,
    patience: Patience,
    pin: Pin,
    /// The page on which a hub's repository gives access to itself.
    gate: Option<String>,
    known: RefCell<BTreeMap<String, Identity>>,
    /// The rest of a file, from where the last read of it ended.
    open: RefCell<Option<OpenFile>>,
    last: RefCell<Last>,
    absent: RefCell<Absent>,
    received: Rc<Cell<u64>>,
    /// Requests in a row that were answered, though not to this page.
    shut: Rc<Cell<u32>>,
}

struct OpenFile {
    path: String,
    body: Body,
    /// How many bytes may be skipped to get to where the next read begins.
    widest_gap: u64,
}

impl HttpFolder {
    /// The folder at `url`, which is absolute; nothing is fetched yet.
    ///
    /// # Errors
    /// [`SourceError::Refused`] when `url` is not an `http:` or `https:` address.
    pub fn new(url: &str) -> Result<Self, SourceError> {
        Ok(Self::at(Address::parse(url)?))
    }

    pub(crate) fn at(address: Address) -> Self {
        Self {
            address,
            token: None,
            patience: Patience::default(),
            pin: Pin::FirstSeen,
            gate: None,
            known: RefCell::default(),
            open: RefCell::default(),
            last: RefCell::default(),
            absent: RefCell::default(),
            received: Rc::default(),
            shut: Rc::default(),
        }
    }

    /// Sends this access token along, to the server of the folder's URL and to no other.
    #[must_use]
    pub fn with_token(mut self, token: Option<Token>) -> Self {
        self.token = token;
        self
    }

    /// Waits for this server as long as that.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Names the page on which a person gets access.
    pub(crate) fn with_gate(mut self, page: String) -> Self {
        self.gate = Some(page);
        self
    }

    /// Expects the files of a commit, which are this long.
    pub(crate) fn with_commit<'a>(
        mut self,
        commit: &str,
        sizes: impl Iterator<Item = (&'a String, u64)>,
    ) -> Self {
        self.pin = Pin::Commit(commit.to_owned());
        let known = sizes.map(|(path, bytes)| (path.clone(), Identity::sized(bytes)));
        self.known = RefCell::new(known.collect());
        self
    }

    /// Bytes that have arrived so far, of all files, those read again included.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    fn line(&self) -> Line {
        Line {
            authorization: self.token.as_ref().map(Token::authorization),
            stall_ms: self.patience.stall_ms,
            received: Rc::clone(&self.received),
            shut: Rc::clone(&self.shut),
        }
    }

    async fn ask_size(&self, at: &Location) -> Result<Size, Refusal> {
        // The range makes browsers ask for the file as it is, not compressed in transit, so that
        // the length is the file's.
        let first = Ask::exactly(&(0..1)).header();
        let line = self.line();
        if let Ok(answer) = line.fetch(&at.url, "HEAD", Some(&first)).await {
            let head = answer.head();
            answer.abandon();
            if let Some(size) = judge_head(&head, &at.path) {
                self.recognize(&at.path, &head, size)?;
                return Ok(size);
            }
        }
        let answer = line.fetch(&at.url, "GET", Some(&first)).await?;
        let head = answer.head();
        let size = match settle(answer, |head| judge_size(head, &at.path))? {
            (answer, Some(size)) => {
                answer.abandon();
                size
            }
            (answer, None) => Size::Bytes(answer.into_body(0, None)?.count().await?),
        };
        self.recognize(&at.path, &head, size)?;
        Ok(size)
    }

    /// Whether the server gives what every model has, so that what it denies may not be there.
    async fn lets_in(&self) -> Result<bool, Refusal> {
        if self.known.borrow().contains_key(ALWAYS_THERE) {
            return Ok(true);
        }
        let Ok(at) = self.address.locate(ALWAYS_THERE) else {
            return Ok(false);
        };
        match self.ask_size(&at).await {
            Ok(size) => Ok(size != Size::Missing),
            Err(refusal @ Refusal::Passing { .. }) => Err(refusal),
            Err(_) => Ok(false),
        }
    }

    fn recognize(&self, path: &str, head: &Head, size: Size) -> Result<(), Refusal> {
        match size {
            Size::Bytes(_) if head.status < 300 => self.meet(path, head),
            // Nothing is known of a file that is not there, nor of an empty one.
            _ => Ok(()),
        }
    }

    fn meet(&self, path: &str, head: &Head) -> Result<(), Refusal> {
        let mut known = self.known.borrow_mut();
        known
            .entry(path.to_owned())
            .or_default()
            .meet(head, &self.pin)
    }

    fn bytes(&self, path: &str) -> Option<u64> {
        self.known.borrow().get(path)?.bytes
    }

    /// Appends to `bytes`, which holds the beginning of `range`, until it holds all of it.
    async fn fill(
        &self,
        at: &Location,
        range: &Range<u64>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let missing = |bytes: &Vec<u8>| range.start + bytes.len() as u64;
        if let Some(mut open) = self.reopen(&at.path, missing(bytes)) {
            // A connection that broke in the pause between two reads is no failed attempt.
            if let Ok(true) = open.body.fill(range, bytes).await {
                self.keep_open(open);
                return Ok(());
            }
        }
        let line = self.line();
        loop {
            let before = bytes.len();
            let last = self.last.borrow().clone();
            let size = self.bytes(&at.path);
            let ask = stretch::plan(&at.path, range, missing(bytes), &last, size);
            let answer = line.fetch(&at.url, "GET", Some(&ask.header())).await?;
            let (answer, plan) = settle(answer, |head| {
                let plan = judge_read(head, &at.path, &ask)?;
                self.meet(&at.path, head)?;
                Ok(plan)
            })?;
            if let Some(size) = self.bytes(&at.path).filter(|&size| size < range.end) {
                answer.abandon();
                return Err(Refusal::Short(size));
            }
            let (start, end) = match plan {
                Plan::Part(end) => (ask.start, end),
                Plan::Whole => (0, self.bytes(&at.path)),
            };
            let mut body = answer.into_body(start, end)?;
            let complete = body.fill(range, bytes).await?;
            if complete && plan != Plan::Whole && !ask.open {
                return body.expect_end().await;
            }
            if complete {
                self.keep_open(OpenFile {
                    path: at.path.clone(),
                    body,
                    // Where there are no ranges, asking again means getting everything again.
                    widest_gap: match plan {
                        Plan::Whole => u64::MAX,
                        Plan::Part(_) => WIDEST_GAP,
                    },
                });
                return Ok(());
            }
            if bytes.len() == before {
                return Err(Refusal::passing("the server sent nothing".to_owned()));
            }
        }
    }

    fn reopen(&self, path: &str, start: u64) -> Option<OpenFile> {
        let open = self.open.borrow_mut().take()?;
        let gap = start.checked_sub(open.body.position())?;
        (open.path == path && gap <= open.widest_gap).then_some(open)
    }

    fn keep_open(&self, open: OpenFile) {
        if !open.body.is_used_up() {
            *self.open.borrow_mut() = Some(open);
        }
    }

    /// A small file in one piece, of at most `limit` bytes.
    pub(crate) async fn whole(&self, at: &Location, limit: usize) -> Result<Vec<u8>, SourceError> {
        let mut attempts = Attempts::new(&self.patience);
        loop {
            match self.ask_whole(at, limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(refusal) => self.wait(at, refusal, &mut attempts).await?,
            }
        }
    }

    async fn ask_whole(&self, at: &Location, limit: usize) -> Result<Vec<u8>, Refusal> {
        let answer = self.line().fetch(&at.url, "GET", None).await?;
        let (answer, ()) = settle(answer, |head| judge_whole(head, &at.path))?;
        answer.into_body(0, None)?.collect(limit).await
    }

    /// Waits until it may be tried again.
    async fn wait(
        &self,
        at: &Location,
        refusal: Refusal,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), SourceError> {
        let Refusal::Passing {
            reason,
            retry_after_ms,
        } = refusal
        else {
            return Err(self.explain(at, refusal));
        };
        match attempts.failed(retry_after_ms) {
            Next::Soon(pause_ms) => TimeoutFuture::new(pause_ms).await,
            Next::Wait { pause_ms, asked } => {
                if let Some(vigil) = &self.patience.vigil
                    && vigil.pause(&reason, pause_ms, asked).await
                {
                    // Something has changed: it may take a few quick attempts to show.
                    attempts.progressed();
                }
            }
            Next::Later(pause_ms) => {
                return Err(SourceError::Blocked {
                    path: at.shown.clone(),
                    reason,
                    remedy: explain_pause(minute_of_day(), pause_ms),
                });
            }
            Next::Never => {
                return Err(SourceError::Failed {
                    path: at.shown.clone(),
                    reason: format!("{reason}, {} times in a row", attempts.count()),
                });
            }
        }
        Ok(())
    }

    fn explain(&self, at: &Location, refusal: Refusal) -> SourceError {
        let path = at.shown.clone();
        match refusal {
            Refusal::Missing => SourceError::Missing { path },
            Refusal::Final(reason) | Refusal::Passing { reason, .. } => {
                SourceError::Failed { path, reason }
            }
            Refusal::Short(bytes) => SourceError::Failed {
                path,
                reason: format!("it has only {bytes} bytes"),
            },
            Refusal::Shut => SourceError::Blocked {
                path,
                reason: "its server answers, but does not let pages of other sites read it (CORS)"
                    .to_owned(),
                remedy:
                    "take it from a server that sends Access-Control-Allow-Origin, or download \
                         the files and choose them on this machine"
                        .to_owned(),
            },
            Refusal::Denied(status) => {
                let (reason, remedy) =
                    explain_denied(status, self.gate.as_deref(), self.token.is_some());
                SourceError::Denied {
                    path,
                    reason,
                    remedy,
                }
            }
            Refusal::Changed(how) => SourceError::Changed { path, how },
        }
    }
}

/// Judges an answer; one that is refused is not read on.
fn settle<T>(
    answer: Answer,
    judge: impl FnOnce(&Head) -> Result<T, Refusal>,
) -> Result<(Answer, T), Refusal> {
    match judge(&answer.head()) {
        Ok(verdict) => Ok((answer, verdict)),
        Err(refusal) => {
            answer.abandon();
            Err(refusal)
        }
    }
}

impl Source for HttpFolder {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        let at = self.address.locate(path)?;
        let mut attempts = Attempts::new(&self.patience);
        loop {
            match self.ask_size(&at).await {
                Ok(Size::Bytes(bytes)) => return Ok(Some(bytes)),
                Ok(Size::Missing) | Err(Refusal::Missing) => return Ok(None),
                Err(refusal @ Refusal::Denied(403)) => match self.lets_in().await {
                    Ok(true) if self.absent.borrow_mut().note(path) => return Ok(None),
                    Ok(_) => return Err(self.explain(&at, refusal)),
                    Err(refusal) => self.wait(&at, refusal, &mut attempts).await?,
                },
                Err(refusal) => self.wait(&at, refusal, &mut attempts).await?,
            }
        }
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let at = self.address.locate(path)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let mut bytes = room(&range).map_err(|refusal| self.explain(&at, refusal))?;
        let mut attempts = Attempts::new(&self.patience);
        let mut arrived = 0;
        loop {
            let filled = self.fill(&at, &range, &mut bytes).await;
            let Err(refusal) = filled else {
                break;
            };
            if let Refusal::Short(size) = refusal {
                return Err(SourceError::Short {
                    path: at.shown,
                    wanted: range.end - range.start,
                    got: size.saturating_sub(range.start),
                });
            }
            if bytes.len() > arrived {
                attempts.progressed();
            }
            arrived = bytes.len();
            self.wait(&at, refusal, &mut attempts).await?;
        }
        *self.last.borrow_mut() = Last {
            path: at.path,
            end: range.end,
        };
        Ok(bytes)
    }

    fn validator(&self, path: &str) -> Option<String> {
        let known = self.known.borrow();
        known.get(path)?.validator().map(str::to_owned)
    }
}

/// Minutes since midnight, by the clock on this person's wall.
fn minute_of_day() -> u32 {
    let now = js_sys::Date::new_0();
    now.get_hours() * 60 + now.get_minutes()
}

fn room(range: &Range<u64>) -> Result<Vec<u8>, Refusal> {
    let wanted = range.end - range.start;
    let mut bytes = Vec::new();
    usize::try_from(wanted)
        .ok()
        .and_then(|wanted| bytes.try_reserve_exact(wanted).ok())
        .ok_or_else(|| Refusal::Final(format!("there is no memory for {wanted} bytes")))?;
    Ok(bytes)
}
