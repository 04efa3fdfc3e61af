//! The worker's side: hosts the engine and answers the page's requests.

mod convert;
mod host;
mod throttle;

pub use host::Host;

use std::rc::Rc;

use js_sys::Uint8Array;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::http::HttpFolder;
use crate::message;
use crate::protocol::{Event, PROTOCOL_VERSION, Request};

/// Makes this dedicated worker a host: from now on it answers messages.
///
/// A panic is printed to the console and ends the worker; the page hears of it by the worker's
/// `error` event.
pub fn start() {
    console_error_panic_hook::set_once();
    let Ok(scope) = js_sys::global().dyn_into::<DedicatedWorkerGlobalScope>() else {
        complain("This script only works as a dedicated worker.");
        return;
    };
    let post = {
        let scope = scope.clone();
        move |event: Event| post(&scope, &event)
    };
    let host = Rc::new(Host::new(HttpFolder::new, post.clone()));
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new({
        let post = post.clone();
        move |event: MessageEvent| receive(&host, &post, event.data())
    });
    scope.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // It listens as long as the worker lives.
    on_message.forget();
    post(Event::Started {
        protocol: PROTOCOL_VERSION,
    });
}

fn receive(host: &Host<HttpFolder>, post: &impl Fn(Event), data: JsValue) {
    let bytes = message::attached_bytes(&data).map(|buffer| Uint8Array::new(&buffer).to_vec());
    let id = message::id(&data);
    match message::from_js::<Request>(data) {
        Ok(request) => host.receive(request, bytes),
        Err(problem) => match id {
            Some(id) => post(Event::Failed { id, problem }),
            None => complain(&problem.message),
        },
    }
}

fn post(scope: &DedicatedWorkerGlobalScope, event: &Event) {
    let posted = message::to_js(event)
        .map_err(|problem| JsValue::from_str(&problem.message))
        .and_then(|message| scope.post_message(&message));
    if let Err(error) = posted {
        web_sys::console::error_1(&error);
    }
}

/// For what no request can be blamed for, and no person can act on.
fn complain(message: &str) {
    web_sys::console::error_1(&JsValue::from_str(message));
}
