//! The worker's side: hosts the engine and answers the page's requests.

mod adapter;
mod connect;
mod convert;
mod host;
mod keeper;
mod masks;
mod throttle;
mod tuned;

pub use connect::{Browser, Connect, Found};
pub use host::Host;

use std::rc::Rc;

use js_sys::Uint8Array;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::message;
use crate::protocol::{Event, PROTOCOL_VERSION, Problem, ProblemKind, Request};

/// Largest picture file, in bytes: more than any camera writes, and little enough that copying it
/// into the worker's memory (4 GiB at most) cannot end the worker.
const MAX_PICTURE_BYTES: u32 = 512 << 20;

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
    let host = Rc::new(Host::new(Browser, post.clone()));
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

fn receive(host: &Host<Browser>, post: &impl Fn(Event), data: JsValue) {
    let id = message::id(&data);
    let bytes = message::detach_bytes(&data).map(|buffer| Uint8Array::new(&buffer));
    let files = message::detach_files(&data);
    let request = message::from_js::<Request>(data);
    let request = match bytes.as_ref().map(Uint8Array::length) {
        Some(bytes) if bytes > MAX_PICTURE_BYTES => Err(too_large(bytes)),
        _ => request,
    };
    match (request, id) {
        (Ok(request), _) => host.receive(request, bytes.map(|bytes| bytes.to_vec()), files),
        (Err(problem), Some(id)) => post(Event::Failed { id, problem }),
        (Err(problem), None) => complain(&problem.message),
    }
}

fn too_large(bytes: u32) -> Problem {
    Problem {
        kind: ProblemKind::Picture,
        message: format!(
            "The picture's file has {} MiB where {} are the most: choose a smaller one.",
            bytes >> 20,
            MAX_PICTURE_BYTES >> 20
        ),
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
