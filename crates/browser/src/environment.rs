//! What this browser offers, asked before anything is started.

use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};

use crate::protocol::{Problem, ProblemKind};

/// Whether WebGPU can be used from here (a page or a worker).
///
/// # Errors
/// [`ProblemKind::InsecureContext`] or [`ProblemKind::NoWebGpu`], with what the person can do.
pub(crate) fn check() -> Result<(), Problem> {
    let global: JsValue = js_sys::global().into();
    judge(
        property(&global, "isSecureContext").is_truthy(),
        property(&property(&global, "navigator"), "gpu").is_object(),
        &origin(),
    )
}

/// Browsers hide `navigator.gpu` from insecure pages, so that case is told apart first: its
/// remedy is another address, not another browser.
fn judge(secure: bool, web_gpu: bool, origin: &str) -> Result<(), Problem> {
    if !secure {
        return Err(Problem {
            kind: ProblemKind::InsecureContext,
            message: format!(
                "This page was opened from {origin}, which is not a secure address, so the browser \
                 hides WebGPU from it: open it over https:// or from http://localhost."
            ),
        });
    }
    if !web_gpu {
        return Err(Problem {
            kind: ProblemKind::NoWebGpu,
            message: "This browser does not offer WebGPU, which the model computes with: use a \
                      current Chrome, Edge, Firefox or Safari, and check that WebGPU and hardware \
                      acceleration are not switched off in its settings."
                .to_owned(),
        });
    }
    Ok(())
}

/// The address that relative URLs of this page or worker refer to.
pub(crate) fn base_url() -> Option<String> {
    if let Some(document) = web_sys::window().and_then(|window| window.document()) {
        return document.base_uri().ok().flatten();
    }
    js_sys::global()
        .dyn_into::<web_sys::WorkerGlobalScope>()
        .ok()
        .map(|scope| scope.location().href())
}

/// How the browser calls itself.
#[cfg(feature = "worker")]
pub(crate) fn browser() -> String {
    let navigator = property(&js_sys::global(), "navigator");
    let name = property(&navigator, "userAgent").as_string();
    name.unwrap_or_else(|| "unknown".to_owned())
}

fn origin() -> String {
    property(&js_sys::global(), "origin")
        .as_string()
        .unwrap_or_else(|| "an unknown address".to_owned())
}

/// A property by name; `undefined` where there is none, also on `undefined` itself.
fn property(of: &JsValue, name: &str) -> JsValue {
    Reflect::get(of, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_thing_is_its_own_problem() {
        let kind = |secure, web_gpu| judge(secure, web_gpu, "http://10.0.0.7").map_err(|p| p.kind);
        assert_eq!(kind(true, true), Ok(()));
        assert_eq!(kind(true, false), Err(ProblemKind::NoWebGpu));
        assert_eq!(kind(false, false), Err(ProblemKind::InsecureContext));
        assert_eq!(kind(false, true), Err(ProblemKind::InsecureContext));
    }

    #[test]
    fn the_insecure_address_is_named() {
        let problem = judge(false, false, "http://10.0.0.7").unwrap_err();
        assert!(
            problem.message.contains("http://10.0.0.7"),
            "{}",
            problem.message
        );
    }
}
