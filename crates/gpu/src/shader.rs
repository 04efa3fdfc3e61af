//! The shaders of `shaders/`, resolved, validated and reflected when this crate is built.

use std::borrow::Cow;

/// A compute shader with one entry point, `main`, and one bind group.
#[derive(Debug)]
pub struct Shader {
    /// File name without extension, and the weight storage for those that read weights.
    pub name: &'static str,
    /// WGSL, as naga takes it.
    pub source: &'static str,
    /// Invocations in a workgroup.
    pub workgroup_size: [u32; 3],
    /// Takes the number of workgroups, with which it computes one index from two dimensions.
    pub folds: bool,
    /// The optional feature without which it does not compile.
    pub needs: Option<Feature>,
    /// Number and kind of each binding, by number.
    pub bindings: &'static [(u32, Binding)],
}

impl Shader {
    /// WGSL, as browsers take it: they want subgroups named first, which naga refuses.
    #[must_use]
    pub fn source_for_browsers(&self) -> Cow<'static, str> {
        match self.needs {
            Some(Feature::Subgroups) => format!("enable subgroups;\n{}", self.source).into(),
            Some(Feature::F16 | Feature::CooperativeMatrix) | None => self.source.into(),
        }
    }
}

/// What an adapter may have and need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Invocations of a subgroup work together.
    Subgroups,
    /// Arithmetic of 16-bit floats.
    F16,
    /// The invocations of a subgroup multiply matrices of 16-bit floats together. Not in browsers.
    CooperativeMatrix,
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
