//! A web server for tests: plain folders, a hub's interface, and whatever goes wrong with either.
//!
//! It runs on a thread of its own, remembers every request, and does as its [`Fault`]s say.
//! Two of them are two origins.

#![allow(clippy::unwrap_used, reason = "what fails here fails a test")]

mod answer;
mod content;
mod fault;
mod hub;
mod sending;
mod state;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

pub use content::Content;
pub use fault::{Fault, Stated, What, When};
pub use hub::Repository;
pub use state::{Cors, Request};

use state::State;

/// A server on a free port of this machine, gone when dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Starts a server that has nothing yet and lets pages of every origin read what it will have.
    #[must_use]
    pub fn start() -> Self {
        let mut server = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: Arc::default(),
            running: None,
        };
        server.start_again();
        server
    }

    /// The URL of a path on this server; `path` begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Serves `content` at `path` (`/model/config.json`). What was there becomes an older version
    /// of it, with other validators.
    pub fn put(&self, path: &str, content: impl Into<Content>) {
        self.state.put(path, content.into());
    }

    /// Serves the files of a folder, and of those in it, below `prefix` (`/model`).
    pub fn put_folder(&self, prefix: &str, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let below = format!("{prefix}/{name}");
            if path.is_dir() {
                self.put_folder(&below, &path);
            } else {
                self.put(&below, Content::file(&path));
            }
        }
    }

    /// Serves a repository as a hub does. Where it has one of this name already, its branch `main`
    /// moves to this commit; the earlier one is there under its own.
    pub fn put_repository(&self, repository: Repository) {
        self.state.put_repository(repository);
    }

    /// Serves a built page: whatever is in `folder` and not at a path of its own.
    pub fn put_pages(&self, folder: &Path) {
        self.state.put_pages(folder);
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        self.state.remove(path);
    }

    /// From now on goes wrong as told. Where several faults fit a request, the first one acts.
    pub fn fault(&self, fault: Fault) {
        self.state.arm(fault);
    }

    /// The faults that have never acted. A test of a fault that did not happen shows nothing.
    pub fn idle_faults(&self) -> Vec<Fault> {
        self.state.idle_faults()
    }

    /// Forgets all faults and requests.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// What pages of other origins may see from now on.
    pub fn set_cors(&self, cors: Cors) {
        self.state.set_cors(cors);
    }

    /// Waits so long before each piece of 64 KiB, so that a transfer takes a time.
    pub fn set_pause(&self, pause: Duration) {
        self.state.set_pause(pause);
    }

    /// Isolates its pages from those of other origins, which browsers demand of a page that wants
    /// to know its own memory.
    pub fn isolate(&self) {
        self.state.isolate();
    }

    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests()
    }

    /// Those for a file, named by its path or the end of it: `model.safetensors`.
    pub fn requests_for(&self, file: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| fault::names(file, &request.path));
        requests
    }

    /// Bytes of bodies that were sent for a file, all requests together. Of a transfer that the
    /// other side has given up, the last ones may not have arrived.
    pub fn sent(&self, file: &str) -> u64 {
        let requests = self.requests_for(file);
        requests.iter().map(|request| request.sent).sum()
    }

    /// Ends all connections and takes no new ones, as if the machine were gone.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // Whoever does not listen any more has ended already.
            let _ = running.stop.send(());
            running.thread.join().unwrap();
        }
    }

    /// Comes back at the same address, with the same files.
    pub fn start_again(&mut self) {
        self.stop();
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let state = Arc::clone(&self.state);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            // Dropping the runtime drops every connection.
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, state) => {}
                    _ = stopped => {}
                }
            });
        });
        self.running = Some(Running { stop, thread });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(());
            // A panic of the server's has been printed; another one would abort the test.
            let _ = running.thread.join();
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| answer::answer(Arc::clone(&state), request));
            // Broken connections are what this server is for.
            let _ = hyper::server::conn::http1::Builder::new()
                // No more than this is on its way when a body is cut.
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
