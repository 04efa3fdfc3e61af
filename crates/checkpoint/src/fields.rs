//! Typed, bounded reads of a JSON object's fields, with errors that name them.

use crate::error::{CheckpointError, DOWNLOAD_AGAIN, shown};
use serde_json::{Map, Value};

/// An object in a JSON file and the way to it: `text_config` in `config.json`.
pub(crate) struct Section<'a> {
    file: &'a str,
    path: String,
    fields: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(file: &'a str, value: &'a Value) -> Result<Self, CheckpointError> {
        let fields = value.as_object().ok_or_else(|| CheckpointError::File {
            file: file.to_owned(),
            reason: format!("holds {} where an object belongs", kind(value)),
            next: DOWNLOAD_AGAIN,
        })?;
        Ok(Self {
            file,
            path: String::new(),
            fields,
        })
    }

    /// The object `name`, if there is one.
    pub(crate) fn section(&self, name: &str) -> Result<Option<Self>, CheckpointError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let fields = value
            .as_object()
            .ok_or_else(|| self.wrong(name, value, "an object"))?;
        Ok(Some(Self {
            file: self.file,
            path: format!("{}{name}.", self.path),
            fields,
        }))
    }

    /// The field's value; `null` counts as absent, as it does in transformers.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is there and `null`: "none", where that is a choice.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(Value::is_null)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, CheckpointError> {
        self.get(name)
            .map(|v| v.as_str().ok_or_else(|| self.wrong(name, v, "a string")))
            .transpose()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, CheckpointError> {
        self.get(name)
            .map(|v| {
                v.as_bool()
                    .ok_or_else(|| self.wrong(name, v, "true or false"))
            })
            .transpose()
    }

    /// A size: an integer from 1 to `most`.
    pub(crate) fn size(
        &self,
        name: &str,
        default: usize,
        most: usize,
    ) -> Result<usize, CheckpointError> {
        let Some(value) = self.get(name) else {
            return Ok(default);
        };
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (1..=most).contains(n))
            .ok_or_else(|| self.wrong(name, value, &format!("an integer from 1 to {most}")))
    }

    /// A side of a square, written as one size or as two equal ones.
    pub(crate) fn side(
        &self,
        name: &str,
        default: usize,
        most: usize,
    ) -> Result<usize, CheckpointError> {
        match self.get(name) {
            Some(Value::Array(sides)) => match sides.as_slice() {
                [height, width] if height == width => height
                    .as_u64()
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|n| (1..=most).contains(n)),
                _ => None,
            }
            .ok_or_else(|| {
                self.error(
                    name,
                    format!("is not a square of side 1 to {most}"),
                    "use a checkpoint for square images",
                )
            }),
            _ => self.size(name, default, most),
        }
    }

    /// A number above zero.
    pub(crate) fn positive(&self, name: &str) -> Result<Option<f64>, CheckpointError> {
        self.get(name)
            .map(|v| {
                v.as_f64()
                    .filter(|n| n.is_finite() && *n > 0.0)
                    .ok_or_else(|| self.wrong(name, v, "a number above zero"))
            })
            .transpose()
    }

    /// A token id.
    pub(crate) fn token(&self, name: &str) -> Result<Option<u32>, CheckpointError> {
        self.get(name)
            .map(|v| token(v).ok_or_else(|| self.wrong(name, v, "a token id")))
            .transpose()
    }

    /// Token ids, written as one id or as a list of some.
    pub(crate) fn tokens(&self, name: &str) -> Result<Option<Vec<u32>>, CheckpointError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let ids = match value.as_array() {
            Some(list) => list.iter().map(token).collect(),
            None => token(value).map(|id| vec![id]),
        };
        match ids {
            Some(ids) if !ids.is_empty() => Ok(Some(ids)),
            _ => Err(self.wrong(name, value, "a token id or a list of token ids")),
        }
    }

    pub(crate) fn error(
        &self,
        name: &str,
        reason: impl Into<String>,
        next: &'static str,
    ) -> CheckpointError {
        CheckpointError::Config {
            file: self.file.to_owned(),
            field: format!("{}{name}", self.path),
            reason: reason.into(),
            next,
        }
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> CheckpointError {
        self.error(
            name,
            format!("is {} where {wanted} belongs", kind(value)),
            DOWNLOAD_AGAIN,
        )
    }
}

/// Parses a JSON file.
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Value, CheckpointError> {
    serde_json::from_slice(bytes).map_err(|e| CheckpointError::File {
        file: file.to_owned(),
        reason: format!("is not valid JSON, {e}"),
        next: DOWNLOAD_AGAIN,
    })
}

fn token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// A value, as a message shows it.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => shown(&n.to_string()),
        Value::String(s) => format!("\"{}\"", shown(s)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
