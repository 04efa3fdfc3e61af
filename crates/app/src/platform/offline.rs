//! The service worker, which keeps the page for times without a network, and what it knows of
//! newer versions of the page.

use std::cell::Cell;

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Event, EventTarget, RegistrationOptions, ServiceWorkerContainer, ServiceWorkerRegistration,
    ServiceWorkerState, ServiceWorkerUpdateViaCache, VisibilityState,
};

use super::page::{document, window};

/// Its script, beside the page.
const SERVICE_WORKER: &str = "sw.js";
/// The message that lets a waiting version in; `web/sw.js` knows it too.
const LET_IN: &str = "skipWaiting";
/// How much time passes at least between two looks for a newer version, in milliseconds.
const HOUR: f64 = 3_600_000.0;

/// The version of the page that runs, and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// No newer one is known.
    Current,
    /// A newer one is stored, and comes when the person wants it.
    Outdated,
    /// The person wants it; the page is about to reload.
    Leaving,
}

/// Has the page kept for times without a network, and says in `version` when there is a newer one.
///
/// In a context that is not secure, and in some browsers' private windows, there are no service
/// workers; the page then needs the network, and nothing else changes.
pub(crate) fn keep(version: RwSignal<Version>) {
    let Some(container) = container() else {
        return;
    };
    follow_controller(&container, version);
    spawn_local(async move {
        // Who may not keep it, or has no room for it, has a page all the same; the browser's
        // console says why.
        if let Ok(registration) = register(&container).await {
            follow(&registration, version);
        }
    });
}

/// Reloads the page as its newer version.
pub(crate) fn let_in(version: RwSignal<Version>) {
    version.set(Version::Leaving);
    spawn_local(async move {
        let waiting = match container() {
            Some(container) => registration(&container).await.ok(),
            None => None,
        }
        .and_then(|registration| registration.waiting());
        let told = waiting.is_some_and(|worker| worker.post_message(&LET_IN.into()).is_ok());
        if !told {
            // It is in already: another tab's person wanted it.
            reload();
        }
    });
}

async fn register(
    container: &ServiceWorkerContainer,
) -> Result<ServiceWorkerRegistration, JsValue> {
    let options = RegistrationOptions::new();
    options.set_update_via_cache(ServiceWorkerUpdateViaCache::None);
    JsFuture::from(container.register_with_options(SERVICE_WORKER, &options))
        .await?
        .dyn_into()
}

async fn registration(
    container: &ServiceWorkerContainer,
) -> Result<ServiceWorkerRegistration, JsValue> {
    JsFuture::from(container.get_registration())
        .await?
        .dyn_into()
}

/// The browser's service workers, where it has any to offer.
fn container() -> Option<ServiceWorkerContainer> {
    let navigator = window().navigator();
    js_sys::Reflect::get(&navigator, &"serviceWorker".into())
        .ok()?
        .dyn_into()
        .ok()
}

/// Reloads once when the version that the person asked for is in. When another tab let it in,
/// this page runs on, and is told of it: what was kept for it is gone.
fn follow_controller(container: &ServiceWorkerContainer, version: RwSignal<Version>) {
    let had_one = Cell::new(container.controller().is_some());
    listen(container, "controllerchange", move || {
        if version.get_untracked() == Version::Leaving {
            reload();
        } else if had_one.replace(true) {
            version.set(Version::Outdated);
        }
    });
}

/// Says when a newer version waits, and looks for one now and then.
fn follow(registration: &ServiceWorkerRegistration, version: RwSignal<Version>) {
    let tell = {
        let registration = registration.clone();
        move || {
            // The first version never waits for another to leave.
            if registration.waiting().is_some() && registration.active().is_some() {
                version.set(Version::Outdated);
            }
        }
    };
    let watch = {
        let (registration, tell) = (registration.clone(), tell.clone());
        move || {
            let Some(worker) = registration.installing() else {
                return;
            };
            let tell = tell.clone();
            listen(&worker.clone(), "statechange", move || {
                if worker.state() == ServiceWorkerState::Installed {
                    tell();
                }
            });
        }
    };
    tell();
    watch();
    listen(registration, "updatefound", watch);

    let look = {
        let registration = registration.clone();
        move || {
            if let Ok(update) = registration.update() {
                spawn_local(async move {
                    // Without a network there is nothing new.
                    let _ = JsFuture::from(update).await;
                });
            }
        }
    };
    if registration.active().is_some() {
        look();
    }
    let looked = Cell::new(js_sys::Date::now());
    listen(&document(), "visibilitychange", move || {
        let now = js_sys::Date::now();
        let visible = document().visibility_state() == VisibilityState::Visible;
        if visible && now - looked.get() >= HOUR {
            looked.set(now);
            look();
        }
    });
}

/// Listens for as long as there is a page.
fn listen(target: &EventTarget, event: &str, mut then: impl FnMut() + 'static) {
    let closure = Closure::<dyn FnMut(Event)>::new(move |_| then()).into_js_value();
    // Only ever fails for a listener that is no function.
    let _ = target.add_event_listener_with_callback(event, closure.unchecked_ref());
}

fn reload() {
    // Only refused to documents that are not shown.
    let _ = window().location().reload();
}
