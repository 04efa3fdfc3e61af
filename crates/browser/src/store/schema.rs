//! What the database contains, and how an older one becomes this one.
//!
//! | object store | key | value |
//! |---|---|---|
//! | `models` | model | [`ModelValue`](super::value::ModelValue) |
//! | `pieces` | [model, index] | `Uint8Array` |
//! | `marks` | [model, index] | [`MarkValue`](super::value::MarkValue) |
//! | `files` | [model, path] | `Uint8Array` |
//! | `settings` | name | string |
//!
//! A model is named by the 64 hexadecimal digits of its key. A later version adds a step to
//! [`upgrade`]; the steps before it stay as they are, because people come from every version.

use idb::event::VersionChangeEvent;
use idb::{
    Database, DatabaseEvent, Error, Event, KeyRange, ObjectStoreParams, Request, Transaction,
};
use js_sys::Array;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;

use super::js::now_ms;
use super::value::ModelValue;

/// The version that this software writes.
pub(super) const VERSION: u32 = 2;

pub(super) const MODELS: &str = "models";
pub(super) const PIECES: &str = "pieces";
pub(super) const MARKS: &str = "marks";
pub(super) const FILES: &str = "files";
pub(super) const SETTINGS: &str = "settings";

/// Everything.
pub(super) const ALL: &[&str] = &[MODELS, PIECES, MARKS, FILES, SETTINGS];

/// Brings a database up to [`VERSION`], or leaves it as it was.
pub(super) fn upgrade(event: VersionChangeEvent) {
    let Some(transaction) = event.target().ok().and_then(|open| open.transaction()) else {
        return;
    };
    let stepped = || {
        let (database, old) = (event.database()?, event.old_version()?);
        if old < 1 {
            for name in [MODELS, PIECES, MARKS, FILES] {
                create(&database, name)?;
            }
        }
        if old < 2 {
            create(&database, SETTINGS)?;
        }
        Ok::<_, Error>(old)
    };
    match stepped() {
        Ok(1) => date_models(transaction),
        Ok(_) => {}
        // The browser then fails the opening, and the old database is still there.
        Err(_) => drop(transaction.abort()),
    }
}

fn create(database: &Database, name: &str) -> Result<(), Error> {
    let keys_beside_values = ObjectStoreParams::new();
    database.create_object_store(name, keys_beside_values)?;
    Ok(())
}

/// Version 1 had a model's record by itself, as text; from version 2 on, times are beside it.
fn date_models(transaction: Transaction) {
    let requests = || {
        let models = transaction.object_store(MODELS)?;
        // Made here and now: a transaction without a request ends.
        let keys = models.get_all_keys(None, None)?.into_future();
        let values = models.get_all(None, None)?.into_future();
        Ok::<_, Error>((models, keys, values))
    };
    let Ok((models, keys, values)) = requests() else {
        return drop(transaction.abort());
    };
    spawn_local(async move {
        let dated = async {
            let (keys, values) = (keys.await?, values.await?);
            for (key, value) in keys.iter().zip(values) {
                // Anything but text was damaged before, and is left for the person to delete.
                if let Some(record) = value.as_string() {
                    let dated = ModelValue {
                        record,
                        created_ms: now_ms(),
                        last_used_ms: 0.0,
                    };
                    models.put(&dated.to_js(), Some(key))?;
                }
            }
            Ok::<_, Error>(())
        };
        if dated.await.is_err() {
            drop(transaction.abort());
        }
    });
}

/// The key of a piece or mark.
pub(super) fn piece_key(model: &str, index: usize) -> JsValue {
    // Exact: no model has 2^53 pieces.
    Array::of2(&JsValue::from_str(model), &JsValue::from_f64(index as f64)).into()
}

/// The key of a side file.
pub(super) fn file_key(model: &str, path: &str) -> JsValue {
    Array::of2(&JsValue::from_str(model), &JsValue::from_str(path)).into()
}

/// The model and index in a key that [`piece_key`] made.
pub(super) fn piece_of_key(key: &JsValue) -> Option<(String, usize)> {
    let index = part(key, 1)?.as_f64()?;
    // Such a number is one, and fits.
    let whole = index >= 0.0 && index.fract() == 0.0 && index <= f64::from(u32::MAX);
    whole.then_some((part(key, 0)?.as_string()?, index as usize))
}

/// The model and path in a key that [`file_key`] made.
pub(super) fn file_of_key(key: &JsValue) -> Option<(String, String)> {
    Some((part(key, 0)?.as_string()?, part(key, 1)?.as_string()?))
}

fn part(key: &JsValue, index: u32) -> Option<JsValue> {
    Array::is_array(key).then(|| Array::from(key).get(index))
}

/// All keys of a model among pieces, marks or files.
pub(super) fn range_of(model: &str) -> Result<KeyRange, Error> {
    // A list comes after its own beginnings, and lists come after numbers and strings.
    let model = JsValue::from_str(model);
    let upper = Array::of2(&model, &Array::new());
    KeyRange::bound(&Array::of1(&model), &upper, None, None)
}

/// The name of a setting that goes with a model.
pub(super) fn setting_of(model: &str, name: &str) -> String {
    format!("{model}/{name}")
}

/// All names that [`setting_of`] makes for a model.
pub(super) fn settings_of(model: &str) -> Result<KeyRange, Error> {
    // `0` is what follows `/`.
    let bound = |end: char| JsValue::from_str(&format!("{model}{end}"));
    KeyRange::bound(&bound('/'), &bound('0'), None, Some(true))
}
