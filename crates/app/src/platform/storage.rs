//! What the browser keeps for this site.

use js_sys::Reflect;
use wasm_bindgen_futures::JsFuture;

/// A short text that was stored under this name.
pub(crate) fn text(name: &str) -> Option<String> {
    let storage = super::page::window().local_storage().ok().flatten()?;
    storage.get_item(name).ok().flatten()
}

/// Stores a short text. Where storage is switched off nothing happens: it only saves typing.
pub(crate) fn set_text(name: &str, text: &str) {
    if let Ok(Some(storage)) = super::page::window().local_storage() {
        let _ = storage.set_item(name, text);
    }
}

/// Asks the browser not to clear this site's data by itself; its answer. None: it cannot be asked.
pub(crate) async fn persist() -> Option<bool> {
    let navigator = super::page::window().navigator();
    let offered = Reflect::get(&navigator, &"storage".into()).is_ok_and(|it| it.is_object());
    if !offered {
        return None;
    }
    let asked = navigator.storage().persist().ok()?;
    JsFuture::from(asked).await.ok()?.as_bool()
}
