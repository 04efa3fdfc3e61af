//! Compiling kernels before they are needed.

#[cfg(not(target_arch = "wasm32"))]
mod ahead;
#[cfg(target_arch = "wasm32")]
mod browser;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::pipelines::{Key, key};
use crate::program::{Recorded, Recorder};
use crate::shader::Shader;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use ahead::Ahead;

/// Kernels that programs will use, each once, in the order in which they are needed.
#[derive(Default)]
pub struct Needed(Vec<Kernel>);

/// A kernel, and the values of those of its overridable constants that are not their defaults.
#[derive(Clone)]
pub(crate) struct Kernel {
    pub(crate) key: Key,
    pub(crate) shader: &'static Shader,
    pub(crate) constants: Vec<(&'static str, f64)>,
    /// For a program that is submitted again and again.
    pub(crate) replayed: bool,
}

impl Needed {
    /// Adds those of what was recorded. As a program it is perhaps to be replayed: see [`Program::for_replay`](crate::Program::for_replay).
    ///
    /// # Errors
    /// Whatever failed while it was recorded.
    pub fn add(&mut self, recorded: Recorder, replayed: bool) -> Result<(), GpuError> {
        if let Some(error) = recorded.error {
            return Err(error);
        }
        for step in recorded.steps {
            let Recorded::Dispatch {
                shader, constants, ..
            } = step
            else {
                continue;
            };
            let key = key(shader, &constants);
            match self.0.iter_mut().find(|known| known.key == key) {
                Some(known) => known.replayed |= replayed,
                None => self.0.push(Kernel {
                    key,
                    shader,
                    constants,
                    replayed,
                }),
            }
        }
        Ok(())
    }
}

impl Gpu {
    /// Records what will be, for what can be told from it: until this ends, buffers are next to nothing,
    /// however large they are said to be, programs do nothing, and nothing is written or submitted. What is
    /// made meanwhile is of no use afterwards. Nothing is to be read or waited for.
    pub fn sketch<T>(&self, record: impl FnOnce() -> T) -> T {
        let sketching = &self.0.queue.sketching;
        let _sketch = Sketch(self, sketching.replace(true));
        record()
    }

    /// Has kernels compiled beside whatever else is going on, a model's loading above all. Nothing depends
    /// on it: a kernel that is not ready is compiled when it is used. Returns how many were asked for
    /// and how many are ready. In a browser, which compiles them all at once, this ends when they are;
    /// elsewhere none is ready yet, as a thread compiles one after the other, for as long as it takes or
    /// this device lives.
    ///
    /// It begins when this is first polled.
    pub async fn prepare(&self, needed: Needed) -> [usize; 2] {
        let asked = needed.0.len();
        #[cfg(target_arch = "wasm32")]
        let ready = self.compile_all(&needed.0).await;
        #[cfg(not(target_arch = "wasm32"))]
        let ready = {
            self.compile_ahead(needed.0);
            0
        };
        [asked, ready]
    }

    /// The same, for whoever does not wait. A browser keeps this device until it is done.
    pub fn prepare_meanwhile(&self, needed: Needed) {
        #[cfg(target_arch = "wasm32")]
        {
            let gpu = self.clone();
            wasm_bindgen_futures::spawn_local(async move {
                gpu.prepare(needed).await;
            });
        }
        #[cfg(not(target_arch = "wasm32"))]
        self.compile_ahead(needed.0);
    }
}

/// A sketch as long as it lives, and whether it is part of another.
struct Sketch<'g>(&'g Gpu, bool);

impl Drop for Sketch<'_> {
    fn drop(&mut self) {
        self.0.0.queue.sketching.set(self.1);
    }
}
