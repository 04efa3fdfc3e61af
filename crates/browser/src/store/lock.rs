//! One writer at a time, over all tabs of this site.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Function, Object, Promise, Reflect};
use tokio::sync::oneshot;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use super::js::{get, global};

/// A lock that one holder in all tabs and workers of this site has (Web Locks). It is released
/// when this is dropped, and when the tab or worker that holds it ends, however it ends.
///
/// Every browser with WebGPU has Web Locks. Where there are none, or the page may not use them,
/// everyone gets the lock at once: two tabs then fetch the same bytes, and write what is the same.
#[derive(Debug)]
#[must_use = "it is released when it is dropped"]
pub struct WriteLock {
    /// Ends the promise for whose time the browser grants the lock.
    release: Option<Function>,
}

impl WriteLock {
    /// Takes the lock if nobody holds it.
    pub async fn try_take(name: &str) -> Option<Self> {
        request(name, true).await
    }

    /// Waits for the lock. Whoever asked first gets it first.
    pub async fn take(name: &str) -> Self {
        request(name, false).await.unwrap_or(Self { release: None })
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        if let Some(release) = &self.release {
            // A resolving function does not throw.
            let _ = release.call0(&JsValue::UNDEFINED);
        }
    }
}

async fn request(name: &str, if_available: bool) -> Option<WriteLock> {
    let locks = global(&["navigator", "locks"]);
    let Ok(request) = get(&locks, "request").dyn_into::<Function>() else {
        return Some(WriteLock { release: None });
    };
    let (sender, granted) = oneshot::channel();
    let sender = Rc::new(Cell::new(Some(sender)));
    let grant = Closure::once_into_js({
        let sender = Rc::clone(&sender);
        move |lock: JsValue| -> JsValue {
            let mut held = JsValue::UNDEFINED;
            let lock = lock.is_truthy().then(|| {
                let mut release = None;
                held = Promise::new(&mut |resolve, _| release = Some(resolve)).into();
                WriteLock { release }
            });
            if let Some(sender) = sender.take() {
                // If nobody waits for it any more, the lock is dropped here, and so released.
                drop(sender.send(lock));
            }
            held
        }
    });
    let options = Object::new();
    let asked = Reflect::set(&options, &"ifAvailable".into(), &if_available.into())
        .and_then(|_| request.call3(&locks, &name.into(), &options, &grant));
    spawn_local(async move {
        let ended = match asked.map(JsCast::dyn_into::<Promise>) {
            Ok(Ok(promise)) => JsFuture::from(promise).await,
            Ok(Err(thrown)) | Err(thrown) => Err(thrown),
        };
        if let (Err(_), Some(sender)) = (ended, sender.take()) {
            drop(sender.send(Some(WriteLock { release: None })));
        }
    });
    match granted.await {
        Ok(granted) => granted,
        Err(_) => Some(WriteLock { release: None }),
    }
}
