//! The page's own window: address, colour scheme, things to know when something goes wrong.

use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Document, ScrollIntoViewOptions, ScrollLogicalPosition, UrlSearchParams, Window};

/// The window.
///
/// # Panics
/// Outside a page, where none of this crate's components can exist.
pub(crate) fn window() -> Window {
    leptos::prelude::window()
}

/// The document.
///
/// # Panics
/// Outside a page, as [`window`].
pub(crate) fn document() -> Document {
    leptos::prelude::document()
}

/// A parameter of the page's address.
pub(crate) fn parameter(name: &str) -> Option<String> {
    let search = window().location().search().ok()?;
    UrlSearchParams::new_with_str(&search).ok()?.get(name)
}

/// The scene that the address asks for: `?seed=7`.
pub(crate) fn seed_in_address() -> Option<u32> {
    parameter("seed")?.parse().ok()
}

/// An address of this site in full; as it is, where the browser does not know its own.
pub(crate) fn absolute(url: &str) -> String {
    let base = document().base_uri().ok().flatten();
    base.and_then(|base| web_sys::Url::new_with_base(url, &base).ok())
        .map_or_else(|| url.to_owned(), |url| url.href())
}

/// Puts the focus on an element and shows it.
pub(crate) fn focus(id: &str) {
    if let Some(element) = document().get_element_by_id(id) {
        element.scroll_into_view();
        if let Ok(element) = element.dyn_into::<web_sys::HtmlElement>() {
            // An element that takes no focus is shown all the same.
            let _ = element.focus();
        }
    }
}

/// Brings an element into view, if it is not there, and no further than it takes.
pub(crate) fn reveal(id: &str) {
    if let Some(element) = document().get_element_by_id(id) {
        let options = ScrollIntoViewOptions::new();
        options.set_block(ScrollLogicalPosition::Nearest);
        element.scroll_into_view_with_scroll_into_view_options(&options);
    }
}

/// An element is there and all of its height is in view.
pub(crate) fn is_in_view(id: &str) -> bool {
    let height = window().inner_height().ok().and_then(|it| it.as_f64());
    let element = document().get_element_by_id(id);
    element.zip(height).is_some_and(|(element, height)| {
        let place = element.get_bounding_client_rect();
        place.top() >= 0.0 && place.bottom() <= height
    })
}

/// Milliseconds, for differences: of a clock that nobody sets, where the browser has one.
pub(crate) fn clock() -> f64 {
    let performance = window().performance();
    performance.map_or_else(now, |performance| performance.now())
}

/// Milliseconds since 1970.
pub(crate) fn now() -> f64 {
    js_sys::Date::now()
}

/// Writes the scene into the address, or takes it out, so that the address leads back to what is
/// on the stage.
pub(crate) fn set_seed_in_address(seed: Option<u32>) {
    let address = || -> Result<(), JsValue> {
        let url = web_sys::Url::new(&window().location().href()?)?;
        match seed {
            Some(seed) => url.search_params().set("seed", &seed.to_string()),
            None => url.search_params().delete("seed"),
        }
        window()
            .history()?
            .replace_state_with_url(&JsValue::NULL, "", Some(&url.href()))
    };
    // Browsers limit how often an address may change; the picture is there all the same.
    let _ = address();
}

/// A number that differs each time, for scenes that nobody asked for by number.
pub(crate) fn any_seed() -> u32 {
    (js_sys::Math::random() * 100_000.0) as u32
}

/// Facts about this browser, for someone who tries to help.
pub(crate) fn facts() -> Vec<(&'static str, String)> {
    let window = window();
    let navigator = window.navigator();
    let has_webgpu = Reflect::get(&navigator, &"gpu".into()).is_ok_and(|gpu| gpu.is_object());
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    vec![
        (
            "Browser",
            navigator
                .user_agent()
                .unwrap_or_else(|_| "unknown".to_owned()),
        ),
        (
            "Origin",
            window
                .location()
                .origin()
                .unwrap_or_else(|_| "unknown".to_owned()),
        ),
        ("Secure context", yes_no(window.is_secure_context())),
        ("WebGPU", yes_no(has_webgpu)),
    ]
}
