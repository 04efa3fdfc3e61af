//! Encoding a command buffer.

use std::sync::Arc;

use ash::vk;
use wgpu::hal::{self, CommandEncoder as _, Device as _};

use super::Vulkan;
use super::pipeline::{Pipeline, Used};
use crate::hazards::{Access, Hazards};
use crate::program::Step;

/// A command buffer that may be submitted again and again.
pub(super) struct Encoded {
    pub(super) buffer: hal::vulkan::CommandBuffer,
    /// In multiply-adds.
    pub(super) cost: u64,
    // Owns it.
    _encoder: hal::vulkan::CommandEncoder,
}

/// A command buffer that is being encoded.
pub(super) struct Slice<'d> {
    vulkan: &'d ash::Device,
    encoder: hal::vulkan::CommandEncoder,
    buffer: vk::CommandBuffer,
    hazards: Hazards,
    /// It has copies by now.
    copies: bool,
    pipeline: Option<Arc<Pipeline>>,
}

impl<'d> Slice<'d> {
    pub(super) fn begin(hal: &'d hal::vulkan::Device, queue: &hal::vulkan::Queue) -> Option<Self> {
        let vulkan = hal.raw_device();
        // SAFETY: the encoder is dropped before the device, and used in the order begin, encode, end. What it
        // begins may be submitted once only. So all that it has, which is command buffers that nobody uses, is
        // put back to where it was, and this one begun again as one that may be under way several times.
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

    pub(super) fn wait_if_needed(&mut self, step: &Step) {
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

    pub(super) fn dispatch(&mut self, Used { group, pipeline }: &Used, workgroups: [u32; 3]) {
        let known = |known: &Arc<Pipeline>| Arc::ptr_eq(known, pipeline);
        let known = self.pipeline.as_ref().is_some_and(known);
        let (Some((raw, layout)), Some(group)) = (pipeline.raw(), group.raw()) else {
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

    pub(super) fn copy(
        &mut self,
        buffers: [&wgpu::Buffer; 2],
        region: vk::BufferCopy,
    ) -> Option<()> {
        // wgpu would not know to wait for what is written there.
        if buffers[1].usage().contains(wgpu::BufferUsages::MAP_READ) {
            return None;
        }
        // wgpu leaves them out, and Vulkan has none.
        if region.size == 0 {
            return Some(());
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

    pub(super) fn end(mut self, cost: u64) -> Option<Encoded> {
        self.wait_for_everything();
        // SAFETY: it has been begun.
        let buffer = unsafe {
            self.encoder.end_compute_pass();
            self.encoder.end_encoding().ok()?
        };
        Some(Encoded {
            buffer,
            cost,
            _encoder: self.encoder,
        })
    }
}
