//! The page's side: starts the worker, sends requests, hands each answer to whoever asked.

mod inner;

use std::rc::{Rc, Weak};

use js_sys::ArrayBuffer;

use self::inner::{Beside, Inner};
use crate::environment;
use crate::message::Files;
use crate::protocol::{
    CachePrecision, Event, Generation, Look, ModelSource, Problem, Request, Tuned, Wanted,
};

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

    /// What is kept of this machine's adapters, which goes along with every later load.
    pub fn know(&self, tuned: Vec<Tuned>) {
        self.inner.options.borrow_mut().tuned = tuned;
    }

    /// How later loads keep keys and values, and models that are made up to be measured; none: as
    /// suits the weights.
    pub fn keep_cache_as(&self, cache: Option<CachePrecision>) {
        self.inner.options.borrow_mut().cache = cache;
    }

    /// Loads a model straight to the GPU, without keeping it; `on_event` gets `Loading` events,
    /// then `Ready` or `Failed`. `files` matter to [`ModelSource::Files`] only. Returns the
    /// request's id.
    pub fn load(
        &self,
        wanted: Wanted,
        files: &Files,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let wanted = absolute(wanted);
        let options = self.inner.options.borrow().clone();
        let build = |id| Request::Load {
            id,
            wanted,
            options,
        };
        self.inner.request(build, Beside::Files(files), on_event)
    }

    /// Asks what fetching a model would mean; `on_event` gets `Offer` or `Failed`. Returns the
    /// request's id.
    pub fn examine(
        &self,
        wanted: Wanted,
        files: &Files,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let wanted = absolute(wanted);
        let build = |id| Request::Examine { id, wanted };
        self.inner.request(build, Beside::Files(files), on_event)
    }

    /// Fetches the model that was offered under `key` and keeps it, going on where an earlier
    /// attempt ended; `on_event` gets `Fetching` events, then `Kept`, `Failed` or, after
    /// [`Client::cancel`], `Paused`. Of a model that is kept in full, damaged pieces are fetched
    /// again. Returns the request's id.
    pub fn fetch(
        &self,
        wanted: Wanted,
        files: &Files,
        key: &str,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        self.begin_fetch(wanted, files, key, false, on_event)
    }

    /// As [`Client::fetch`]; where the network or the server fails, it waits until it can go on
    /// instead of failing, and `on_event` gets `Waiting` events.
    pub fn fetch_patiently(
        &self,
        wanted: Wanted,
        files: &Files,
        key: &str,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        self.begin_fetch(wanted, files, key, true, on_event)
    }

    fn begin_fetch(
        &self,
        wanted: Wanted,
        files: &Files,
        key: &str,
        patient: bool,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let (wanted, key) = (absolute(wanted), key.to_owned());
        let build = |id| Request::Fetch {
            id,
            wanted,
            key,
            patient,
        };
        self.inner.request(build, Beside::Files(files), on_event)
    }

    /// Lets a fetch that waits try again at once, unless the server asked for the pause. Without
    /// effect on any other.
    pub fn hurry(&self, id: u32) {
        self.inner.notify(&Request::Hurry { id });
    }

    /// Loads a kept model; `on_event` gets `Loading` events, then `Ready` or `Failed`. Returns the
    /// request's id.
    pub fn load_kept(&self, key: &str, on_event: impl FnMut(Event) + 'static) -> u32 {
        let (key, options) = (key.to_owned(), self.inner.options.borrow().clone());
        let build = |id| Request::LoadKept { id, key, options };
        self.inner.request(build, Beside::Nothing, on_event)
    }

    /// Asks what is kept; `on_event` gets `Library`.
    pub fn library(&self, on_event: impl FnMut(Event) + 'static) {
        let build = |id| Request::Library { id };
        self.inner.request(build, Beside::Nothing, on_event);
    }

    /// Removes a kept model; `on_event` gets `Library` or `Failed`.
    pub fn delete(&self, key: &str, on_event: impl FnMut(Event) + 'static) {
        let key = key.to_owned();
        let build = |id| Request::Delete { id, key };
        self.inner.request(build, Beside::Nothing, on_event);
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
        self.inner.request(build, Beside::Bytes(bytes), on_event);
        PictureHandle {
            name,
            inner: Rc::downgrade(&self.inner),
        }
    }

    /// Hands a mask decoder to the worker, `vae-oid.npz` or safetensors with the same names: for the
    /// model that is loaded and for later ones that come without; with a kept model it is kept.
    /// `on_event` gets `MaskDecoder` or `Failed`. The buffer is transferred: it is empty afterwards.
    pub fn mask_decoder(
        &self,
        name: &str,
        bytes: ArrayBuffer,
        on_event: impl FnMut(Event) + 'static,
    ) {
        let name = name.to_owned();
        let build = |id| Request::MaskDecoder { id, name };
        self.inner.request(build, Beside::Bytes(bytes), on_event);
    }

    /// Answers `prompt` about `pictures`; `on_event` gets `EncodingImage`, `Prefill`, `Token` and
    /// `Masks` events, then `Done` or `Failed`. At most `max_new_tokens` tokens are generated. The
    /// handles may be dropped before the answer is complete. Returns the request's id, for
    /// [`Client::cancel`].
    pub fn run(
        &self,
        pictures: &[&PictureHandle],
        prompt: &str,
        max_new_tokens: usize,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let greedy = Generation::default();
        self.run_with(pictures, prompt, max_new_tokens, greedy, on_event)
    }

    /// [`Client::run`], with tokens picked as `generation` says.
    pub fn run_with(
        &self,
        pictures: &[&PictureHandle],
        prompt: &str,
        max_new_tokens: usize,
        generation: Generation,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let pictures = pictures.iter().map(|picture| picture.name).collect();
        let prompt = prompt.to_owned();
        let build = |id| Request::Run {
            id,
            pictures,
            prompt,
            max_new_tokens,
            generation,
        };
        self.inner.request(build, Beside::Nothing, on_event)
    }

    /// Draws who attends to whom in `prompt` with the answer `suffix`, by the tokens of the model
    /// that is loaded; `on_event` gets `Mask` or `Failed`. It waits for what runs before it.
    pub fn mask(&self, prompt: &str, suffix: &str, on_event: impl FnMut(Event) + 'static) {
        let (prompt, suffix) = (prompt.to_owned(), suffix.to_owned());
        let build = |id| Request::Mask { id, prompt, suffix };
        self.inner.request(build, Beside::Nothing, on_event);
    }

    /// Asks where the model looked when it chose a token of an answer about `pictures`; `on_event`
    /// gets `Attention` or `Failed`. Returns the request's id.
    pub fn attention(
        &self,
        pictures: &[&PictureHandle],
        look: Look,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let pictures = pictures.iter().map(|picture| picture.name).collect();
        let build = |id| Request::Attention { id, pictures, look };
        self.inner.request(build, Beside::Nothing, on_event)
    }

    /// Measures how fast the loaded model, called `name`, is here, or one of a published `shape`
    /// with made-up weights, and first which kernels suit the adapter; `on_event` gets `Measuring` events, then `Measured` or `Failed`. It
    /// waits for what runs before it. Returns the request's id, for [`Client::cancel`].
    pub fn bench(
        &self,
        name: &str,
        shape: Option<String>,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let name = name.to_owned();
        let cache = self.inner.options.borrow().cache;
        let build = |id| Request::Bench {
            id,
            name,
            shape,
            cache,
        };
        self.inner.request(build, Beside::Nothing, on_event)
    }

    /// Stops the request with this id: a run ends at its next token, with `Done` and what was
    /// generated so far; a measurement ends with `Failed`; a fetch ends with `Paused`, and what has arrived is kept; a load ends
    /// with `Failed`. Without effect when it has ended.
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
fn absolute(mut wanted: Wanted) -> Wanted {
    for source in [Some(&mut wanted.source), wanted.adapter.as_mut()] {
        if let Some(ModelSource::Url { url } | ModelSource::Hub { base_url: url, .. }) = source
            && let Some(base) = environment::base_url()
            && let Ok(absolute) = web_sys::Url::new_with_base(url, &base)
        {
            *url = absolute.href();
        }
    }
    wanted
}
