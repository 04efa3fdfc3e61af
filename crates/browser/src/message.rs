//! Protocol messages as JavaScript values, the form in which `postMessage` carries them.

use js_sys::{Array, ArrayBuffer, Object, Reflect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::File;

use crate::protocol::{Problem, ProblemKind};

/// The property of a request's message that holds the transferred bytes of a picture.
const BYTES: &str = "bytes";

/// The property of a request's message that holds `[path, file]` pairs.
const FILES: &str = "files";

/// A message as a plain JavaScript object.
///
/// # Errors
/// [`ProblemKind::Internal`] when a value has no JavaScript counterpart (an integer over 2^53).
pub fn to_js(message: &impl Serialize) -> Result<JsValue, Problem> {
    serde_wasm_bindgen::to_value(message).map_err(|error| {
        internal(format!(
            "A message could not be prepared for the worker ({error}): reload the page, and \
             report this if it happens again."
        ))
    })
}

/// A message from its JavaScript form, checked.
///
/// # Errors
/// [`ProblemKind::Internal`] naming what does not fit the protocol.
pub fn from_js<T: DeserializeOwned>(value: JsValue) -> Result<T, Problem> {
    serde_wasm_bindgen::from_value(value).map_err(|error| {
        internal(format!(
            "A message between the page and its worker is not in the agreed form ({error}): \
             reload the page, and report this if it happens again."
        ))
    })
}

/// Puts a picture's bytes beside a request.
///
/// # Errors
/// [`ProblemKind::Internal`] when `message` is not an object.
pub fn attach_bytes(message: &JsValue, bytes: &ArrayBuffer) -> Result<(), Problem> {
    match Reflect::set(message, &JsValue::from_str(BYTES), bytes) {
        Ok(true) => Ok(()),
        _ => Err(internal(
            "A picture could not be attached to its message: reload the page, and report this if \
             it happens again."
                .to_owned(),
        )),
    }
}

/// Takes the bytes that [`attach_bytes`] put beside a request away again, if there are any. To be
/// done before [`from_js`], which would copy them.
pub fn detach_bytes(message: &JsValue) -> Option<ArrayBuffer> {
    let bytes = Reflect::get(message, &JsValue::from_str(BYTES))
        .ok()?
        .dyn_into()
        .ok()?;
    Reflect::delete_property::<Object>(message.dyn_ref()?, &JsValue::from_str(BYTES)).ok()?;
    Some(bytes)
}

/// Puts files, each with its path, beside a request.
///
/// # Errors
/// [`ProblemKind::Internal`] when `message` is not an object.
pub fn attach_files(message: &JsValue, files: &Files) -> Result<(), Problem> {
    match Reflect::set(message, &JsValue::from_str(FILES), &files.0) {
        Ok(true) => Ok(()),
        _ => Err(internal(
            "The files could not be attached to their message: reload the page, and report this \
             if it happens again."
                .to_owned(),
        )),
    }
}

/// Takes the files that [`attach_files`] put beside a request away again. To be done before
/// [`from_js`].
pub fn detach_files(message: &JsValue) -> Vec<(String, File)> {
    let Ok(files) = Reflect::get(message, &JsValue::from_str(FILES)) else {
        return Vec::new();
    };
    let Ok(files) = files.dyn_into::<Array>() else {
        return Vec::new();
    };
    if let Some(message) = message.dyn_ref() {
        let _ = Reflect::delete_property::<Object>(message, &JsValue::from_str(FILES));
    }
    let pairs = files.iter().filter_map(|pair| {
        let pair = pair.dyn_into::<Array>().ok()?;
        Some((pair.get(0).as_string()?, pair.get(1).dyn_into().ok()?))
    });
    pairs.collect()
}

/// Files that a person chose, as a message carries them.
#[derive(Clone, Debug, Default)]
pub struct Files(Array);

impl Files {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file; `path` is where it lies in the folder that was chosen, or its name.
    pub fn push(&self, path: &str, file: &File) {
        self.0.push(&Array::of2(&JsValue::from_str(path), file));
    }

    /// The same files, to which more may be added without these knowing.
    pub fn copied(&self) -> Self {
        Self(self.0.slice(0, self.0.length()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.length() == 0
    }
}

/// The `id` of a message, even if it is not one of the protocol's: whom to answer about it.
pub fn id(message: &JsValue) -> Option<u32> {
    let id = Reflect::get(message, &JsValue::from_str("id"))
        .ok()?
        .as_f64()?;
    // Lossless: nothing else equals its own conversion.
    let whole = id as u32;
    (f64::from(whole) == id).then_some(whole)
}

fn internal(message: String) -> Problem {
    Problem {
        kind: ProblemKind::Internal,
        message,
    }
}
