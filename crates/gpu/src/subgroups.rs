//! Subgroups in a browser. wgpu 30 has no way to ask a browser for them (its issue 10146), so the
//! page's own `requestDevice` is changed for the one call that wgpu makes.

use js_sys::{Array, Function, Object, Proxy, Reflect};
use wasm_bindgen::prelude::*;

/// The feature's name in WebGPU.
const FEATURE: &str = "subgroups";

/// As long as it lives, a device is requested with subgroups if the adapter has them. wgpu makes its
/// request before it first waits, so nobody else's comes between.
pub(crate) struct Addition {
    _changed: Option<Changed>,
}

struct Changed {
    prototype: Object,
    original: Function,
    _apply: Closure<dyn Fn(Function, JsValue, Array) -> Result<JsValue, JsValue>>,
}

impl Addition {
    pub(crate) fn new() -> Self {
        // Without WebGPU there is nothing to change, and no adapter either.
        Self {
            _changed: Changed::new().ok(),
        }
    }
}

impl Changed {
    fn new() -> Result<Self, JsValue> {
        let class = Reflect::get(&js_sys::global(), &"GPUAdapter".into())?;
        let prototype: Object = Reflect::get(&class, &"prototype".into())?.dyn_into()?;
        let original: Function = Reflect::get(&prototype, &method())?.dyn_into()?;
        // A trap is told on which adapter the method was called.
        let apply = Closure::new(|original: Function, adapter: JsValue, arguments: Array| {
            // Without it the request is as it was.
            let _ = add(&adapter, &arguments);
            Reflect::apply(&original, &adapter, &arguments)
        });
        let handler = Object::new();
        Reflect::set(&handler, &"apply".into(), apply.as_ref())?;
        Reflect::set(&prototype, &method(), &Proxy::new(&original, &handler))?;
        Ok(Self {
            prototype,
            original,
            _apply: apply,
        })
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        // It was set before, so it can be set.
        let _ = Reflect::set(&self.prototype, &method(), &self.original);
    }
}

fn method() -> JsValue {
    "requestDevice".into()
}

/// Adds the feature to a request, if the adapter has it.
fn add(adapter: &JsValue, arguments: &Array) -> Result<(), JsValue> {
    let features = Reflect::get(adapter, &"features".into())?;
    let has: Function = Reflect::get(&features, &"has".into())?.dyn_into()?;
    if !has.call1(&features, &FEATURE.into())?.is_truthy() {
        return Ok(());
    }
    let descriptor = arguments.get(0);
    let wanted = Reflect::get(&descriptor, &"requiredFeatures".into())?;
    let wanted = wanted.dyn_into::<Array>().unwrap_or_default();
    wanted.push(&FEATURE.into());
    Reflect::set(&descriptor, &"requiredFeatures".into(), &wanted)?;
    Ok(())
}

/// Invocations that every subgroup of a device has at least; 0 without the feature.
pub(crate) fn size(device: &wgpu::Device) -> u32 {
    let Some(device) = device.as_webgpu() else {
        return 0;
    };
    match device.features().has(FEATURE) {
        true => device.adapter_info().subgroup_min_size(),
        false => 0,
    }
}
