//! Outside a browser a thread of its own compiles, and who needs a kernel fetches it there.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::{Needed, Prepared};
use crate::device::Gpu;
use crate::pipelines::{Constants, Key, key};
use crate::shader::Shader;

/// Compiles pipelines of one kind ahead. The thread ends when nothing is left to do, and no later than
/// this is dropped: a process that ends while a driver compiles may crash.
pub(crate) struct Ahead<P> {
    shared: Arc<Shared<P>>,
    thread: RefCell<Option<JoinHandle<()>>>,
}

struct Shared<P> {
    state: Mutex<State<P>>,
    /// A kernel is ready, or nothing is compiled any more.
    changed: Condvar,
}

struct State<P> {
    waiting: VecDeque<Order>,
    compiling: Option<Key>,
    /// Until somebody needs them.
    ready: HashMap<Key, P>,
    /// A thread is there, and looks for more before it ends.
    running: bool,
}

/// A kernel that somebody will need.
struct Order {
    key: Key,
    shader: &'static Shader,
    constants: Box<Constants>,
}

impl Gpu {
    /// None is ready yet.
    pub(super) fn compile_ahead(&self, Needed { many, step }: &Needed) -> usize {
        let order = |(shader, told): &Prepared| Order {
            key: key(shader, told),
            shader,
            constants: told.as_slice().into(),
        };
        let all = many.iter().chain(step).map(order);
        let compiler = self.0.compiler.clone();
        let pipelines = &self.0.pipelines;
        let new = all.filter(|order| !pipelines.has(&order.key));
        pipelines.ahead.begin(new, move |shader, constants| {
            compiler.compile(shader, constants)
        });
        #[cfg(vulkan)]
        if self.replays() {
            let compiler = self.0.compiler.clone();
            let pipelines = &self.0.vulkan_pipelines;
            let all = step.iter().map(order);
            let new = all.filter(|order| !pipelines.has(&order.key));
            pipelines.ahead.begin(new, move |shader, constants| {
                crate::vulkan::Pipeline::new(&compiler, shader, constants).map(std::sync::Arc::new)
            });
        }
        0
    }

    /// Waits until what [`Gpu::prepare`] asked for is compiled, for tests; how many pipelines nobody has
    /// needed yet.
    #[doc(hidden)]
    #[must_use]
    pub fn finish_preparing(&self) -> usize {
        let ready = self.0.pipelines.ahead.finish();
        #[cfg(vulkan)]
        let ready = ready + self.0.vulkan_pipelines.ahead.finish();
        ready
    }

    /// Shaders of the pipelines that were compiled when they were needed, not ahead, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn compiled_late(&self) -> Vec<&'static str> {
        let late = self.0.pipelines.late().into_iter();
        #[cfg(vulkan)]
        let late = late.chain(self.0.vulkan_pipelines.late());
        late.collect()
    }
}

impl<P> Default for Ahead<P> {
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

impl<P> Shared<P> {
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State<P>>) -> MutexGuard<'a, State<P>> {
        self.changed.wait(state).unwrap_or_else(|e| e.into_inner())
    }

    fn work(&self, make: &impl Fn(&'static Shader, &Constants) -> P) {
        loop {
            let order = {
                let mut state = self.lock();
                let Some(order) = state.waiting.pop_front() else {
                    state.running = false;
                    break;
                };
                state.compiling = Some(order.key.clone());
                order
            };
            let made = make(order.shader, &order.constants);
            let mut state = self.lock();
            state.compiling = None;
            state.ready.insert(order.key, made);
            self.changed.notify_all();
        }
    }

    /// The kernel, if it is ready or being made. One that still waits is left to whoever asks.
    fn take(&self, key: &Key) -> Option<P> {
        let mut state = self.lock();
        state.waiting.retain(|order| order.key != *key);
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
struct Ending<'a, P>(&'a Shared<P>);

impl<P> Drop for Ending<'_, P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

impl<P: Send + 'static> Ahead<P> {
    /// Has more kernels compiled, one after the other.
    fn begin(
        &self,
        orders: impl Iterator<Item = Order>,
        make: impl Fn(&'static Shader, &Constants) -> P + Send + 'static,
    ) {
        let mut state = self.shared.lock();
        for order in orders {
            let key = &order.key;
            let known = state.ready.contains_key(key)
                || state.compiling.as_ref() == Some(key)
                || state.waiting.iter().any(|it| it.key == *key);
            if !known {
                state.waiting.push_back(order);
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
            ending.0.work(&make);
        };
        let thread = std::thread::Builder::new().name("paligemma compiles".to_owned());
        match thread.spawn(work) {
            Ok(thread) => drop(self.thread.replace(Some(thread))),
            // Kernels are compiled when they are used, then.
            Err(_) => self.shared.give_up(),
        }
    }
}

impl<P> Ahead<P> {
    /// As [`Shared::take`].
    pub(crate) fn take(&self, key: &Key) -> Option<P> {
        self.shared.take(key)
    }

    /// Waits until nothing is left to do; how many are ready and have not been needed yet.
    fn finish(&self) -> usize {
        let mut state = self.shared.lock();
        while state.compiling.is_some() || !state.waiting.is_empty() {
            state = self.shared.wait(state);
        }
        state.ready.len()
    }

    fn join(&self) {
        if let Some(thread) = self.thread.take() {
            // One that has panicked has told so on its own.
            let _ = thread.join();
        }
    }
}

impl<P> Drop for Ahead<P> {
    fn drop(&mut self) {
        self.shared.lock().waiting.clear();
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::shader::{ADD, ARGMAX, GEGLU};

    const ALL: [&Shader; 3] = [&ADD, &ARGMAX, &GEGLU];

    fn order(shader: &'static Shader) -> Order {
        Order {
            key: key(shader, &[]),
            shader,
            constants: Box::new([]),
        }
    }

    /// A thread that says which kernel it has begun, and goes on when it is told to.
    fn ahead() -> (Ahead<&'static str>, Receiver<&'static str>, Sender<()>) {
        let ahead = Ahead::default();
        let (tell, told) = channel();
        let (go, wait) = channel();
        ahead.begin(ALL.into_iter().map(order), move |shader, _| {
            tell.send(shader.name).unwrap();
            wait.recv().expect("it was told to go on");
            shader.name
        });
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
        assert_eq!(ahead.finish(), 1);
        assert_eq!(ahead.take(&key(&GEGLU, &[])), Some("geglu"));
        // What is known is not made again, and what is new has a thread again.
        ahead.begin([order(&ADD)].into_iter(), |shader, _| shader.name);
        ahead.begin([order(&ADD)].into_iter(), |_, _| "again");
        assert_eq!(ahead.finish(), 1);
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
        assert_eq!(ahead.finish(), 0);
        ahead.begin([order(&ADD)].into_iter(), |shader, _| shader.name);
        assert_eq!(ahead.finish(), 1);
    }
}
