//! The device's queue.

use std::cell::Cell;

/// wgpu's queue, and whether it still holds something back.
pub(crate) struct Queue {
    queue: wgpu::Queue,
    /// Something was written since the last submission; wgpu holds it back until the next one.
    written: Cell<bool>,
    /// Nothing is written: see [`Gpu::sketch`](crate::Gpu::sketch).
    pub(crate) sketching: Cell<bool>,
}

impl Queue {
    pub(crate) fn new(queue: wgpu::Queue) -> Self {
        Self {
            queue,
            written: Cell::new(false),
            sketching: Cell::new(false),
        }
    }

    /// Writes before whatever is submitted from now on.
    pub(crate) fn write(&self, buffer: &wgpu::Buffer, at: u64, bytes: &[u8]) {
        if !self.sketching.get() {
            self.queue.write_buffer(buffer, at, bytes);
            self.written.set(true);
        }
    }

    pub(crate) fn submit(
        &self,
        commands: impl IntoIterator<Item = wgpu::CommandBuffer>,
    ) -> wgpu::SubmissionIndex {
        self.written.set(false);
        self.queue.submit(commands)
    }

    /// Submits what was written, for whoever submits past wgpu.
    #[cfg(vulkan)]
    pub(crate) fn submit_what_was_written(&self) {
        if self.written.get() {
            self.submit([]);
        }
    }

    /// For all but writing and submitting.
    pub(crate) fn raw(&self) -> &wgpu::Queue {
        &self.queue
    }
}
