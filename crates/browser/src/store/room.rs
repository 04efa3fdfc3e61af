//! How much room the browser gives to this site.

use js_sys::{Function, Promise};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::js::{get, global};

/// Room, so far as the browser tells. Usage and quota are rough by intention.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Estimate {
    /// Bytes that this site uses, everything together.
    pub usage: Option<u64>,
    /// Bytes that it may use.
    pub quota: Option<u64>,
    /// Whether the browser has promised not to clear them by itself. Only a page can ask for that
    /// (`navigator.storage.persist()`).
    pub persisted: bool,
}

/// Asks the browser (`navigator.storage`), from a page or a worker.
pub async fn estimate() -> Estimate {
    let estimate = ask("estimate").await;
    let bytes = |name: &str| {
        let bytes = get(&estimate, name).as_f64().filter(|bytes| *bytes >= 0.0);
        bytes.map(|bytes| bytes as u64)
    };
    Estimate {
        usage: bytes("usage"),
        quota: bytes("quota"),
        persisted: ask("persisted").await.is_truthy(),
    }
}

async fn ask(what: &str) -> JsValue {
    let storage = global(&["navigator", "storage"]);
    let asked = || {
        let ask: Function = get(&storage, what).dyn_into().ok()?;
        ask.call0(&storage).ok()?.dyn_into::<Promise>().ok()
    };
    match asked() {
        Some(answer) => JsFuture::from(answer).await.unwrap_or(JsValue::UNDEFINED),
        None => JsValue::UNDEFINED,
    }
}
