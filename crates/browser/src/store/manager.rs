//! What a person wants to know and choose: which models are kept, how large they are, when they
//! were used; and what the page remembers for them.

use idb::{Query, Transaction};
use paligemma_checkpoint::{Digest, ModelKey, Origin, State, StoreError};
use wasm_bindgen::JsValue;

use super::connection::Access;
use super::js::now_ms;
use super::schema::{self, FILES, MARKS, MODELS, SETTINGS};
use super::value::{MarkValue, ModelValue};
use super::{IdbStore, named};

/// A model in the store, as a list of models shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Overview {
    /// Identifies it.
    pub key: ModelKey,
    /// What it is. `None` if its record is damaged: all that can be done with it is to delete it.
    pub model: Option<Summary>,
    /// Bytes of it that are there.
    pub stored_bytes: u64,
}

/// What a model is.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// Whose weights these are.
    pub origin: Origin,
    /// The recipe's name.
    pub recipe: String,
    /// Bytes of it when it is there in full.
    pub total_bytes: u64,
    /// How far it is.
    pub state: State,
    /// When its download began, in milliseconds since 1970.
    pub created_ms: f64,
    /// When it was last used, in milliseconds since 1970; 0: never.
    pub last_used_ms: f64,
}

impl IdbStore {
    /// Every model, those with damaged records included, by key. No piece is read for it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn overview(&self) -> Result<Vec<Overview>, StoreError> {
        let mut overviews = Vec::new();
        for model in self.model_names().await? {
            // Another name is nobody's model, and goes with the next sweep.
            let Ok(digest) = model.parse::<Digest>() else {
                continue;
            };
            let (value, _) = self.model_value(&model).await?;
            let record = value
                .and_then(|value| Some((value.record(&model)?, value)))
                .map(|(record, value)| (record.plan, record.state, value));
            let marks = self.mark_values(&model).await?.into_iter();
            let marks = marks.filter_map(|(_, mark)| mark);
            let mut stored_bytes: u64 = marks.map(|mark| u64::from(mark.bytes)).sum();
            if let Some((plan, ..)) = &record {
                let there = self.file_paths(&model).await?;
                let files = plan.files.iter().filter(|file| there.contains(&file.path));
                stored_bytes += files.map(|file| file.bytes).sum::<u64>();
            }
            overviews.push(Overview {
                key: ModelKey(digest),
                model: record.map(|(plan, state, value)| Summary {
                    total_bytes: plan.total_bytes(),
                    origin: plan.origin,
                    recipe: plan.recipe,
                    state,
                    created_ms: value.created_ms,
                    last_used_ms: value.last_used_ms,
                }),
                stored_bytes,
            });
        }
        Ok(overviews)
    }

    /// Notes that a model is used now. Does nothing if it is not there or its record is damaged.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn touch(&self, key: &ModelKey) -> Result<(), StoreError> {
        let model = key.to_string();
        let what = named(&model);
        let touched = self.transact(&[MODELS], Access::Write, async move |transaction| {
            let models = transaction.object_store(MODELS)?;
            let key = JsValue::from_str(&model);
            let value = models.get(Query::Key(key.clone()))?.await?;
            if let Some(mut value) = value.and_then(ModelValue::from_js) {
                value.last_used_ms = now_ms();
                models.put(&value.to_js(), Some(&key))?;
            }
            Ok(())
        });
        touched.await.map_err(|t| t.prevents("updating", &what))
    }

    /// What the page has chosen to remember under a name.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let value = self.get(SETTINGS, JsValue::from_str(name)).await;
        let value = value.map_err(|trouble| trouble.prevents("reading", "a setting"))?;
        Ok(value.and_then(|value| value.as_string()))
    }

    /// Remembers something for the page, in place of what was remembered under that name. Never a
    /// token or another secret: what is here lies on the disk as it is.
    ///
    /// # Errors
    /// If the database fails or has no room.
    pub async fn put_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let (name, value) = (JsValue::from_str(name), JsValue::from_str(value));
        let put = async move |transaction: &Transaction| {
            let settings = transaction.object_store(SETTINGS)?;
            settings.put(&value, Some(&name))?;
            Ok(())
        };
        let put = self.transact(&[SETTINGS], Access::Write, put).await;
        put.map_err(|trouble| trouble.prevents("writing", "a setting"))
    }

    /// Forgets what is remembered under a name.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_setting(&self, name: &str) -> Result<(), StoreError> {
        let name = JsValue::from_str(name);
        let remove = async move |transaction: &Transaction| {
            let settings = transaction.object_store(SETTINGS)?;
            settings.delete(Query::Key(name.clone()))?;
            Ok(())
        };
        let removed = self.transact(&[SETTINGS], Access::Write, remove).await;
        removed.map_err(|trouble| trouble.prevents("deleting", "a setting"))
    }

    /// The name of a setting that belongs to a model and is deleted with it, such as where it came
    /// from.
    pub fn setting_of(key: &ModelKey, name: &str) -> String {
        schema::setting_of(&key.to_string(), name)
    }

    /// What is stored as the marks of a model, by index; `None` for what is no mark.
    pub(super) async fn mark_values(
        &self,
        model: &str,
    ) -> Result<Vec<(usize, Option<MarkValue>)>, StoreError> {
        let what = format!("the list of pieces of {}", named(model));
        let model = model.to_owned();
        let marks = self.transact(&[MARKS], Access::Read, async move |transaction| {
            let marks = transaction.object_store(MARKS)?;
            let within = || schema::range_of(&model).map(Query::KeyRange);
            let keys = marks.get_all_keys(Some(within()?), None)?.into_future();
            let values = marks.get_all(Some(within()?), None)?.into_future();
            Ok((keys.await?, values.await?))
        });
        let (keys, values) = marks.await.map_err(|t| t.prevents("reading", &what))?;
        let marks = keys.iter().zip(values);
        Ok(marks
            .filter_map(|(key, value)| {
                let (_, index) = schema::piece_of_key(key)?;
                Some((index, MarkValue::from_js(value)))
            })
            .collect())
    }

    /// The side files that are there.
    async fn file_paths(&self, model: &str) -> Result<Vec<String>, StoreError> {
        let what = format!("the list of files of {}", named(model));
        let model = model.to_owned();
        let keys = self.transact(&[FILES], Access::Read, async move |transaction| {
            let within = Query::KeyRange(schema::range_of(&model)?);
            let files = transaction.object_store(FILES)?;
            files.get_all_keys(Some(within), None)?.await
        });
        let keys = keys.await.map_err(|t| t.prevents("reading", &what))?;
        let paths = keys.iter().filter_map(schema::file_of_key);
        Ok(paths.map(|(_, path)| path).collect())
    }
}
