//! Outside a browser a thread of its own compiles, and who needs a kernel fetches it there.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::Kernel;
use crate::device::Gpu;
use crate::pipelines::Key;

/// Compiles pipelines of one kind ahead. The thread ends when nothing is left to do, and no later than
/// this is dropped: a process that ends while a driver compiles may crash.
pub(crate) struct Ahead<P: Clone> {
    shared: Arc<Shared<P>>,
    thread: RefCell<Option<JoinHandle<()>>>,
}

struct Shared<P> {
    state: Mutex<State<P>>,
    /// A kernel is ready, or nothing is compiled any more.
    changed: Condvar,
}

struct State<P> {
    waiting: VecDeque<Kernel>,
    compiling: Option<Key>,
    /// Until somebody needs them.
    ready: HashMap<Key, P>,
    /// A thread is there, and looks for more before it ends.
    running: bool,
}

impl Gpu {
    pub(super) fn compile_ahead(&self, mut kernels: Vec<Kernel>) {
        let pipelines = &self.0.pipelines;
        kernels.retain(|kernel| !pipelines.has(&kernel.key));
        for kernel in &mut kernels {
            kernel.replayed &= self.replays();
        }
        let (compiler, also) = (self.0.compiler.clone(), self.0.compiler.clone());
        pipelines.ahead.begin(
            kernels,
            move |kernel| compiler.compile_ahead(kernel),
            move |kernel, made| also.compile_for_replay(kernel, made),
        );
    }

    /// Waits until what [`Gpu::prepare`] asked for is compiled, for tests; shaders of the kernels that nobody
    /// has needed yet.
    #[doc(hidden)]
    #[must_use]
    pub fn finish_preparing(&self) -> Vec<&'static str> {
        let keys = self.0.pipelines.ahead.finish();
        keys.into_iter().map(|(shader, _)| shader).collect()
    }

    /// Shaders of the kernels that were compiled when they were needed, not ahead, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn compiled_late(&self) -> Vec<&'static str> {
        self.0.pipelines.late()
    }
}

impl<P: Clone> Default for Ahead<P> {
    fn default() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            compiling: None,
            ready: HashMap::new(),
            running: false,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
            thread: RefCell::default(),
        }
    }
}

impl<P: Clone> Shared<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State<P>>) -> MutexGuard<'a, State<P>> {
        self.changed.wait(state).unwrap_or_else(|e| e.into_inner())
    }

    fn work(&self, make: &impl Fn(&Kernel) -> Option<P>, then: &impl Fn(&Kernel, &P)) {
        loop {
            let kernel = {
                let mut state = self.lock();
                let Some(kernel) = state.waiting.pop_front() else {
                    state.running = false;
                    self.changed.notify_all();
                    break;
                };
                state.compiling = Some(kernel.key.clone());
                kernel
            };
            let made = make(&kernel);
            let mut state = self.lock();
            state.compiling = None;
            if let Some(made) = &made {
                state.ready.insert(kernel.key.clone(), made.clone());
            }
            self.changed.notify_all();
            drop(state);
            if let Some(made) = &made {
                then(&kernel, made);
            }
        }
    }

    /// The kernel, if it is ready or being made. One that still waits is left to whoever asks.
    fn take(&self, key: &Key) -> Option<P> {
        let mut state = self.lock();
        state.waiting.retain(|kernel| kernel.key != *key);
        while state.compiling.as_ref() == Some(key) {
            state = self.wait(state);
        }
        state.ready.remove(key)
    }

    /// Nothing is compiled any more: whoever waits for a kernel compiles it.
    fn give_up(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        state.compiling = None;
        state.running = false;
        self.changed.notify_all();
    }
}

/// Lets go of those who wait for a thread that panics.
struct Ending<'a, P: Clone>(&'a Shared<P>);

impl<P: Clone> Drop for Ending<'_, P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

impl<P: Clone + Send + 'static> Ahead<P> {
    /// Has more kernels compiled, one after the other; one of which `make` makes nothing is left to whoever
    /// needs it. `then` goes on with one that whoever needs it may have already.
    fn begin(
        &self,
        kernels: Vec<Kernel>,
        make: impl Fn(&Kernel) -> Option<P> + Send + 'static,
        then: impl Fn(&Kernel, &P) + Send + 'static,
    ) {
        let mut state = self.shared.lock();
        for kernel in kernels {
            let key = &kernel.key;
            if let Some(known) = state.waiting.iter_mut().find(|it| it.key == *key) {
                known.replayed |= kernel.replayed;
            } else if !state.ready.contains_key(key) && state.compiling.as_ref() != Some(key) {
                state.waiting.push_back(kernel);
            }
        }
        if state.waiting.is_empty() || std::mem::replace(&mut state.running, true) {
            return;
        }
        drop(state);
        self.join();
        let shared = self.shared.clone();
        let work = move || {
            let ending = Ending(&shared);
            ending.0.work(&make, &then);
        };
        let thread = std::thread::Builder::new().name("paligemma compiles".to_owned());
        match thread.spawn(work) {
            Ok(thread) => drop(self.thread.replace(Some(thread))),
            // Kernels are compiled when they are used, then.
            Err(_) => self.shared.give_up(),
        }
    }
}

impl<P: Clone> Ahead<P> {
    /// As [`Shared::take`].
    pub(crate) fn take(&self, key: &Key) -> Option<P> {
        self.shared.take(key)
    }

    /// Waits until nothing is left to do; what is ready and has not been needed yet.
    fn finish(&self) -> Vec<Key> {
        let mut state = self.shared.lock();
        while state.running {
            state = self.shared.wait(state);
        }
        state.ready.keys().cloned().collect()
    }

    fn join(&self) {
        if let Some(thread) = self.thread.take() {
            // One that has panicked has told so on its own.
            let _ = thread.join();
        }
    }
}

impl<P: Clone> Drop for Ahead<P> {
    fn drop(&mut self) {
        self.shared.lock().waiting.clear();
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::pipelines::key;
    use crate::shader::{ADD, ARGMAX, GEGLU, Shader};

    const ALL: [&Shader; 3] = [&ADD, &ARGMAX, &GEGLU];

    fn kernel(shader: &'static Shader) -> Kernel {
        Kernel {
            key: key(shader, &[]),
            shader,
            constants: Vec::new(),
            replayed: false,
        }
    }

    /// A thread that says which kernel it has begun, and goes on when it is told to.
    fn ahead() -> (Ahead<&'static str>, Receiver<&'static str>, Sender<()>) {
        let ahead = Ahead::default();
        let (tell, told) = channel();
        let (go, wait) = channel();
        ahead.begin(
            ALL.map(kernel).into(),
            move |kernel: &Kernel| {
                tell.send(kernel.shader.name).unwrap();
                wait.recv().expect("it was told to go on");
                Some(kernel.shader.name)
            },
            |_, _| (),
        );
        (ahead, told, go)
    }

    #[test]
    fn who_needs_a_kernel_waits_for_it_only_where_it_is_being_made() {
        let (ahead, told, go) = ahead();
        assert_eq!(told.recv().unwrap(), "add");
        // This one still waits, so it is left to us.
        assert_eq!(ahead.take(&key(&ARGMAX, &[])), None);
        std::thread::scope(|scope| {
            let shared = &ahead.shared;
            let fetched = scope.spawn(|| shared.take(&key(&ADD, &[])));
            go.send(()).unwrap();
            assert_eq!(fetched.join().unwrap(), Some("add"));
        });
        assert_eq!(told.recv().unwrap(), "geglu");
        go.send(()).unwrap();
        assert_eq!(ahead.finish().len(), 1);
        assert_eq!(ahead.take(&key(&GEGLU, &[])), Some("geglu"));
        // What is known is not made again, and what is new has a thread again.
        ahead.begin(vec![kernel(&ADD)], |it| Some(it.shader.name), |_, _| ());
        ahead.begin(vec![kernel(&ADD)], |_| Some("again"), |_, _| ());
        assert_eq!(ahead.finish().len(), 1);
        assert_eq!(ahead.take(&key(&ADD, &[])), Some("add"));
    }

    #[test]
    fn who_goes_waits_for_one_kernel_and_not_for_all() {
        let (ahead, told, go) = ahead();
        assert_eq!(told.recv().unwrap(), "add");
        let shared = ahead.shared.clone();
        let gone = std::thread::spawn(move || drop(ahead));
        while !shared.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        go.send(()).unwrap();
        gone.join().unwrap();
        assert_eq!(told.iter().count(), 0, "no other was begun");
        assert_eq!(shared.lock().ready.len(), 1);
    }

    #[test]
    fn nobody_waits_for_a_compiler_that_panics() {
        let (ahead, told, go) = ahead();
        assert_eq!(told.recv().unwrap(), "add");
        drop(go);
        assert_eq!(ahead.take(&key(&ADD, &[])), None);
        assert_eq!(ahead.finish(), []);
        ahead.begin(vec![kernel(&ADD)], |it| Some(it.shader.name), |_, _| ());
        assert_eq!(ahead.finish().len(), 1);
    }
}
