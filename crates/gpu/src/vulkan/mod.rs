//! Command buffers that are encoded once and submitted again and again, beneath wgpu's tracking but by
//! its own back end and through its own queue.
//!
//! What wgpu would do is done here instead:
//!
//! - pipelines and bind groups are made a second time, from the same sources, by the same back end;
//! - work waits for work as [`crate::hazards`] says, and at either end of a command buffer for everything
//!   and everything for it, whatever wgpu believes to have happened last to a buffer;
//! - wgpu does not know that the GPU uses the buffers, so their owner, the program, waits for the
//!   GPU before it lets go of them.

#![expect(unsafe_code, reason = "wgpu's back ends are unsafe to use")]

mod pipeline;
mod slice;

use std::cell::Cell;

use ash::vk;
use wgpu::hal::{self, Device as _, Queue as _};

use crate::device::Gpu;
use crate::error::GpuError;
use crate::program::{Program, Step};
use crate::submit::{Submission, copy};

pub(crate) use pipeline::Pipeline;
use pipeline::Used;
use slice::{Encoded, Slice};

type Vulkan = hal::api::Vulkan;

/// A program's command buffers.
pub(crate) struct Commands {
    device: wgpu::Device,
    slices: Vec<Encoded>,
    used: Vec<Used>,
    // Taken only when it is dropped.
    fence: Option<hal::vulkan::Fence>,
    submitted: Cell<u64>,
}

impl Gpu {
    /// The command buffers of a program that has been submitted before; none if they cannot be made.
    pub(crate) fn commands(&self, program: &Program) -> Option<Commands> {
        let device = self.0.device.clone();
        // SAFETY: neither is destroyed.
        let (hal, queue) = unsafe {
            let queue = self.0.queue.raw().as_hal::<Vulkan>()?;
            (device.as_hal::<Vulkan>()?, queue)
        };
        let mut commands = Commands {
            device: device.clone(),
            slices: Vec::new(),
            // SAFETY: it is destroyed before the device.
            fence: Some(unsafe { hal.create_fence() }.ok()?),
            submitted: Cell::new(0),
            used: Vec::new(),
        };
        let mut steps = program.steps.iter().peekable();
        while steps.peek().is_some() {
            let mut slice = Slice::begin(&hal, &queue)?;
            let mut spent = 0;
            while spent < self.0.slice.get()
                && let Some(step) = steps.next()
            {
                slice.wait_if_needed(step);
                match step {
                    Step::Dispatch {
                        shader,
                        constants,
                        bound,
                        workgroups,
                        cost,
                        ..
                    } => {
                        let used = Used::new(self, shader, constants, bound)?;
                        slice.dispatch(&used, *workgroups);
                        commands.used.push(used);
                        spent += cost;
                    }
                    Step::Copy {
                        source,
                        source_offset,
                        target,
                        target_offset,
                        bytes,
                    } => {
                        let region = vk::BufferCopy {
                            src_offset: *source_offset,
                            dst_offset: *target_offset,
                            size: *bytes,
                        };
                        slice.copy([source.raw(), target.raw()], region)?;
                    }
                }
            }
            commands.slices.push(slice.end()?);
        }
        Some(commands)
    }

    /// Hands them to the GPU, and a copy after them.
    pub(crate) fn submit_commands(&self, commands: &Commands, last: Option<&Step>) -> Submission {
        let (device, queue) = (&self.0.device, &self.0.queue);
        queue.submit_what_was_written();
        if let Err(error) = commands.submit(queue.raw()) {
            self.note(match error {
                hal::DeviceError::OutOfMemory => GpuError::OutOfMemory,
                other => GpuError::DeviceLost {
                    reason: other.to_string(),
                },
            });
            // As wgpu does: what comes would wait for what was not submitted.
            device.destroy();
            return Submission(None);
        }
        self.0.replayed.set(self.0.replayed.get() + 1);
        let last = last.map(|step| {
            let mut after = device.create_command_encoder(&Default::default());
            copy(&mut after, step);
            after.finish()
        });
        // One that can be waited for, if only that.
        let submission = Submission(Some(queue.submit(last)));
        if self.check().is_err() {
            // wgpu frees the buffers of a lost device, and does not know that they are in use.
            commands.wait();
        }
        submission
    }
}

impl Commands {
    fn submit(&self, queue: &wgpu::Queue) -> Result<(), hal::DeviceError> {
        let Some(fence) = &self.fence else {
            return Ok(());
        };
        // SAFETY: the buffers are of this queue's device, which `submit_again` sees to. They may be under
        // way several times, and live with all that they use until the fence says that they are done: their
        // owner waits for that, and so does `submit_commands` if the device is lost, whose buffers wgpu
        // frees. Whoever submits something to this queue has its `Gpu`, which is in one thread only.
        unsafe {
            let queue = queue.as_hal::<Vulkan>().ok_or(hal::DeviceError::Lost)?;
            for Encoded { buffer, .. } in &self.slices {
                let value = self.submitted.get() + 1;
                queue.submit(&[buffer], &[], (fence, value))?;
                self.submitted.set(value);
            }
        }
        Ok(())
    }

    /// Waits until the GPU has done them; false: nobody knows whether it has.
    fn wait(&self) -> bool {
        let Some(fence) = &self.fence else {
            return true;
        };
        // SAFETY: all submissions that signal the fence have been made.
        unsafe {
            let Some(hal) = self.device.as_hal::<Vulkan>() else {
                return false;
            };
            // A lost device uses nothing any more.
            let done = hal.wait(fence, self.submitted.get(), None);
            matches!(done, Ok(true) | Err(hal::DeviceError::Lost))
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        let done = self.wait();
        let fence = self.fence.take();
        if !done {
            // What may be in use is rather kept for good.
            std::mem::forget((fence, std::mem::take(&mut self.slices)));
            std::mem::forget(std::mem::take(&mut self.used));
            return;
        }
        // SAFETY: it has been signalled for the last time.
        unsafe {
            if let (Some(hal), Some(fence)) = (self.device.as_hal::<Vulkan>(), fence) {
                hal.destroy_fence(fence);
            }
        }
    }
}
