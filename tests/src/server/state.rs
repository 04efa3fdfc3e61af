//! What the server has, what it is to do wrong, and what it was asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::content::Content;
use super::fault::{Armed, Fault, Strike};
use super::hub::Repository;

/// What pages of another origin may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// Everything, as on a hub.
    #[default]
    Open,
    /// Bodies, and no more headers than a browser shows without leave.
    Bodies,
    /// Nothing.
    Nothing,
}

/// A request, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// With a `/` in front, percent-encoding resolved.
    pub path: String,
    /// After the `?`, or empty.
    pub query: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    /// Of the answer; 0 where none was given.
    pub status: u16,
    /// Bytes of the body that were sent so far.
    pub sent: u64,
    /// Whether a fault struck it.
    pub struck: bool,
}

impl Request {
    /// The first and the last byte (if it names one) that its `Range` header asks for.
    pub fn range(&self) -> Option<(u64, Option<u64>)> {
        parse_range(self.headers.get("range")?)
    }
}

/// `bytes=5-9` or `bytes=5-`; a server may leave other forms alone (RFC 9110, 14.2).
pub(super) fn parse_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let last = match last {
        "" => None,
        last => Some(last.parse().ok()?),
    };
    Some((first.parse().ok()?, last))
}

/// A request while it is answered.
pub(super) struct Asked {
    request: Mutex<Request>,
    pub(super) sent: Arc<AtomicU64>,
}

impl Asked {
    pub(super) fn answered(&self, status: u16) {
        lock(&self.request).status = status;
    }

    pub(super) fn struck(&self) {
        lock(&self.request).struck = true;
    }
}

/// A file, and how often it was replaced.
#[derive(Clone)]
pub(super) struct File {
    pub(super) content: Content,
    pub(super) version: u32,
}

#[derive(Default)]
pub(super) struct State {
    files: Mutex<BTreeMap<String, File>>,
    repositories: Mutex<Vec<Repository>>,
    pages: Mutex<Option<PathBuf>>,
    faults: Mutex<Vec<Armed>>,
    asked: Mutex<Vec<Arc<Asked>>>,
    cors: Mutex<Cors>,
    pause: Mutex<Duration>,
    isolated: AtomicBool,
}

impl State {
    pub(super) fn put(&self, path: &str, content: Content) {
        let mut files = lock(&self.files);
        let version = files.get(path).map_or(0, |file| file.version + 1);
        files.insert(path.to_owned(), File { content, version });
    }

    pub(super) fn remove(&self, path: &str) {
        lock(&self.files).remove(path);
    }

    pub(super) fn file(&self, path: &str) -> Option<File> {
        lock(&self.files).get(path).cloned()
    }

    pub(super) fn put_repository(&self, repository: Repository) {
        let mut repositories = lock(&self.repositories);
        for earlier in repositories.iter_mut() {
            earlier.give_way_to(&repository);
        }
        repositories.push(repository);
    }

    pub(super) fn repositories(&self) -> Vec<Repository> {
        lock(&self.repositories).clone()
    }

    pub(super) fn put_pages(&self, folder: &Path) {
        *lock(&self.pages) = Some(folder.to_owned());
    }

    pub(super) fn pages(&self) -> Option<PathBuf> {
        lock(&self.pages).clone()
    }

    pub(super) fn arm(&self, fault: Fault) {
        lock(&self.faults).push(Armed::new(fault));
    }

    pub(super) fn idle_faults(&self) -> Vec<Fault> {
        let faults = lock(&self.faults);
        let idle = faults.iter().filter(|armed| !armed.acted);
        idle.map(|armed| armed.fault.clone()).collect()
    }

    pub(super) fn strike(
        &self,
        path: &str,
        head: bool,
        covers: impl Fn(u64) -> bool,
    ) -> Option<Strike> {
        let mut faults = lock(&self.faults);
        faults
            .iter_mut()
            .find_map(|armed| armed.meet(path, head, &covers))
    }

    pub(super) fn reset(&self) {
        lock(&self.faults).clear();
        lock(&self.asked).clear();
    }

    pub(super) fn set_cors(&self, cors: Cors) {
        *lock(&self.cors) = cors;
    }

    pub(super) fn cors(&self) -> Cors {
        *lock(&self.cors)
    }

    pub(super) fn isolate(&self) {
        self.isolated.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.isolated.load(Ordering::Relaxed)
    }

    pub(super) fn set_pause(&self, pause: Duration) {
        *lock(&self.pause) = pause;
    }

    pub(super) fn pause(&self) -> Duration {
        *lock(&self.pause)
    }

    pub(super) fn record(&self, request: Request) -> Arc<Asked> {
        let asked = Arc::new(Asked {
            request: Mutex::new(request),
            sent: Arc::default(),
        });
        lock(&self.asked).push(Arc::clone(&asked));
        asked
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        let asked = lock(&self.asked);
        let snapshot = asked.iter().map(|asked| Request {
            sent: asked.sent.load(Ordering::SeqCst),
            ..lock(&asked.request).clone()
        });
        snapshot.collect()
    }
}

/// A test that panicked while it held something has told its story already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
