//! The connection to the database: opened, closed for others' sake, opened again.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::future::{self, Either};
use gloo_timers::future::TimeoutFuture;
use idb::{Factory, Transaction};
use js_sys::{Array, Function, Object, Reflect};
use paligemma_checkpoint::StoreError;
use tokio::sync::{Mutex, oneshot};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{IdbDatabase, IdbTransaction};

use super::js::get;
use super::schema;
use super::trouble::{Trouble, no_database};

/// How long a tab with an older version of the page may keep the database from being updated, in
/// milliseconds. A tab that listens closes its connection within one turn of its event loop.
const PATIENCE_MS: u32 = 5000;

/// What a transaction may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    /// Write, and be done only when the disk has it, where the browser knows the difference.
    WriteThrough,
}

/// A database by its name, opened when it is needed.
pub(super) struct Database {
    name: String,
    connection: Mutex<Option<Rc<Connection>>>,
}

impl Database {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            connection: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The connection there is, or another one.
    pub(super) async fn connect(&self) -> Result<Rc<Connection>, StoreError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.ended.get()) {
            return Ok(Rc::clone(connection));
        }
        *slot = None;
        let connection = Rc::new(open(&self.name).await?);
        *slot = Some(Rc::clone(&connection));
        Ok(connection)
    }
}

/// An open connection. Closes with its last owner, once its transactions have ended.
pub(super) struct Connection {
    database: IdbDatabase,
    /// Whether it has been closed.
    ended: Rc<Cell<bool>>,
    /// Has the handlers.
    _handlers: idb::Database,
}

impl Connection {
    fn new(database: idb::Database) -> Self {
        let database = IdbDatabase::from(database);
        let ended = Rc::new(Cell::new(false));
        let mut handlers = idb::Database::from(database.clone());
        handlers.on_version_change({
            // A tab with a newer version of the page waits for this, or the person clears the
            // site's data.
            let (database, ended) = (database.clone(), Rc::clone(&ended));
            move |_| {
                ended.set(true);
                database.close();
            }
        });
        handlers.on_close({
            let ended = Rc::clone(&ended);
            move |_| ended.set(true)
        });
        Self {
            database,
            ended,
            _handlers: handlers,
        }
    }

    /// The next one who needs a connection opens another.
    pub(super) fn give_up(&self) {
        self.ended.set(true);
    }

    pub(super) fn begin(&self, stores: &[&str], access: Access) -> Result<Transaction, Trouble> {
        let names: Array = stores.iter().map(|name| JsValue::from_str(name)).collect();
        let mode = match access {
            Access::Read => "readonly",
            Access::Write | Access::WriteThrough => "readwrite",
        };
        let options = Object::new();
        let begun = || {
            if access == Access::WriteThrough {
                Reflect::set(&options, &"durability".into(), &"strict".into())?;
            }
            // By name, because the bindings know no options.
            let begin: Function = get(&self.database, "transaction").dyn_into()?;
            let begun = begin.call3(&self.database, &names, &mode.into(), &options)?;
            begun.dyn_into::<IdbTransaction>()
        };
        begun()
            .map(Transaction::from)
            .map_err(|thrown| Trouble::thrown(&thrown))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // What they would call is about to be dropped.
        self.database.set_onversionchange(None);
        self.database.set_onclose(None);
        self.database.close();
    }
}

async fn open(name: &str) -> Result<Connection, StoreError> {
    let factory = Factory::new().map_err(|_| no_database())?;
    let refused = |error: idb::Error| Trouble::from(error).prevents_opening();
    let mut request = factory.open(name, Some(schema::VERSION)).map_err(refused)?;
    let (block, blocked) = oneshot::channel();
    request.on_blocked(move |_| {
        let _ = block.send(());
    });
    request.on_upgrade_needed(schema::upgrade);
    let request = request.into_future();
    let (sender, opened) = oneshot::channel();
    spawn_local(async move {
        // A connection that comes after patience ended is dropped with the message, and so
        // closed: nobody would close it for another tab.
        drop(sender.send(request.await.map(Connection::new)));
    });
    let too_long = async {
        if blocked.await.is_err() {
            future::pending::<()>().await;
        }
        TimeoutFuture::new(PATIENCE_MS).await;
    };
    match future::select(opened, Box::pin(too_long)).await {
        Either::Left((Ok(opened), _)) => opened.map_err(refused),
        Either::Left((Err(_), _)) => Err(Trouble::exception("", "").prevents_opening()),
        Either::Right(_) => Err(StoreError::Failed {
            what: "updating the model store".to_owned(),
            reason: "another tab with an older version of this page has it open: close the other \
                     tabs of this site"
                .to_owned(),
        }),
    }
}
