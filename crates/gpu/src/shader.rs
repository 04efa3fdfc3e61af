//! The shaders of `shaders/`, resolved, validated and reflected when this crate is built.

/// A compute shader with one entry point, `main`, and one bind group.
#[derive(Debug)]
pub struct Shader {
    /// File name without extension, and the weight storage for those that read weights.
    pub name: &'static str,
    /// WGSL.
    pub source: &'static str,
    /// Invocations in a workgroup.
    pub workgroup_size: [u32; 3],
    /// Takes the number of workgroups, with which it computes one index from two dimensions.
    pub folds: bool,
    /// Number and kind of each binding, by number.
    pub bindings: &'static [(u32, Binding)],
}

/// How a shader uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// `var<uniform>`.
    Uniform,
}

include!(concat!(env!("OUT_DIR"), "/shaders.rs"));
