//! Nothing stays that nobody can reach: what an interrupted deletion, an older version or a
//! browser's fault left behind.

use std::collections::HashSet;

use idb::{Error, ObjectStore, Query, Transaction};
use paligemma_checkpoint::{Digest, StoreError};
use wasm_bindgen::JsValue;

use super::IdbStore;
use super::connection::Access;
use super::schema::{self, FILES, MARKS, MODELS, PIECES, SETTINGS};

/// How much a sweep removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Pieces without a mark or without a model.
    pub pieces: usize,
    /// Marks without a piece or without a model.
    pub marks: usize,
    /// Side files without a model.
    pub files: usize,
}

impl IdbStore {
    /// Removes whatever belongs to no model, pieces without marks and marks without pieces; to be
    /// called once at start-up. Reads keys only. Models that are not complete stay: they can be
    /// resumed.
    ///
    /// `None` if it was not done because some tab or worker is writing (see
    /// [`IdbStore::try_write`]).
    ///
    /// # Errors
    /// If the database fails.
    pub async fn sweep(&self) -> Result<Option<Swept>, StoreError> {
        let Some(_lock) = self.try_write().await else {
            return Ok(None);
        };
        let swept = self.transact(schema::ALL, Access::Write, sweep).await;
        let swept = swept.map_err(|trouble| trouble.prevents("tidying", "the model store"))?;
        Ok(Some(swept))
    }
}

async fn sweep(transaction: &Transaction) -> Result<Swept, Error> {
    let open = |name| transaction.object_store(name);
    let models = models(&open(MODELS)?).await?;
    let (pieces, marks) = (open(PIECES)?, open(MARKS)?);
    let piece_keys = pieces.get_all_keys(None, None)?.await?;
    let mark_keys = marks.get_all_keys(None, None)?.await?;
    let indices = |keys: &[JsValue]| -> HashSet<(String, usize)> {
        keys.iter().filter_map(schema::piece_of_key).collect()
    };
    let (with_piece, with_mark) = (indices(&piece_keys), indices(&mark_keys));
    let whole = |key: &JsValue| {
        schema::piece_of_key(key).is_some_and(|at| {
            models.contains(&at.0) && with_piece.contains(&at) && with_mark.contains(&at)
        })
    };
    let wanted = |key: &JsValue| schema::file_of_key(key).is_some_and(|at| models.contains(&at.0));
    let files = open(FILES)?;
    let file_keys = files.get_all_keys(None, None)?.await?;
    let settings = open(SETTINGS)?;
    let setting_keys = settings.get_all_keys(None, None)?.await?;
    remove(&settings, &setting_keys, |key| goes_with(key, &models))?;
    Ok(Swept {
        pieces: remove(&pieces, &piece_keys, whole)?,
        marks: remove(&marks, &mark_keys, whole)?,
        files: remove(&files, &file_keys, wanted)?,
    })
}

/// The models there are. What lies under the name of no model is removed.
async fn models(store: &ObjectStore) -> Result<HashSet<String>, Error> {
    let keys = store.get_all_keys(None, None)?.await?;
    let is_model = |key: &JsValue| key.as_string().is_some_and(|name| is_name(&name));
    remove(store, &keys, is_model)?;
    let names = keys.iter().filter_map(JsValue::as_string);
    Ok(names.filter(|name| is_name(name)).collect())
}

fn is_name(model: &str) -> bool {
    model.parse::<Digest>().is_ok()
}

/// Whether a setting belongs to a model that is there, or to none.
fn goes_with(key: &JsValue, models: &HashSet<String>) -> bool {
    let name = key.as_string().unwrap_or_default();
    match name.split_once('/') {
        Some((model, _)) if is_name(model) => models.contains(model),
        _ => true,
    }
}

/// Removes what is not to stay; how many that were.
fn remove(
    store: &ObjectStore,
    keys: &[JsValue],
    stays: impl Fn(&JsValue) -> bool,
) -> Result<usize, Error> {
    let mut removed = 0;
    for key in keys.iter().filter(|key| !stays(key)) {
        store.delete(Query::Key(key.clone()))?;
        removed += 1;
    }
    Ok(removed)
}
