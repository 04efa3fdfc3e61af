//! The page's side: starts the worker, sends requests, hands each answer to whoever asked.

mod inner;

use std::rc::{Rc, Weak};

use js_sys::ArrayBuffer;

use self::inner::Inner;
use crate::environment;
use crate::protocol::{Event, Problem, Request};

/// A worker with the engine in it. Clones share the worker; it is terminated with the last one.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

impl Client {
    /// Starts the worker whose module script is at `worker_url` (absolute or relative to the
    /// page). Requests may be made at once: they wait until the worker listens.
    ///
    /// # Errors
    /// [`InsecureContext`](crate::protocol::ProblemKind::InsecureContext) or
    /// [`NoWebGpu`](crate::protocol::ProblemKind::NoWebGpu), in which case nothing was started, or
    /// [`Worker`](crate::protocol::ProblemKind::Worker) when the browser refuses to start it. A
    /// script that cannot be fetched is noticed later: see [`Client::on_worker_problem`].
    pub fn start(worker_url: &str) -> Result<Client, Problem> {
        environment::check()?;
        Ok(Client {
            inner: Inner::start(worker_url)?,
        })
    }

    /// Loads the checkpoint in `folder`, a URL relative to the page or absolute; `on_event` gets
    /// `Loading` events, then `Ready` or `Failed`. Returns the request's id.
    pub fn load(&self, folder: &str, on_event: impl FnMut(Event) + 'static) -> u32 {
        let folder = absolute(folder);
        self.inner
            .request(|id| Request::Load { id, folder }, None, on_event)
    }

    /// Hands a picture file's `bytes` to the worker, which decodes and keeps it; `on_event` gets
    /// `Picture` or `Failed`. The buffer is transferred: it is empty afterwards. The picture may
    /// be used in [`Client::run`] at once.
    pub fn picture(
        &self,
        bytes: ArrayBuffer,
        on_event: impl FnMut(Event) + 'static,
    ) -> PictureHandle {
        let name = self.inner.next_id();
        let build = |id| Request::Picture { id, picture: name };
        self.inner.request(build, Some(bytes), on_event);
        PictureHandle {
            name,
            inner: Rc::downgrade(&self.inner),
        }
    }

    /// Answers `prompt` about `pictures`; `on_event` gets `EncodingImage`, `Prefill` and `Token`
    /// events, then `Done` or `Failed`. At most `max_new_tokens` tokens are generated. The
    /// handles may be dropped before the answer is complete. Returns the request's id, for
    /// [`Client::cancel`].
    pub fn run(
        &self,
        pictures: &[&PictureHandle],
        prompt: &str,
        max_new_tokens: usize,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let pictures = pictures.iter().map(|picture| picture.name).collect();
        let prompt = prompt.to_owned();
        let build = |id| Request::Run {
            id,
            pictures,
            prompt,
            max_new_tokens,
        };
        self.inner.request(build, None, on_event)
    }

    /// Stops the run with this id at its next token; it ends with `Done` and what was generated
    /// so far. Without effect when it has ended.
    pub fn cancel(&self, id: u32) {
        self.inner.notify(&Request::Cancel { id });
    }

    /// Calls `f` when the worker could not be started, died, or is of another version than the
    /// page. By then every pending request has been answered with `Failed` and the same problem;
    /// later requests are, too: start a new client. `f` is called at once if it has happened
    /// already.
    pub fn on_worker_problem(&self, f: impl FnMut(Problem) + 'static) {
        self.inner.on_problem(f);
    }
}

/// A picture that the worker keeps, with its encoded features, until this is dropped.
pub struct PictureHandle {
    name: u32,
    inner: Weak<Inner>,
}

impl PictureHandle {
    /// The name of the picture in the protocol.
    pub fn name(&self) -> u32 {
        self.name
    }
}

impl Drop for PictureHandle {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.notify(&Request::DropPicture { picture: self.name });
        }
    }
}

/// The worker's base is its own script, not the page: what the page means is settled here. What
/// is not a URL goes as it is, for the worker to complain about.
fn absolute(folder: &str) -> String {
    environment::base_url()
        .and_then(|base| web_sys::Url::new_with_base(folder, &base).ok())
        .map_or_else(|| folder.to_owned(), |url| url.href())
}
