//! Packed models in the browser's database (IndexedDB), and what goes with keeping them.
//!
//! A piece goes from the network's worker to the database and from there to the GPU as a
//! `Uint8Array`; the only copy out of this program's memory is [`Store::piece_of`].
//!
//! Every operation is one transaction, and returns when that is complete. It runs to its end even
//! if its future is dropped. What is written in pieces and records has reached the disk by then,
//! where the browser knows the difference (`durability: "strict"`; Safari does as it likes): a
//! power cut costs the piece in flight. Where a browser promised too much, the digests find out.

mod bus;
mod connection;
mod js;
mod lock;
mod manager;
mod room;
mod schema;
mod sweep;
mod transaction;
mod trouble;
mod value;

pub use bus::Bus;
pub use lock::WriteLock;
pub use manager::{Overview, Summary};
pub use room::{Estimate, estimate};
pub use sweep::Swept;

use std::rc::Rc;

use idb::{Error, Query, Transaction};
use js_sys::{Promise, Uint8Array};
use paligemma_checkpoint::{Digest, Mark, ModelKey, Record, Store, StoreError};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::SubtleCrypto;

use connection::{Access, Database};
use schema::{FILES, MARKS, MODELS, PIECES, SETTINGS};
use transaction::{detached, transact};
use trouble::Trouble;
use value::{MarkValue, ModelValue};

/// The database of the page.
const DATABASE: &str = "paligemma-web";

/// Packed models in the browser's database. Clones share a connection.
///
/// A connection that ends, because a laptop slept or another tab updates the database, is replaced
/// without a word. One writer at a time is the caller's business: see [`IdbStore::try_write`].
#[derive(Clone)]
pub struct IdbStore {
    database: Rc<Database>,
}

impl IdbStore {
    /// Opens the database of this site, which is made if there is none and brought up to date if
    /// it is older.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the browser has none for this page, [`StoreError::Newer`] if
    /// a later version of this software wrote it, [`StoreError::Failed`] if another tab keeps an
    /// older version open.
    pub async fn open() -> Result<Self, StoreError> {
        Self::open_named(DATABASE).await
    }

    /// Opens another database of this site, for those who keep their models apart.
    ///
    /// # Errors
    /// As [`IdbStore::open`].
    pub async fn open_named(name: &str) -> Result<Self, StoreError> {
        let database = Rc::new(Database::new(name));
        let opening = Rc::clone(&database);
        let opened = detached(async move { Ok(opening.connect().await.map(drop)?) }).await;
        opened.map_err(Trouble::prevents_opening)?;
        Ok(Self { database })
    }

    /// Takes the right to write to this database, if no tab or worker of this site has it.
    pub async fn try_write(&self) -> Option<WriteLock> {
        WriteLock::try_take(&self.write_lock()).await
    }

    /// Waits for the right to write to this database.
    pub async fn write(&self) -> WriteLock {
        WriteLock::take(&self.write_lock()).await
    }

    /// Takes one model for what must not happen while it is fetched, if nobody fetches it.
    pub async fn try_model(&self, key: &ModelKey) -> Option<WriteLock> {
        WriteLock::try_take(&self.model_lock(key)).await
    }

    /// Waits for one model, to fetch it. Whoever does has the right to write as well.
    pub async fn hold_model(&self, key: &ModelKey) -> WriteLock {
        WriteLock::take(&self.model_lock(key)).await
    }

    fn model_lock(&self, key: &ModelKey) -> String {
        format!("{}:model:{key}", self.database.name())
    }

    fn write_lock(&self) -> String {
        format!("{}:write", self.database.name())
    }

    async fn transact<R: 'static>(
        &self,
        stores: &'static [&'static str],
        access: Access,
        body: impl AsyncFn(&Transaction) -> Result<R, Error> + 'static,
    ) -> Result<R, Trouble> {
        transact(&self.database, stores, access, body).await
    }

    /// The value at a key of an object store.
    async fn get(&self, from: &'static str, key: JsValue) -> Result<Option<JsValue>, Trouble> {
        let stores = only(from);
        self.transact(stores, Access::Read, async move |transaction| {
            let key = Query::Key(key.clone());
            transaction.object_store(from)?.get(key)?.await
        })
        .await
    }

    /// What is stored for a model, if that can be read at all; and whether there is anything.
    async fn model_value(&self, model: &str) -> Result<(Option<ModelValue>, bool), StoreError> {
        match self.get(MODELS, JsValue::from_str(model)).await {
            Ok(Some(value)) => Ok((ModelValue::from_js(value), true)),
            Ok(None) => Ok((None, false)),
            Err(trouble) if trouble.is_lost_value() => Ok((None, true)),
            Err(trouble) => Err(trouble.prevents("reading", &named(model))),
        }
    }

    /// The names of all models, whatever is stored for them.
    async fn model_names(&self) -> Result<Vec<String>, StoreError> {
        let keys = self.transact(&[MODELS], Access::Read, async |transaction| {
            let models = transaction.object_store(MODELS)?;
            models.get_all_keys(None, None)?.await
        });
        let keys = keys
            .await
            .map_err(|t| t.prevents("reading", "the list of models"))?;
        Ok(keys.iter().filter_map(JsValue::as_string).collect())
    }

    /// Writes a value at a key of one object store, if the model's record is there.
    async fn put_with_model(
        &self,
        stores: &'static [&'static str],
        model: String,
        values: Vec<(&'static str, JsValue, JsValue)>,
        what: &str,
    ) -> Result<(), StoreError> {
        let put = async move |transaction: &Transaction| {
            let model = Query::Key(JsValue::from_str(&model));
            let models = transaction.object_store(MODELS)?;
            if models.get_key(model)?.await?.is_none() {
                return Ok(false);
            }
            for (store, key, value) in &values {
                transaction.object_store(store)?.put(value, Some(key))?;
            }
            Ok(true)
        };
        match self.transact(stores, Access::WriteThrough, put).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Failed {
                what: format!("writing {what}"),
                reason: "its model has been deleted meanwhile".to_owned(),
            }),
            Err(trouble) => Err(trouble.prevents("writing", what)),
        }
    }
}

impl std::fmt::Debug for IdbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdbStore({:?})", self.database.name())
    }
}

impl Store for IdbStore {
    type Piece = Uint8Array;

    async fn models(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for model in self.model_names().await? {
            // One by one: what is lost of one must not take the others with it.
            let (value, _) = self.model_value(&model).await?;
            records.extend(value.and_then(|value| value.record(&model)));
        }
        Ok(records)
    }

    async fn model(&self, key: &ModelKey) -> Result<Option<Record>, StoreError> {
        let model = key.to_string();
        match self.model_value(&model).await? {
            (_, false) => Ok(None),
            (value, true) => {
                let record = value.and_then(|value| value.record(&model));
                record.map(Some).ok_or_else(|| StoreError::Damaged {
                    what: format!("the record of {}", named(&model)),
                })
            }
        }
    }

    async fn put_model(&self, record: &Record) -> Result<(), StoreError> {
        let model = record.key().to_string();
        let what = format!("the record of {}", named(&model));
        let (before, _) = self.model_value(&model).await?;
        let text = serde_json::to_string(record).map_err(|error| StoreError::Failed {
            what: format!("writing {what}"),
            reason: error.to_string(),
        })?;
        let value = ModelValue {
            record: text,
            created_ms: before.as_ref().map_or_else(js::now_ms, |b| b.created_ms),
            last_used_ms: before.as_ref().map_or(0.0, |b| b.last_used_ms),
        };
        let put = self.transact(&[MODELS], Access::WriteThrough, async move |transaction| {
            let models = transaction.object_store(MODELS)?;
            models.put(&value.to_js(), Some(&JsValue::from_str(&model)))?;
            Ok(())
        });
        put.await
            .map_err(|trouble| trouble.prevents("writing", &what))
    }

    async fn delete(&self, key: &ModelKey) -> Result<(), StoreError> {
        let model = key.to_string();
        let failed = |trouble: Trouble| trouble.prevents("deleting", &named(&model));
        // The record first: if this is interrupted, the rest is an orphan, to be swept.
        let name = model.clone();
        let record = self.transact(&[MODELS], Access::WriteThrough, async move |transaction| {
            let models = transaction.object_store(MODELS)?;
            models.delete(Query::Key(JsValue::from_str(&name)))?;
            Ok(())
        });
        record.await.map_err(failed)?;
        let name = model.clone();
        let rest = self.transact(schema::ALL, Access::Write, async move |transaction| {
            for store in [PIECES, MARKS, FILES] {
                let store = transaction.object_store(store)?;
                store.delete(schema::range_of(&name)?)?;
            }
            let settings = transaction.object_store(SETTINGS)?;
            settings.delete(schema::settings_of(&name)?)?;
            Ok(())
        });
        rest.await.map_err(failed)
    }

    async fn marks(&self, key: &ModelKey) -> Result<Vec<Mark>, StoreError> {
        let model = key.to_string();
        let values = self.mark_values(&model).await?.into_iter();
        Ok(values
            .filter_map(|(index, value)| value?.mark(index))
            .collect())
    }

    fn piece_of(&self, bytes: &[u8]) -> Uint8Array {
        Uint8Array::from(bytes)
    }

    async fn digest(&self, piece: &Uint8Array) -> Result<Digest, StoreError> {
        digest(piece).await
    }

    async fn put_piece(
        &self,
        key: &ModelKey,
        mark: &Mark,
        piece: Uint8Array,
    ) -> Result<(), StoreError> {
        let model = key.to_string();
        let at = schema::piece_key(&model, mark.index);
        // A part of a larger buffer would be stored with all of it.
        let alone = piece.byte_length() == piece.buffer().byte_length();
        let piece = if alone {
            piece
        } else {
            piece.slice(0, piece.length())
        };
        let mark_value = MarkValue::new(mark, piece.length()).to_js();
        let values = vec![(PIECES, at.clone(), piece.into()), (MARKS, at, mark_value)];
        let what = format!("piece {}", mark.index);
        self.put_with_model(&[MODELS, PIECES, MARKS], model, values, &what)
            .await
    }

    async fn piece(&self, key: &ModelKey, index: usize) -> Result<Option<Uint8Array>, StoreError> {
        let at = schema::piece_key(&key.to_string(), index);
        match self.get(PIECES, at).await {
            // Another kind of value is as good as none: it has to be fetched again.
            Ok(value) => Ok(value.and_then(|value| value.dyn_into().ok())),
            Err(trouble) if trouble.is_lost_value() => Ok(None),
            Err(trouble) => Err(trouble.prevents("reading", &format!("piece {index}"))),
        }
    }

    async fn forget(&self, key: &ModelKey, indices: &[usize]) -> Result<(), StoreError> {
        let model = key.to_string();
        let indices = indices.to_vec();
        let forgotten = self.transact(&[PIECES, MARKS], Access::Write, async move |transaction| {
            for store in [PIECES, MARKS] {
                let store = transaction.object_store(store)?;
                for index in &indices {
                    store.delete(Query::Key(schema::piece_key(&model, *index)))?;
                }
            }
            Ok(())
        });
        forgotten
            .await
            .map_err(|trouble| trouble.prevents("deleting", "damaged pieces"))
    }

    async fn put_file(&self, key: &ModelKey, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let model = key.to_string();
        let at = schema::file_key(&model, path);
        let values = vec![(FILES, at, Uint8Array::from(bytes).into())];
        self.put_with_model(&[MODELS, FILES], model, values, path)
            .await
    }

    async fn file(&self, key: &ModelKey, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let at = schema::file_key(&key.to_string(), path);
        match self.get(FILES, at).await {
            Ok(value) => {
                let bytes = value.and_then(|value| value.dyn_into::<Uint8Array>().ok());
                Ok(bytes.map(|bytes| bytes.to_vec()))
            }
            Err(trouble) if trouble.is_lost_value() => Ok(None),
            Err(trouble) => Err(trouble.prevents("reading", path)),
        }
    }
}

/// SHA-256 by the browser itself, which is faster than anything in WebAssembly.
async fn digest(piece: &Uint8Array) -> Result<Digest, StoreError> {
    let subtle = js::global(&["crypto", "subtle"]);
    let Ok(subtle) = subtle.dyn_into::<SubtleCrypto>() else {
        return Err(StoreError::Unavailable {
            reason: "this page was not opened from a secure address, so the browser offers it no \
                     means to check what it stores"
                .to_owned(),
            next: "open it over https:// or from http://localhost",
        });
    };
    let failed = |thrown: JsValue| Trouble::thrown(&thrown).prevents("checking", "a piece");
    let hashing: Promise = subtle
        .digest_with_str_and_buffer_source("SHA-256", piece)
        .map_err(failed)?;
    let hash = JsFuture::from(hashing).await.map_err(failed)?;
    let hash = Uint8Array::new(&hash).to_vec();
    let hash = <[u8; 32]>::try_from(hash).map_err(|other| StoreError::Failed {
        what: "checking a piece".to_owned(),
        reason: format!("its SHA-256 has {} bytes", other.len()),
    })?;
    Ok(Digest(hash))
}

/// A model in a message, where its title is not known.
fn named(model: &str) -> String {
    format!("model {}…", model.get(..8).unwrap_or(model))
}

/// One object store as a transaction's scope.
fn only(store: &'static str) -> &'static [&'static str] {
    schema::ALL
        .iter()
        .position(|name| *name == store)
        .map_or(schema::ALL, |at| &schema::ALL[at..=at])
}
