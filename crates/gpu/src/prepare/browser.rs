//! wgpu creates pipelines in a way in which a browser compiles one after the other, when each is
//! first used. What is said to the browser here beside wgpu makes it compile all of them at once,
//! and as it keeps what it has compiled as long as somebody holds it, wgpu's then come for nothing.

use js_sys::{Array, Function, Object, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::Kernel;
use crate::device::Gpu;
use crate::shader::Binding;

impl Gpu {
    pub(super) async fn compile_all(&self, kernels: &[Kernel]) -> usize {
        let Some(device) = self.0.device.as_webgpu() else {
            return 0;
        };
        let device: &JsValue = device.as_ref();
        let begun = kernels.iter().map(|kernel| compile(device, kernel));
        let promises: Array = begun.filter_map(Result::ok).collect();
        // A kernel that does not compile is refused again, and told of, when it is used.
        let settled = JsFuture::from(Promise::all_settled(&promises)).await;
        let settled: Array = settled.map(JsCast::unchecked_into).unwrap_or_default();
        let value = |one: JsValue| Reflect::get(&one, &"value".into()).ok();
        let ready: Array = settled
            .iter()
            .filter_map(value)
            .filter(|pipeline| !pipeline.is_undefined())
            .collect();
        let count = ready.length() as usize;
        self.0.prepared.borrow_mut().push(ready.into());
        count
    }
}

fn compile(device: &JsValue, kernel: &Kernel) -> Result<JsValue, JsValue> {
    let shader = kernel.shader;
    let module = call(
        device,
        "createShaderModule",
        &object(&[("code", (*shader.source_for_browsers()).into())])?,
    )?;
    let entries = Array::new();
    for (binding, kind) in shader.bindings {
        let kind = match kind {
            Binding::Read => "read-only-storage",
            Binding::ReadWrite => "storage",
            Binding::Uniform => "uniform",
        };
        const COMPUTE: u32 = 4;
        entries.push(&object(&[
            ("binding", (*binding).into()),
            ("visibility", COMPUTE.into()),
            ("buffer", object(&[("type", kind.into())])?),
        ])?);
    }
    let entries = object(&[("entries", entries.into())])?;
    let group = call(device, "createBindGroupLayout", &entries)?;
    let groups = object(&[("bindGroupLayouts", Array::of1(&group).into())])?;
    let layout = call(device, "createPipelineLayout", &groups)?;
    let mut compute = vec![("module", module), ("entryPoint", "main".into())];
    if !kernel.constants.is_empty() {
        let constants = kernel.constants.iter();
        let values: Vec<_> = constants
            .map(|(id, value)| (*id, (*value).into()))
            .collect();
        compute.push(("constants", object(&values)?));
    }
    let pipeline = object(&[("layout", layout), ("compute", object(&compute)?)])?;
    call(device, "createComputePipelineAsync", &pipeline)
}

fn object(fields: &[(&str, JsValue)]) -> Result<JsValue, JsValue> {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &(*name).into(), value)?;
    }
    Ok(object.into())
}

fn call(device: &JsValue, method: &str, argument: &JsValue) -> Result<JsValue, JsValue> {
    let function: Function = Reflect::get(device, &method.into())?.dyn_into()?;
    function.call1(device, argument)
}
