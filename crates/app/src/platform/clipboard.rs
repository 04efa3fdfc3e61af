//! Copying text.

use js_sys::Reflect;
use wasm_bindgen_futures::JsFuture;

/// Copies text; says whether it worked. Insecure pages have no clipboard, and a person may refuse.
pub(crate) async fn copy(text: &str) -> bool {
    let navigator = super::page::window().navigator();
    let offered = Reflect::get(&navigator, &"clipboard".into()).is_ok_and(|it| it.is_object());
    offered
        && JsFuture::from(navigator.clipboard().write_text(text))
            .await
            .is_ok()
}
