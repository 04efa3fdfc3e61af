//! What is stored for a model and for a mark.

use paligemma_checkpoint::{Mark, Record};
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;

/// A model's record and its times.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModelValue {
    /// A [`Record`] as JSON.
    pub(super) record: String,
    /// Milliseconds since 1970.
    pub(super) created_ms: f64,
    /// Milliseconds since 1970; 0: never.
    pub(super) last_used_ms: f64,
}

impl ModelValue {
    pub(super) fn to_js(&self) -> JsValue {
        object(self)
    }

    /// `None` if it is not such a value.
    pub(super) fn from_js(value: JsValue) -> Option<Self> {
        serde_wasm_bindgen::from_value(value).ok()
    }

    /// The record; `None` unless it is that of the model it is stored for. As the key is made
    /// from what is in the record, this finds any damage that matters.
    pub(super) fn record(&self, model: &str) -> Option<Record> {
        let record: Record = serde_json::from_str(&self.record).ok()?;
        (record.key().to_string() == model).then_some(record)
    }
}

/// That a piece is there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MarkValue {
    /// A [`Mark`] as JSON.
    mark: String,
    /// Bytes of the piece.
    pub(super) bytes: u32,
}

impl MarkValue {
    pub(super) fn new(mark: &Mark, bytes: u32) -> Self {
        Self {
            // Numbers and strings: there is nothing in it that JSON cannot hold.
            mark: serde_json::to_string(mark).unwrap_or_default(),
            bytes,
        }
    }

    pub(super) fn to_js(&self) -> JsValue {
        object(self)
    }

    /// `None` if it is not such a value.
    pub(super) fn from_js(value: JsValue) -> Option<Self> {
        serde_wasm_bindgen::from_value(value).ok()
    }

    /// The mark; `None` unless it is that of the piece it is stored for.
    pub(super) fn mark(&self, index: usize) -> Option<Mark> {
        let mark: Mark = serde_json::from_str(&self.mark).ok()?;
        (mark.index == index).then_some(mark)
    }
}

fn object(value: &impl Serialize) -> JsValue {
    // Strings and numbers: there is nothing in it that JavaScript cannot hold.
    serde_wasm_bindgen::to_value(value).unwrap_or(JsValue::UNDEFINED)
}
