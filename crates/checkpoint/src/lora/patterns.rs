//! Which modules an adapter means: names, ends of names, regular expressions.
//!
//! They are Python's, matched as PEFT matches them; what this software's expressions cannot say
//! is refused.

use fancy_regex::{Regex, RegexBuilder};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use std::fmt;

use super::MERGE_FIRST;
use super::config::CONFIG_FILE;
use crate::error::{CheckpointError, shown};
use crate::fields::Section;

/// Steps back that one match may take: module names are short, and an expression that needs more
/// is written to take forever.
const MOST_STEPS: usize = 20_000;

/// More patterns than any model has modules.
const MOST_PATTERNS: usize = 4096;

/// One field's patterns.
#[derive(Debug)]
enum Modules {
    /// Names, or their ends after a dot.
    Named(Vec<String>),
    /// What fits as a whole.
    Like(Regex),
}

/// Which modules are adapted: `target_modules`, but for `exclude_modules`, in
/// `layers_to_transform`.
#[derive(Debug)]
pub(crate) struct Targets {
    wanted: Option<Modules>,
    unwanted: Option<Modules>,
    layers: Option<Layers>,
}

#[derive(Debug)]
struct Layers {
    numbers: Vec<u64>,
    /// Each has the layer's number as its first group.
    patterns: Vec<Regex>,
}

impl Targets {
    pub(super) fn new(fields: &Section<'_>) -> Result<Self, CheckpointError> {
        let name = "target_modules";
        let wanted = match fields.get(name) {
            Some(Value::String(all)) if all.eq_ignore_ascii_case("all-linear") => None,
            _ => modules(fields, name)?,
        };
        let layers = match (&wanted, fields.get("layers_to_transform")) {
            (Some(Modules::Named(_)), Some(value)) => Layers::new(fields, value)?,
            _ => None,
        };
        Ok(Self {
            wanted,
            unwanted: modules(fields, "exclude_modules")?,
            layers,
        })
    }

    /// Whether a linear layer is among them, by its path.
    pub(super) fn contain(&self, module: &str) -> Result<bool, CheckpointError> {
        if let Some(unwanted) = &self.unwanted
            && unwanted.contain("exclude_modules", module)?
        {
            return Ok(false);
        }
        if let Some(wanted) = &self.wanted
            && !wanted.contain("target_modules", module)?
        {
            return Ok(false);
        }
        match &self.layers {
            Some(layers) => layers.contain(module),
            None => Ok(true),
        }
    }
}

fn modules(fields: &Section<'_>, name: &str) -> Result<Option<Modules>, CheckpointError> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(pattern)) => {
            let whole = expression(name, &format!(r"\A(?:{pattern})\z"))?;
            Ok(Some(Modules::Like(whole)))
        }
        Some(value) => Ok(Some(Modules::Named(names(fields, name, value)?))),
    }
}

fn names(fields: &Section<'_>, name: &str, value: &Value) -> Result<Vec<String>, CheckpointError> {
    let list = value.as_array().filter(|list| list.len() <= MOST_PATTERNS);
    let list = list.map(|list| list.iter().map(|one| one.as_str().map(str::to_owned)));
    list.and_then(Iterator::collect).ok_or_else(|| {
        fields.error(
            name,
            "is neither a string nor a list of some strings",
            "export the adapter again",
        )
    })
}

impl Modules {
    fn contain(&self, field: &str, module: &str) -> Result<bool, CheckpointError> {
        match self {
            Self::Named(names) => Ok(names.iter().any(|name| {
                let before = module.strip_suffix(name.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            })),
            Self::Like(whole) => matches(field, whole, module),
        }
    }
}

impl Layers {
    fn new(fields: &Section<'_>, value: &Value) -> Result<Option<Self>, CheckpointError> {
        let numbers = match value {
            Value::Array(list) => list.iter().map(Value::as_u64).collect(),
            one => one.as_u64().map(|one| vec![one]),
        };
        let numbers: Vec<u64> = numbers.ok_or_else(|| {
            fields.error(
                "layers_to_transform",
                "is neither a layer's number nor a list of some",
                "export the adapter again",
            )
        })?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let name = "layers_pattern";
        let patterns = match fields.get(name) {
            None => Vec::new(),
            Some(Value::String(one)) if one.is_empty() => Vec::new(),
            Some(Value::String(one)) => vec![one.clone()],
            Some(list) => names(fields, name, list)?,
        };
        let patterns = match patterns.as_slice() {
            [] => vec![expression(name, r"\A.*?\.[^.]*\.(\d+)\.")?],
            some => {
                let some = some.iter();
                some.map(|one| expression(name, &format!(r"\A(?:.*?\.)??(?:{one})\.(\d+)\.")))
                    .collect::<Result<_, _>>()?
            }
        };
        Ok(Some(Self { numbers, patterns }))
    }

    fn contain(&self, module: &str) -> Result<bool, CheckpointError> {
        for pattern in &self.patterns {
            let found = pattern.captures(module);
            let found = found.map_err(|error| refused("layers_pattern", &error))?;
            if let Some(found) = found {
                let number = found.get(found.len() - 1);
                let number = number.and_then(|number| number.as_str().parse().ok());
                return Ok(number.is_some_and(|number| self.numbers.contains(&number)));
            }
        }
        Ok(false)
    }
}

/// `rank_pattern`, `alpha_pattern`: numbers for some modules, the first that fits counts.
#[derive(Debug)]
pub(crate) struct ByPattern {
    field: &'static str,
    entries: Vec<(Key, f64)>,
}

#[derive(Debug)]
enum Key {
    /// Letters, digits, underscores, and dots, which stand for any character.
    Plain(String),
    Like(Regex),
}

impl ByPattern {
    /// `number` says what a value means.
    pub(super) fn new(
        fields: &Section<'_>,
        text: &[u8],
        field: &'static str,
        number: impl Fn(&Value) -> Option<f64>,
    ) -> Result<Self, CheckpointError> {
        // `null`, or nothing.
        if fields.get(field).is_none() {
            let entries = Vec::new();
            return Ok(Self { field, entries });
        }
        fields.section(field)?;
        let ordered = ordered(text, field).filter(|all| all.len() <= MOST_PATTERNS);
        let entries = ordered.ok_or_else(|| {
            let reason = format!("has more than {MOST_PATTERNS} entries");
            fields.error(field, reason, MERGE_FIRST)
        })?;
        let entries = entries.into_iter().map(|(key, value)| {
            let number = number(&value).ok_or_else(|| {
                let reason = format!("has no fitting number for \"{}\"", shown(&key));
                fields.error(field, reason, "export the adapter again")
            })?;
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            let key = match key.chars().all(is_plain) {
                true => Key::Plain(key),
                false => Key::Like(expression(field, &format!(r"\A(.*\.)?({key})\z"))?),
            };
            Ok((key, number))
        });
        let entries = entries.collect::<Result<_, CheckpointError>>()?;
        Ok(Self { field, entries })
    }

    /// The number for a module, by its path.
    pub(super) fn of(&self, module: &str) -> Result<Option<f64>, CheckpointError> {
        for (key, number) in &self.entries {
            let fits = match key {
                Key::Plain(end) => ends_with(module, end),
                Key::Like(pattern) => matches(self.field, pattern, module)?,
            };
            if fits {
                return Ok(Some(*number));
            }
        }
        Ok(None)
    }
}

/// Whether `module` ends with `end`, at its beginning or after a dot.
fn ends_with(module: &str, end: &str) -> bool {
    let Some(start) = module.len().checked_sub(end.len()) else {
        return false;
    };
    let (before, rest) = module.as_bytes().split_at(start);
    let mut pairs = rest.iter().zip(end.as_bytes());
    before.last().is_none_or(|byte| *byte == b'.')
        && pairs.all(|(byte, wanted)| byte == wanted || *wanted == b'.')
}

fn expression(field: &str, pattern: &str) -> Result<Regex, CheckpointError> {
    let mut builder = RegexBuilder::new(pattern);
    let built = builder.backtrack_limit(MOST_STEPS).build();
    built.map_err(|error| refused(field, &error))
}

fn matches(field: &str, pattern: &Regex, module: &str) -> Result<bool, CheckpointError> {
    pattern
        .is_match(module)
        .map_err(|error| refused(field, &error))
}

fn refused(field: &str, error: &fancy_regex::Error) -> CheckpointError {
    CheckpointError::Config {
        file: CONFIG_FILE.to_owned(),
        field: field.to_owned(),
        reason: format!(
            "has a regular expression that cannot be used here ({})",
            shown(&error.to_string())
        ),
        next: MERGE_FIRST,
    }
}

/// The entries of a field that is an object, in the order of the file: where several fit, it
/// decides.
fn ordered(text: &[u8], field: &'static str) -> Option<Vec<(String, Value)>> {
    struct Entries(Vec<(String, Value)>);

    impl<'de> Deserialize<'de> for Entries {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct InOrder;
            impl<'de> Visitor<'de> for InOrder {
                type Value = Entries;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                    let mut entries: Vec<(String, Value)> = Vec::new();
                    while let Some((key, value)) = map.next_entry::<String, Value>()? {
                        if entries.len() > MOST_PATTERNS {
                            return Err(de::Error::invalid_length(entries.len(), &self));
                        }
                        match entries.iter_mut().find(|(there, _)| *there == key) {
                            // As a Python dictionary does.
                            Some(there) => there.1 = value,
                            None => entries.push((key, value)),
                        }
                    }
                    Ok(Entries(entries))
                }
            }
            deserializer.deserialize_map(InOrder)
        }
    }

    struct Root(&'static str);

    impl<'de> Visitor<'de> for Root {
        type Value = Vec<(String, Value)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(key) = map.next_key::<String>()? {
                if key == self.0 {
                    found = map.next_value::<Entries>()?.0;
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }

    let mut json = serde_json::Deserializer::from_slice(text);
    json.deserialize_map(Root(field)).ok()
}
