//! Command buffers that are encoded once and submitted again and again, beneath wgpu's tracking but by
//! its own back end and through its own queue.
//!
//! What wgpu would do is done here instead:
//!
//! - pipelines and bind groups are made a second time, from the same sources, by the same back end;
//! - work waits for work as [`Hazards`] says, and at either end of a command buffer for everything
//!   and everything for it, whatever wgpu believes to have happened last to a buffer;
//! - wgpu does not know that the GPU uses the buffers, so their owner, the program, waits for the
//!   GPU before it lets go of them.

#![expect(unsafe_code, reason = "wgpu's back ends are unsafe to use")]

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use ash::vk;
use wgpu::hal::{self, CommandEncoder as _, Device as _, Queue as _};
use wgpu::naga;

use crate::device::{Constants, Gpu, key, layout_entries};
use crate::error::GpuError;
use crate::hazards::{Access, Hazards};
use crate::program::{Bound, Program, Step};
use crate::shader::Shader;
use crate::submit::{Submission, copy};

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

struct Encoded {
    buffer: hal::vulkan::CommandBuffer,
    // Owns it.
    _encoder: hal::vulkan::CommandEncoder,
}

/// What a dispatch uses.
struct Used {
    group: Group,
    pipeline: Rc<Pipeline>,
}

/// A compute pipeline and its layouts.
pub(crate) struct Pipeline {
    device: wgpu::Device,
    // Taken only when it is dropped.
    pipeline: Option<hal::vulkan::ComputePipeline>,
    layout: Option<hal::vulkan::PipelineLayout>,
    group_layout: Option<hal::vulkan::BindGroupLayout>,
}

struct Group {
    device: wgpu::Device,
    // Taken only when it is dropped.
    group: Option<hal::vulkan::BindGroup>,
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
                        let pipeline = self.vulkan_pipeline(shader, constants)?;
                        let group = Group::new(&device, &pipeline, bound)?;
                        let used = Used { group, pipeline };
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

    fn vulkan_pipeline(
        &self,
        shader: &'static Shader,
        constants: &Constants,
    ) -> Option<Rc<Pipeline>> {
        let key = key(shader, constants);
        if let Some(found) = self.0.vulkan_pipelines.borrow().get(&key) {
            return Some(found.clone());
        }
        let made = Rc::new(Pipeline::new(self, shader, constants)?);
        let mut all = self.0.vulkan_pipelines.borrow_mut();
        all.insert(key, made.clone());
        Some(made)
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

/// A command buffer that is being encoded.
struct Slice<'d> {
    vulkan: &'d ash::Device,
    encoder: hal::vulkan::CommandEncoder,
    buffer: vk::CommandBuffer,
    hazards: Hazards,
    /// It has copies by now.
    copies: bool,
    pipeline: Option<Rc<Pipeline>>,
}

impl<'d> Slice<'d> {
    fn begin(hal: &'d hal::vulkan::Device, queue: &hal::vulkan::Queue) -> Option<Self> {
        let vulkan = hal.raw_device();
        // SAFETY: the encoder is dropped before the device, and used in the order begin, encode, end. What it
        // begins may be submitted once only. So all that it has, which is this one command buffer, is
        // put back to where it was, and begun again as one that may be under way several times.
        let (encoder, buffer) = unsafe {
            let described = hal::CommandEncoderDescriptor { label: None, queue };
            let mut encoder = hal.create_command_encoder(&described).ok()?;
            encoder.begin_encoding(None).ok()?;
            let buffer = encoder.raw_handle();
            encoder.reset_all(std::iter::empty());
            let again = vk::CommandBufferBeginInfo::default()
                .flags(vk::CommandBufferUsageFlags::SIMULTANEOUS_USE);
            vulkan.begin_command_buffer(buffer, &again).ok()?;
            encoder.begin_compute_pass(&hal::ComputePassDescriptor {
                label: None,
                timestamp_writes: None,
            });
            (encoder, buffer)
        };
        let slice = Self {
            vulkan,
            encoder,
            buffer,
            hazards: Hazards::default(),
            copies: false,
            pipeline: None,
        };
        slice.wait_for_everything();
        Some(slice)
    }

    /// What was submitted before is over by now, but may not be seen yet; so with what comes after.
    fn wait_for_everything(&self) {
        let all = vk::PipelineStageFlags::ALL_COMMANDS;
        let written = vk::AccessFlags::MEMORY_WRITE;
        self.wait(all, written, vk::AccessFlags::MEMORY_READ);
    }

    fn wait_if_needed(&mut self, step: &Step) {
        self.copies |= matches!(step, Step::Copy { .. });
        if !self.hazards.next(Access::of(step)) {
            return;
        }
        let mut stages = vk::PipelineStageFlags::COMPUTE_SHADER;
        let mut written = vk::AccessFlags::SHADER_WRITE;
        let mut read = vk::AccessFlags::SHADER_READ | vk::AccessFlags::UNIFORM_READ;
        if self.copies {
            stages |= vk::PipelineStageFlags::TRANSFER;
            written |= vk::AccessFlags::TRANSFER_WRITE;
            read |= vk::AccessFlags::TRANSFER_READ;
        }
        self.wait(stages, written, read);
    }

    /// What was written in these stages is read and written again by what comes in the same stages.
    fn wait(
        &self,
        stages: vk::PipelineStageFlags,
        written: vk::AccessFlags,
        read: vk::AccessFlags,
    ) {
        let barrier = vk::MemoryBarrier::default()
            .src_access_mask(written)
            .dst_access_mask(written | read);
        let none = vk::DependencyFlags::empty();
        // SAFETY: the buffer is being encoded.
        unsafe {
            self.vulkan.cmd_pipeline_barrier(
                self.buffer,
                stages,
                stages,
                none,
                &[barrier],
                &[],
                &[],
            );
        }
    }

    fn dispatch(&mut self, Used { group, pipeline }: &Used, workgroups: [u32; 3]) {
        let known = |known: &Rc<Pipeline>| Rc::ptr_eq(known, pipeline);
        let known = self.pipeline.as_ref().is_some_and(known);
        let (Some(raw), Some(layout), Some(group)) =
            (&pipeline.pipeline, &pipeline.layout, &group.group)
        else {
            return;
        };
        // SAFETY: all are of the encoder's device, and live as long as the buffer. That the kernel stays within
        // its bindings and these fit, wgpu has checked when it submitted the same program.
        unsafe {
            if !known {
                self.encoder.set_compute_pipeline(raw);
            }
            self.encoder.set_bind_group(layout, 0, group, &[]);
            self.encoder.dispatch_workgroups(workgroups);
        }
        self.pipeline = Some(pipeline.clone());
    }

    fn copy(&mut self, buffers: [&wgpu::Buffer; 2], region: vk::BufferCopy) -> Option<()> {
        // wgpu would not know to wait for what is written there.
        if buffers[1].usage().contains(wgpu::BufferUsages::MAP_READ) {
            return None;
        }
        // One after the other: wgpu allows nobody to look at two buffers at a time.
        // SAFETY: the program owns both, and waits for the GPU; wgpu has checked the region.
        unsafe {
            let source = buffers[0].as_hal::<Vulkan>()?.raw_handle();
            let target = buffers[1].as_hal::<Vulkan>()?.raw_handle();
            self.vulkan
                .cmd_copy_buffer(self.buffer, source, target, &[region]);
        }
        Some(())
    }

    fn end(mut self) -> Option<Encoded> {
        self.wait_for_everything();
        // SAFETY: it has been begun.
        let buffer = unsafe {
            self.encoder.end_compute_pass();
            self.encoder.end_encoding().ok()?
        };
        Some(Encoded {
            buffer,
            _encoder: self.encoder,
        })
    }
}

impl Pipeline {
    /// As [`Gpu::pipeline`] makes it.
    fn new(gpu: &Gpu, shader: &'static Shader, constants: &Constants) -> Option<Self> {
        let device = gpu.0.device.clone();
        let source = naga_shader(shader)?;
        let mut made = Self {
            device: device.clone(),
            pipeline: None,
            layout: None,
            group_layout: None,
        };
        // SAFETY: the descriptors are those that wgpu makes of its own for the same pipeline, which it
        // has checked.
        unsafe {
            let hal = device.as_hal::<Vulkan>()?;
            let group_layout = made.group_layout.insert(
                hal.create_bind_group_layout(&hal::BindGroupLayoutDescriptor {
                    label: None,
                    flags: hal::BindGroupLayoutFlags::empty(),
                    entries: &layout_entries(shader),
                })
                .ok()?,
            );
            let layout = made.layout.insert(
                hal.create_pipeline_layout(&hal::PipelineLayoutDescriptor {
                    label: None,
                    flags: hal::PipelineLayoutFlags::empty(),
                    bind_group_layouts: &[Some(&*group_layout)],
                    immediate_size: 0,
                })
                .ok()?,
            );
            let described = hal::ShaderModuleDescriptor {
                label: None,
                runtime_checks: gpu.runtime_checks(),
            };
            let module = hal
                .create_shader_module(&described, hal::ShaderInput::Naga(source))
                .ok()?;
            let constants = constants
                .iter()
                .map(|(id, value)| ((*id).to_owned(), *value));
            let pipeline = hal.create_compute_pipeline(&hal::ComputePipelineDescriptor {
                label: Some(shader.name),
                layout,
                stage: hal::ProgrammableStage {
                    module: &module,
                    entry_point: "main",
                    constants: &constants.collect(),
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            });
            hal.destroy_shader_module(module);
            made.pipeline = Some(pipeline.ok()?);
        }
        Some(made)
    }
}

fn naga_shader(shader: &Shader) -> Option<hal::NagaShader> {
    let mut options = naga::front::wgsl::Options::new();
    options.capabilities = naga::valid::Capabilities::all();
    let module = naga::front::wgsl::Frontend::new_with_options(options).parse(shader.source);
    let module = module.ok()?;
    let flags = naga::valid::ValidationFlags::all();
    let mut validator = naga::valid::Validator::new(flags, naga::valid::Capabilities::all());
    validator.subgroup_stages(naga::valid::ShaderStages::all());
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    Some(hal::NagaShader {
        info: validator.validate(&module).ok()?,
        module: Cow::Owned(module),
        debug_source: None,
    })
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // SAFETY: whatever used them has waited for the GPU, and nothing uses them after this.
        unsafe {
            let Some(hal) = self.device.as_hal::<Vulkan>() else {
                return;
            };
            if let Some(pipeline) = self.pipeline.take() {
                hal.destroy_compute_pipeline(pipeline);
            }
            if let Some(layout) = self.layout.take() {
                hal.destroy_pipeline_layout(layout);
            }
            if let Some(layout) = self.group_layout.take() {
                hal.destroy_bind_group_layout(layout);
            }
        }
    }
}

impl Group {
    fn new(device: &wgpu::Device, pipeline: &Pipeline, bound: &[Bound]) -> Option<Self> {
        // One after the other: wgpu allows nobody to look at two buffers at a time.
        let buffers = bound.iter().map(|bound| {
            // SAFETY: the buffer is not destroyed while somebody owns it.
            let buffer = unsafe { bound.buffer.raw().as_hal::<Vulkan>() }?;
            Some(&raw const *buffer)
        });
        let buffers: Vec<*const hal::vulkan::Buffer> = buffers.collect::<Option<_>>()?;
        let bindings = buffers.iter().zip(bound).map(|(buffer, bound)| {
            let size = std::num::NonZeroU64::new(bound.bytes.end - bound.bytes.start);
            // SAFETY: it lives where it was as long as its owner, which `bound` is.
            hal::BufferBinding::new_unchecked(unsafe { &**buffer }, bound.bytes.start, size)
        });
        let bindings: Vec<_> = bindings.collect();
        let entries = bound
            .iter()
            .enumerate()
            .map(|(i, bound)| hal::BindGroupEntry {
                binding: bound.binding,
                resource_index: i as u32,
                count: 1,
            });
        let entries: Vec<_> = entries.collect();
        // SAFETY: wgpu has checked the same bind group, and made it of the same parts.
        let group = unsafe {
            device
                .as_hal::<Vulkan>()?
                .create_bind_group(&hal::BindGroupDescriptor {
                    label: None,
                    layout: pipeline.group_layout.as_ref()?,
                    buffers: &bindings,
                    samplers: &[],
                    textures: &[],
                    entries: &entries,
                    acceleration_structures: &[],
                    external_textures: &[],
                })
        };
        Some(Self {
            device: device.clone(),
            group: Some(group.ok()?),
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the commands that used it have waited for the GPU.
        unsafe {
            if let (Some(hal), Some(group)) = (self.device.as_hal::<Vulkan>(), self.group.take()) {
                hal.destroy_bind_group(group);
            }
        }
    }
}
