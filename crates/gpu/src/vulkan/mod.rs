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

mod fence;
mod pipeline;
mod slice;

use std::cell::Cell;
use std::rc::Rc;

use ash::vk;
use wgpu::hal;

use crate::buffer::Buffer;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::program::{Program, Step};
use crate::submit::{Submission, copy};

pub(crate) use fence::Fence;
pub(crate) use pipeline::Pipeline;
use pipeline::Used;
use slice::{Encoded, Slice};

type Vulkan = hal::api::Vulkan;

/// A program's command buffers.
pub(crate) struct Commands {
    slices: Vec<Encoded>,
    used: Vec<Used>,
    buffers: Vec<Buffer>,
    fence: Rc<Fence>,
    /// What the fence says when they are done that were submitted last.
    last: Cell<u64>,
}

impl Gpu {
    /// The command buffers of a program that has been submitted before; none if they cannot be made.
    pub(crate) fn commands(&self, program: &Program) -> Option<Commands> {
        // SAFETY: neither is destroyed.
        let (hal, queue) = unsafe {
            let queue = self.0.queue.raw().as_hal::<Vulkan>()?;
            (self.0.device.as_hal::<Vulkan>()?, queue)
        };
        let fence = self.0.fence.get_or_init(|| Fence::new(&self.0.device));
        let mut commands = Commands {
            slices: Vec::new(),
            used: Vec::new(),
            buffers: Vec::new(),
            fence: fence.clone()?,
            last: Cell::new(0),
        };
        let mut steps = program.steps.iter().peekable();
        while steps.peek().is_some() {
            let mut slice = Slice::begin(&hal, &queue)?;
            let mut spent = 0;
            while let Some(step) = steps.next_if(|step| step.fits(spent, self.0.slice.get())) {
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
                        let buffers = bound.iter().map(|bound| bound.buffer.clone());
                        commands.buffers.extend(buffers);
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
                        commands.buffers.extend([source.clone(), target.clone()]);
                    }
                }
            }
            commands.slices.push(slice.end(spent)?);
        }
        Some(commands)
    }

    /// Hands them to the GPU, one after the other, and a copy after them.
    pub(crate) fn submit_commands(&self, all: &[&Commands], last: Option<&Step>) -> Submission {
        let (device, queue) = (&self.0.device, &self.0.queue);
        queue.submit_what_was_written();
        if self.check().is_err() {
            // Then nobody would end the wait for what was not submitted.
            return Submission(None);
        }
        if let Err(error) = self.submit_slices_of(all) {
            self.note(match error {
                hal::DeviceError::OutOfMemory => GpuError::OutOfMemory,
                other => GpuError::DeviceLost {
                    reason: other.to_string(),
                },
            });
            // wgpu frees the buffers of a lost device, and does not know that they are in use.
            for commands in all {
                commands.wait();
            }
            // As wgpu does: what comes would wait for what was not submitted.
            device.destroy();
            return Submission(None);
        }
        self.0
            .replayed
            .set(self.0.replayed.get() + all.len() as u64);
        let last = last.map(|step| {
            let mut after = device.create_command_encoder(&Default::default());
            copy(&mut after, step);
            after.finish()
        });
        // One that can be waited for, if only that.
        let submission = Submission(Some(queue.submit(last)));
        if self.check().is_err() {
            for commands in all {
                commands.wait();
            }
        }
        submission
    }

    /// As many at a time as a slice has room for.
    fn submit_slices_of(&self, all: &[&Commands]) -> Result<(), hal::DeviceError> {
        let queue = self.0.queue.raw();
        let (mut together, mut spent) = (Vec::new(), 0);
        for commands in all {
            for slice in &commands.slices {
                if spent + slice.cost > self.0.slice.get() {
                    Commands::submit(queue, &together)?;
                    together.clear();
                    spent = 0;
                }
                together.push((*commands, slice));
                spent += slice.cost;
            }
        }
        Commands::submit(queue, &together)
    }
}

impl Commands {
    fn submit(queue: &wgpu::Queue, together: &[(&Self, &Encoded)]) -> Result<(), hal::DeviceError> {
        let Some((Self { fence, .. }, _)) = together.first() else {
            return Ok(());
        };
        let buffers: Vec<_> = together.iter().map(|(_, slice)| &slice.buffer).collect();
        // SAFETY: the buffers are of this queue's device, as their fence is, which `submit_again` sees to. They
        // may be under way several times, and live with all that they use until the fence says that they are
        // done: their owner waits for that, and so does `submit_commands` if the device is lost, whose
        // buffers wgpu frees. Whoever submits something to this queue has its `Gpu`, which is in one
        // thread only.
        let value = unsafe { fence.submit(queue, &buffers)? };
        for (commands, _) in together {
            commands.last.set(value);
        }
        Ok(())
    }

    /// Waits until the GPU has done them; false: nobody knows whether it has.
    fn wait(&self) -> bool {
        self.fence.wait(self.last.get())
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        if !self.wait() {
            // What may be in use is rather kept for good.
            std::mem::forget((self.fence.clone(), std::mem::take(&mut self.slices)));
            std::mem::forget(std::mem::take(&mut self.used));
            std::mem::forget(std::mem::take(&mut self.buffers));
        }
    }
}
