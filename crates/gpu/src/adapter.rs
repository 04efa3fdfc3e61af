//! Which adapter is opened, and what it is.

use crate::error::GpuError;

/// What `matmul_cooperative` needs.
pub(crate) const COOPERATIVE: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::SHADER_F16);
/// Workgroup memory of the one kernel that takes more than WebGPU grants everywhere.
pub(crate) const MOST_WORKGROUP_BYTES: u32 = 24 << 10;

/// What computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    /// As good a name as the platform gives.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `webgpu`.
    pub backend: String,
    /// The driver and its version, where the platform says it.
    pub driver: String,
    /// Computes on the CPU: right, but slow.
    pub is_software: bool,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest storage binding, in bytes.
    pub max_binding_bytes: u64,
    /// Workgroup memory that the adapter has, in bytes. Only `matmul_cooperative` takes more than
    /// WebGPU grants everywhere.
    pub max_workgroup_bytes: u32,
    /// Invocations of a workgroup that the adapter has at most.
    pub max_workgroup_invocations: u32,
    /// Storage buffers that a kernel of the adapter binds at most.
    pub max_storage_buffers: u32,
    /// The optional features that are in use, by WebGPU's names.
    pub features: Vec<String>,
}

/// The most powerful adapter, or the first that has `part` in its name.
pub(crate) async fn choose(part: Option<&str>) -> Result<wgpu::Adapter, GpuError> {
    let instance =
        wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let best = instance.request_adapter(&wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    });
    let best = best.await.map_err(|error| GpuError::NoAdapter {
        detail: error.to_string(),
    });
    let Some(part) = part else {
        return best;
    };
    // In a browser there is no list.
    #[cfg(target_arch = "wasm32")]
    let all: Vec<wgpu::Adapter> = best.into_iter().collect();
    #[cfg(not(target_arch = "wasm32"))]
    let all = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let name = |adapter: &wgpu::Adapter| {
        let info = describe(adapter);
        format!("{} ({})", info.name, info.backend)
    };
    let wanted = part.to_lowercase();
    let found = all.iter().map(name).collect();
    let named = |adapter: &wgpu::Adapter| name(adapter).to_lowercase().contains(&wanted);
    all.into_iter()
        .find(named)
        .ok_or_else(|| GpuError::UnknownAdapter {
            asked: part.to_owned(),
            found,
        })
}

/// Rows and columns of the cooperative matrices that `matmul_cooperative` is to use; 0: the adapter
/// has none that it can, or not subgroups of one size.
pub(crate) fn cooperative_side(adapter: &wgpu::Adapter) -> u32 {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    let (least, most) = (info.subgroup_min_size, info.subgroup_max_size);
    let room = adapter.limits().max_compute_workgroup_storage_size >= MOST_WORKGROUP_BYTES;
    // Elsewhere a matrix cannot be read from an array of vectors.
    let vulkan = info.backend == wgpu::Backend::Vulkan;
    if !vulkan || !adapter.features().contains(COOPERATIVE) || least != most || !room {
        return 0;
    }
    let known = adapter.cooperative_matrix_properties();
    let sides = [16, 8].into_iter().filter(|side| {
        let fits = |it: &wgpu::CooperativeMatrixProperties| {
            [it.m_size, it.n_size, it.k_size] == [*side; 3]
                && (it.ab_type, it.cr_type) == (F16, F32)
        };
        let parts = least / side;
        (1..=2).contains(&parts) && known.iter().any(fits)
    });
    sides.max().unwrap_or(0)
}

pub(crate) fn feature_names(features: wgpu::Features) -> Vec<String> {
    let known = [
        ("timestamp-query", wgpu::Features::TIMESTAMP_QUERY),
        ("shader-f16", wgpu::Features::SHADER_F16),
        (
            "cooperative-matrix",
            wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
        ),
    ];
    let used = known.iter().filter(|(_, flag)| features.contains(*flag));
    used.map(|(name, _)| (*name).to_owned()).collect()
}

/// Browsers give no name unless debugging is on, but a vendor and an architecture.
#[cfg(target_arch = "wasm32")]
pub(crate) fn name_in_browser(device: &wgpu::Device, info: &mut AdapterInfo) {
    let Some(device) = device.as_webgpu() else {
        return;
    };
    let browser = device.adapter_info();
    let (vendor, architecture) = (browser.vendor(), browser.architecture());
    let described = browser.description();
    let name = match described.trim() {
        "" => format!("{vendor} {architecture}").trim().to_owned(),
        description => description.to_owned(),
    };
    if !name.is_empty() {
        info.name = name;
    }
    info.is_software |= is_known_software(&format!("{described} {architecture}"));
}

fn is_known_software(words: &str) -> bool {
    let words = words.to_lowercase();
    let known = ["swiftshader", "llvmpipe", "lavapipe"];
    known.iter().any(|name| words.contains(name))
}

pub(crate) fn describe(adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let mut name = info.name.clone();
    if name.trim().is_empty() {
        name = info.driver.clone();
    }
    if name.trim().is_empty() {
        name = "unnamed adapter".to_owned();
    }
    let is_software = info.device_type == wgpu::DeviceType::Cpu
        || is_known_software(&format!("{name} {} {}", info.driver, info.driver_info));
    AdapterInfo {
        name,
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        is_software,
        max_buffer_bytes: 0,
        max_binding_bytes: 0,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        features: Vec::new(),
    }
}
