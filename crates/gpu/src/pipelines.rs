//! Compute pipelines: compiled once, ahead or when first used, and kept.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::device::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use crate::prepare::Ahead;
use crate::shader::{Binding, Shader};

/// Values of a shader's overridable constants.
pub(crate) type Constants = [(&'static str, f64)];

/// Shader name, and of its constants their ids and bits.
pub(crate) type Key = (&'static str, Vec<(&'static str, u64)>);

pub(crate) fn key(shader: &Shader, constants: &Constants) -> Key {
    let bits = constants.iter().map(|(id, value)| (*id, value.to_bits()));
    (shader.name, bits.collect())
}

/// A device's pipelines of one kind.
pub(crate) struct Pipelines<P> {
    made: RefCell<HashMap<Key, P>>,
    /// Names of those that were compiled when they were needed.
    #[cfg(not(target_arch = "wasm32"))]
    late: RefCell<Vec<&'static str>>,
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) ahead: Ahead<P>,
}

impl<P> Default for Pipelines<P> {
    fn default() -> Self {
        Self {
            made: RefCell::default(),
            #[cfg(not(target_arch = "wasm32"))]
            late: RefCell::default(),
            #[cfg(not(target_arch = "wasm32"))]
            ahead: Ahead::default(),
        }
    }
}

impl<P: Clone> Pipelines<P> {
    /// The one that was made before, or a new one.
    pub(crate) fn get(&self, key: Key, make: impl FnOnce() -> P) -> P {
        if let Some(found) = self.made.borrow().get(&key) {
            return found.clone();
        }
        #[cfg(not(target_arch = "wasm32"))]
        let make = || {
            self.ahead.take(&key).unwrap_or_else(|| {
                self.late.borrow_mut().push(key.0);
                make()
            })
        };
        let made = make();
        self.made.borrow_mut().insert(key, made.clone());
        made
    }

    /// It was made and has been used.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.made.borrow().contains_key(key)
    }

    /// Names of those that were compiled when they were needed.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn late(&self) -> Vec<&'static str> {
        self.late.borrow().clone()
    }
}

/// A pipeline as wgpu makes it.
#[derive(Clone)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// What makes them, on any thread.
#[derive(Clone)]
pub(crate) struct Compiler {
    pub(crate) device: wgpu::Device,
    pub(crate) checks: wgpu::ShaderRuntimeChecks,
}

impl Compiler {
    /// `unchecked`: without checks of indices into workgroup memory.
    pub(crate) fn new(device: &wgpu::Device, unchecked: bool) -> Self {
        let mut checks = match unchecked {
            true => wgpu::ShaderRuntimeChecks::unchecked(),
            false => wgpu::ShaderRuntimeChecks::checked(),
        };
        // A counter in every loop would cost up to a third of a kernel's time.
        checks.force_loop_bounding = false;
        Self {
            device: device.clone(),
            checks,
        }
    }

    fn module(&self, shader: &'static Shader) -> wgpu::ShaderModule {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(shader.name),
            source: wgpu::ShaderSource::Wgsl(match cfg!(target_arch = "wasm32") {
                true => shader.source_for_browsers(),
                false => shader.source.into(),
            }),
        };
        // SAFETY: sources are this crate's own. Their loops count up to a bound, which a test sees
        // to. Without checks, every index that they compute is bounded by parameters that the
        // functions which record them have held against the operands' sizes, and their tests run on
        // poisoned surroundings.
        #[expect(
            unsafe_code,
            reason = "what the checks cost, and none is needed for loops that end"
        )]
        unsafe {
            self.device
                .create_shader_module_trusted(descriptor, self.checks)
        }
    }

    /// What goes wrong is told as everything that wgpu tells of itself: see [`Gpu::check`].
    pub(crate) fn compile(&self, shader: &'static Shader, constants: &Constants) -> Pipeline {
        let device = &self.device;
        let module = self.module(shader);
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(shader.name),
            entries: &layout_entries(shader),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.name),
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                // Every kernel writes workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}

impl Gpu {
    pub(crate) fn pipeline(&self, shader: &'static Shader, constants: &Constants) -> Pipeline {
        let make = || self.0.compiler.compile(shader, constants);
        self.0.pipelines.get(key(shader, constants), make)
    }
}

/// The layout of a shader's bind group.
pub(crate) fn layout_entries(shader: &Shader) -> Vec<wgpu::BindGroupLayoutEntry> {
    let entry = |(binding, kind): &(u32, Binding)| wgpu::BindGroupLayoutEntry {
        binding: *binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match kind {
                Binding::Read => wgpu::BufferBindingType::Storage { read_only: true },
                Binding::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                Binding::Uniform => wgpu::BufferBindingType::Uniform,
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    shader.bindings.iter().map(entry).collect()
}
