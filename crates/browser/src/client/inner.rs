//! What the clones of a client share: the worker, who waits for which answer, what waits to be
//! sent.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use js_sys::{Array, ArrayBuffer};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{ErrorEvent, MessageEvent, Worker, WorkerOptions, WorkerType};

use crate::message::{self, Files};
use crate::protocol::{Event, LoadOptions, PROTOCOL_VERSION, Problem, ProblemKind, Request};

type Callback<T> = Box<dyn FnMut(T)>;
type Listener<T> = Closure<dyn FnMut(T)>;

/// See the [module](self).
pub(super) struct Inner {
    worker: Worker,
    last_id: Cell<u32>,
    state: RefCell<State>,
    /// By request; absent while the callback is being called.
    pending: RefCell<HashMap<u32, Callback<Event>>>,
    problem_listeners: RefCell<Vec<Callback<Problem>>>,
    /// What goes along with every load.
    pub(super) options: RefCell<LoadOptions>,
    /// Kept alive as long as the worker may call them.
    listeners: RefCell<Option<Listeners>>,
}

/// What travels beside a request.
pub(super) enum Beside<'a> {
    Nothing,
    /// A picture's bytes, transferred.
    Bytes(ArrayBuffer),
    /// Files, which the browser hands over without reading them.
    Files(&'a Files),
}

enum State {
    /// Not heard of yet; messages wait here in order.
    Starting(Vec<Outgoing>),
    Listening,
    Dead(Problem),
}

struct Outgoing {
    /// Who waits for an answer.
    id: Option<u32>,
    message: JsValue,
    bytes: Option<ArrayBuffer>,
}

struct Listeners {
    _message: Listener<MessageEvent>,
    _message_error: Listener<MessageEvent>,
    _error: Listener<web_sys::Event>,
}

impl Inner {
    pub(super) fn start(worker_url: &str) -> Result<Rc<Inner>, Problem> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let worker = Worker::new_with_options(worker_url, &options).map_err(|error| {
            worker_problem(format!(
                "The browser refused to start the worker {worker_url} ({}): reload the page, and \
                 check that it is served whole.",
                describe(&error)
            ))
        })?;
        let inner = Rc::new(Inner {
            worker,
            last_id: Cell::new(0),
            state: RefCell::new(State::Starting(Vec::new())),
            pending: RefCell::default(),
            problem_listeners: RefCell::default(),
            options: RefCell::default(),
            listeners: RefCell::default(),
        });
        inner.listen(worker_url);
        Ok(inner)
    }

    /// An id that this client has not used yet.
    pub(super) fn next_id(&self) -> u32 {
        let id = self.last_id.get().wrapping_add(1);
        self.last_id.set(id);
        id
    }

    /// Sends what `build` makes of a fresh id and routes its answers to `on_event`.
    pub(super) fn request(
        self: &Rc<Self>,
        build: impl FnOnce(u32) -> Request,
        beside: Beside<'_>,
        on_event: impl FnMut(Event) + 'static,
    ) -> u32 {
        let id = self.next_id();
        self.pending.borrow_mut().insert(id, Box::new(on_event));
        if let Err(problem) = self.send(&build(id), beside) {
            // Not from within the caller's call: it may not be ready to hear of it.
            let weak = Rc::downgrade(self);
            spawn_local(async move {
                if let Some(inner) = weak.upgrade() {
                    inner.dispatch(id, Event::Failed { id, problem });
                }
            });
        }
        id
    }

    /// Sends a request that has no answer. Nothing is lost when it cannot be sent: it then only
    /// concerns a worker that is gone.
    pub(super) fn notify(&self, request: &Request) {
        let _ = self.send(request, Beside::Nothing);
    }

    /// Registers `f` for the worker's end, or calls it when that has come already.
    pub(super) fn on_problem(&self, mut f: impl FnMut(Problem) + 'static) {
        let dead = match &*self.state.borrow() {
            State::Dead(problem) => Some(problem.clone()),
            _ => None,
        };
        match dead {
            Some(problem) => f(problem),
            None => self.problem_listeners.borrow_mut().push(Box::new(f)),
        }
    }

    fn send(&self, request: &Request, beside: Beside<'_>) -> Result<(), Problem> {
        let message = message::to_js(request)?;
        let bytes = match beside {
            Beside::Nothing => None,
            Beside::Files(files) => {
                message::attach_files(&message, files)?;
                None
            }
            Beside::Bytes(bytes) => {
                message::attach_bytes(&message, &bytes)?;
                Some(bytes)
            }
        };
        let outgoing = Outgoing {
            id: request.id(),
            message,
            bytes,
        };
        match &mut *self.state.borrow_mut() {
            State::Starting(waiting) => {
                waiting.push(outgoing);
                Ok(())
            }
            State::Listening => self.post(&outgoing),
            State::Dead(problem) => Err(problem.clone()),
        }
    }

    fn post(&self, outgoing: &Outgoing) -> Result<(), Problem> {
        let posted = match &outgoing.bytes {
            Some(bytes) => self
                .worker
                .post_message_with_transfer(&outgoing.message, &Array::of1(bytes)),
            None => self.worker.post_message(&outgoing.message),
        };
        posted.map_err(|error| Problem {
            kind: ProblemKind::Internal,
            message: format!(
                "A message could not be handed to the worker ({}): choose the picture again, or \
                 reload the page.",
                describe(&error)
            ),
        })
    }

    fn listen(self: &Rc<Self>, worker_url: &str) {
        let weak = Rc::downgrade(self);
        let on_message = listener(weak, |inner, event: MessageEvent| {
            inner.receive(event.data())
        });

        let weak = Rc::downgrade(self);
        let on_message_error = listener(weak, |inner, _: MessageEvent| {
            inner.die(worker_problem(
                "The worker sent something this page cannot read: reload the page, and report \
                 this if it happens again."
                    .to_owned(),
            ));
        });

        let weak = Rc::downgrade(self);
        let url = worker_url.to_owned();
        let on_error = listener(weak, move |inner, event: web_sys::Event| {
            let started = matches!(*inner.state.borrow(), State::Listening);
            inner.die(worker_problem(describe_error(&event, started, &url)));
        });

        self.worker
            .set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        self.worker
            .set_onmessageerror(Some(on_message_error.as_ref().unchecked_ref()));
        self.worker
            .set_onerror(Some(on_error.as_ref().unchecked_ref()));
        *self.listeners.borrow_mut() = Some(Listeners {
            _message: on_message,
            _message_error: on_message_error,
            _error: on_error,
        });
    }

    fn receive(&self, data: JsValue) {
        match message::from_js::<Event>(data) {
            Ok(Event::Started {
                protocol: PROTOCOL_VERSION,
            }) => self.flush(),
            Ok(Event::Started { protocol }) => self.die(worker_problem(format!(
                "The page speaks version {PROTOCOL_VERSION} of its protocol and the worker version \
                 {protocol}, so one of them is an old copy: reload the page without the cache \
                 (Ctrl+Shift+R)."
            ))),
            Ok(event) => {
                if let Some(id) = event.id() {
                    self.dispatch(id, event);
                }
            }
            Err(problem) => self.die(problem),
        }
    }

    /// The worker listens: sends what has waited.
    fn flush(&self) {
        let waiting = match &mut *self.state.borrow_mut() {
            state @ State::Starting(_) => match std::mem::replace(state, State::Listening) {
                State::Starting(waiting) => waiting,
                State::Listening | State::Dead(_) => return,
            },
            State::Listening | State::Dead(_) => return,
        };
        for outgoing in waiting {
            if let (Err(problem), Some(id)) = (self.post(&outgoing), outgoing.id) {
                self.dispatch(id, Event::Failed { id, problem });
            }
        }
    }

    /// Hands an event to the callback of its request. The callback is taken out meanwhile, so
    /// that it may use the client freely.
    fn dispatch(&self, id: u32, event: Event) {
        let Some(mut callback) = self.pending.borrow_mut().remove(&id) else {
            return;
        };
        let last = event.is_terminal();
        callback(event);
        if !last {
            self.pending.borrow_mut().insert(id, callback);
        }
    }

    /// The end of this worker: whoever waits is told, and nothing is sent any more.
    fn die(&self, problem: Problem) {
        if matches!(*self.state.borrow(), State::Dead(_)) {
            return;
        }
        *self.state.borrow_mut() = State::Dead(problem.clone());
        self.worker.terminate();
        let mut pending: Vec<_> = self.pending.borrow_mut().drain().collect();
        pending.sort_by_key(|(id, _)| *id);
        for (id, mut callback) in pending {
            callback(Event::Failed {
                id,
                problem: problem.clone(),
            });
        }
        let listeners = std::mem::take(&mut *self.problem_listeners.borrow_mut());
        for mut listener in listeners {
            listener(problem.clone());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onmessageerror(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

/// A listener that does not keep `inner` alive, but holds it while it runs.
fn listener<E>(inner: Weak<Inner>, mut f: impl FnMut(&Inner, E) + 'static) -> Listener<E>
where
    E: wasm_bindgen::convert::FromWasmAbi + 'static,
{
    Closure::new(move |event: E| {
        if let Some(inner) = inner.upgrade() {
            f(&inner, event);
        }
    })
}

/// Why the worker failed: with a message when its code did, without one when it never ran.
fn describe_error(event: &web_sys::Event, started: bool, url: &str) -> String {
    let reason = event
        .dyn_ref::<ErrorEvent>()
        .map(ErrorEvent::message)
        .filter(|message| !message.is_empty());
    match (started, reason) {
        (true, reason) => format!(
            "The worker stopped ({}): reload the page, and report what the browser's console says \
             if it happens again.",
            reason.as_deref().unwrap_or("no reason was given")
        ),
        (false, Some(reason)) => format!(
            "The worker {url} failed to start ({reason}): reload the page, and report this if it \
             happens again."
        ),
        (false, None) => format!(
            "The worker {url} could not be fetched: check the connection and that the page is \
             served whole, then reload."
        ),
    }
}

fn describe(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => error
            .as_string()
            .unwrap_or_else(|| "no reason was given".to_owned()),
    }
}

fn worker_problem(message: String) -> Problem {
    Problem {
        kind: ProblemKind::Worker,
        message,
    }
}
