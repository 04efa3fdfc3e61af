//! Scripts that use the browser's database behind the store's back.

use js_sys::{Array, Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// What every script may use.
const PRELUDE: &str = r"
const done = request => new Promise((yes, no) => {
  request.onsuccess = () => yes(request.result);
  request.onerror = () => no(request.error);
});
const open = (name, version, upgrade) => {
  const request = indexedDB.open(name, version);
  request.onupgradeneeded = () => upgrade?.(request.result);
  return done(request);
};
const complete = transaction => new Promise((yes, no) => {
  transaction.oncomplete = () => yes();
  transaction.onabort = () => no(transaction.error);
});
// One transaction over everything, on a connection of its own.
const change = async (name, act) => {
  const db = await open(name);
  const transaction = db.transaction([...db.objectStoreNames], 'readwrite');
  const ended = complete(transaction);
  const result = await act(...[...db.objectStoreNames].sort().map(s => transaction.objectStore(s)));
  await ended;
  db.close();
  return result;
};
";

/// Runs the body of an `async (a, b) => …`, and returns what that does.
///
/// `change(name, async (files, marks, models, pieces, settings) => …)` gives it every object store
/// of a database; `open`, `done` and `complete` make promises of requests.
pub(crate) async fn run(body: &str, a: impl Into<JsValue>, b: impl Into<JsValue>) -> JsValue {
    let body = format!("return (async () => {{ {PRELUDE} {body} }})()");
    let promise = Function::new_with_args("a, b", &body)
        .call2(&JsValue::NULL, &a.into(), &b.into())
        .unwrap()
        .unchecked_into::<Promise>();
    match JsFuture::from(promise).await {
        Ok(value) => value,
        Err(thrown) => panic!("{body}: {thrown:?}"),
    }
}

/// Replaces a method of a browser's class until it is dropped.
pub(crate) struct Patch {
    prototype: JsValue,
    method: &'static str,
    original: JsValue,
}

impl Patch {
    /// `body` is that of a function with the original in `original` and its arguments in `args`;
    /// `count` is how often it was called before.
    pub(crate) fn new(class: &str, method: &'static str, body: &str) -> Self {
        let class = Reflect::get(&js_sys::global(), &class.into()).unwrap();
        let prototype = Reflect::get(&class, &"prototype".into()).unwrap();
        let original = Reflect::get(&prototype, &method.into()).unwrap();
        let body = format!(
            "let calls = 0;
             return function (...args) {{ const count = calls++; {body} }};"
        );
        let patched = Function::new_with_args("original", &body)
            .call1(&JsValue::NULL, &original)
            .unwrap();
        Reflect::set(&prototype, &method.into(), &patched).unwrap();
        Self {
            prototype,
            method,
            original,
        }
    }
}

impl Drop for Patch {
    fn drop(&mut self) {
        Reflect::set(&self.prototype, &self.method.into(), &self.original).unwrap();
    }
}

/// Replaces a property of the global scope by a getter until it is dropped.
pub(crate) struct Hidden(&'static str);

impl Hidden {
    pub(crate) fn new(name: &'static str, getter: &str) -> Self {
        let body = format!(
            "Object.defineProperty(self, name, {{configurable: true, get() {{ {getter} }}}});"
        );
        let hide = Function::new_with_args("name", &body);
        hide.call1(&JsValue::NULL, &name.into()).unwrap();
        Self(name)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // The original is a getter of the global object's prototype.
        assert!(Reflect::delete_property(&js_sys::global(), &self.0.into()).unwrap());
    }
}

/// How many entries there are in each of `files, marks, models, pieces, settings`.
pub(crate) async fn counts(database: &str) -> [u32; 5] {
    let counts = run(
        "return change(a, (...stores) => Promise.all(stores.map(s => done(s.count()))));",
        database,
        JsValue::UNDEFINED,
    )
    .await;
    let counts: Vec<u32> = Array::from(&counts)
        .iter()
        .map(|count| count.as_f64().unwrap() as u32)
        .collect();
    counts.try_into().unwrap()
}
