//! Compute pipelines: compiled once, ahead or when first used, and kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
#[cfg(vulkan)]
use std::sync::OnceLock;
#[cfg(not(target_arch = "wasm32"))]
use std::{
    future::Future as _,
    pin::pin,
    task::{Context, Poll, Waker},
};

use crate::device::Gpu;
#[cfg(not(target_arch = "wasm32"))]
use crate::prepare::{Ahead, Kernel};
use crate::shader::{Binding, Shader};

/// Values of a shader's overridable constants.
pub(crate) type Constants = [(&'static str, f64)];

/// Shader name, and of its constants their ids and bits.
pub(crate) type Key = (&'static str, Vec<(&'static str, u64)>);

pub(crate) fn key(shader: &Shader, constants: &Constants) -> Key {
    let bits = constants.iter().map(|(id, value)| (*id, value.to_bits()));
    (shader.name, bits.collect())
}

/// A device's pipelines.
#[derive(Default)]
pub(crate) struct Pipelines {
    made: RefCell<HashMap<Key, Arc<Pipeline>>>,
    /// Shaders of those that were compiled when they were needed.
    #[cfg(not(target_arch = "wasm32"))]
    late: RefCell<Vec<&'static str>>,
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) ahead: Ahead<Arc<Pipeline>>,
}

impl Pipelines {
    /// The one that was made before, or a new one.
    fn get(&self, key: Key, make: impl FnOnce() -> Pipeline) -> Arc<Pipeline> {
        if let Some(found) = self.made.borrow().get(&key) {
            return found.clone();
        }
        let make = || Arc::new(make());
        #[cfg(not(target_arch = "wasm32"))]
        let make = || {
            self.ahead.take(&key).unwrap_or_else(|| {
                self.came_late(key.0);
                make()
            })
        };
        let made = make();
        self.made.borrow_mut().insert(key, made.clone());
        made
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Pipelines {
    /// It was made and has been used.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.made.borrow().contains_key(key)
    }

    pub(crate) fn came_late(&self, shader: &'static str) {
        self.late.borrow_mut().push(shader);
    }

    /// Shaders of those that were compiled when they were needed.
    pub(crate) fn late(&self) -> Vec<&'static str> {
        self.late.borrow().clone()
    }
}

/// A pipeline as wgpu makes it.
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    /// As it is made once more for replay; none: it cannot be.
    #[cfg(vulkan)]
    pub(crate) vulkan: OnceLock<Option<Arc<crate::vulkan::Pipeline>>>,
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
        Pipeline {
            pipeline,
            layout,
            #[cfg(vulkan)]
            vulkan: OnceLock::new(),
        }
    }

    /// The same on another thread; none if it is refused, of which then nobody hears: that is told to
    /// whoever needs it. (But a device that is lost over it is lost.)
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn compile_ahead(&self, kernel: &Kernel) -> Option<Arc<Pipeline>> {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [OutOfMemory, Validation, Internal].map(|it| self.device.push_error_scope(it));
        let made = self.compile(kernel.shader, &kernel.constants);
        // Outside a browser what a scope has caught is there at once. The last is the first to end.
        let mut refused = false;
        for scope in scopes.into_iter().rev() {
            let caught = pin!(scope.pop()).poll(&mut Context::from_waker(Waker::noop()));
            refused |= !matches!(caught, Poll::Ready(None));
        }
        (!refused).then(|| Arc::new(made))
    }

    /// What replay wants of it beside that.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn compile_for_replay(&self, kernel: &Kernel, made: &Pipeline) {
        #[cfg(vulkan)]
        if kernel.replayed {
            let make = || crate::vulkan::Pipeline::new(self, kernel.shader, &kernel.constants);
            made.vulkan.get_or_init(|| make().map(Arc::new));
        }
        #[cfg(not(vulkan))]
        let _ = (kernel, made);
    }
}

impl Gpu {
    pub(crate) fn pipeline(&self, shader: &'static Shader, constants: &Constants) -> Arc<Pipeline> {
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
