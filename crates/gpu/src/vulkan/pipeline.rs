//! What a dispatch uses, made as wgpu makes it.

use std::borrow::Cow;
use std::sync::Arc;

use wgpu::hal::{self, Device as _};
use wgpu::naga;

use super::Vulkan;
use crate::device::Gpu;
use crate::pipelines::{Compiler, Constants, layout_entries};
use crate::program::Bound;
use crate::shader::Shader;

/// What a dispatch uses.
pub(super) struct Used {
    pub(super) group: Group,
    pub(super) pipeline: Arc<Pipeline>,
}

/// A compute pipeline and its layouts.
pub(crate) struct Pipeline {
    device: wgpu::Device,
    // Taken only when it is dropped.
    pipeline: Option<hal::vulkan::ComputePipeline>,
    layout: Option<hal::vulkan::PipelineLayout>,
    group_layout: Option<hal::vulkan::BindGroupLayout>,
}

/// A bind group.
pub(super) struct Group {
    device: wgpu::Device,
    // Taken only when it is dropped.
    group: Option<hal::vulkan::BindGroup>,
}

impl Used {
    pub(super) fn new(
        gpu: &Gpu,
        shader: &'static Shader,
        constants: &Constants,
        bound: &[Bound],
    ) -> Option<Self> {
        let pipeline = Pipeline::of(gpu, shader, constants)?;
        Some(Self {
            group: Group::new(&gpu.0.device, &pipeline, bound)?,
            pipeline,
        })
    }
}

impl Pipeline {
    /// The one that was made before, or a new one, of what wgpu has made a pipeline of.
    fn of(gpu: &Gpu, shader: &'static Shader, constants: &Constants) -> Option<Arc<Self>> {
        let made = gpu.pipeline(shader, constants);
        let again = made.vulkan.get_or_init(|| {
            gpu.0.pipelines.came_late(shader.name);
            Self::new(&gpu.0.compiler, shader, constants).map(Arc::new)
        });
        again.clone()
    }

    pub(super) fn raw(
        &self,
    ) -> Option<(&hal::vulkan::ComputePipeline, &hal::vulkan::PipelineLayout)> {
        Some((self.pipeline.as_ref()?, self.layout.as_ref()?))
    }

    /// As [`Compiler::compile`] makes it, after it has: wgpu checks what this does not.
    pub(crate) fn new(
        compiler: &Compiler,
        shader: &'static Shader,
        constants: &Constants,
    ) -> Option<Self> {
        let device = compiler.device.clone();
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
                runtime_checks: compiler.checks,
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
    pub(super) fn raw(&self) -> Option<&hal::vulkan::BindGroup> {
        self.group.as_ref()
    }

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
