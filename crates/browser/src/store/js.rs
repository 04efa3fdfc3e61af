//! What the global scope offers, in a worker or a page.

use js_sys::Reflect;
use wasm_bindgen::JsValue;

/// A property by name; `undefined` where there is none, also on `undefined` itself, and where the
/// browser refuses it.
pub(super) fn get(of: &JsValue, name: &str) -> JsValue {
    Reflect::get(of, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
}

/// What lies at `path` of the global scope, such as `["navigator", "locks"]`.
pub(super) fn global(path: &[&str]) -> JsValue {
    let global: JsValue = js_sys::global().into();
    path.iter().fold(global, |of, name| get(&of, name))
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> f64 {
    js_sys::Date::now()
}
