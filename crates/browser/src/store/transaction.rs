//! Transactions that end as one expects: all or nothing, waited for, tried again once.

use std::cell::Cell;
use std::rc::Rc;

use idb::Transaction;
use tokio::sync::oneshot;
use wasm_bindgen_futures::spawn_local;
use web_sys::IdbTransaction;

use super::connection::{Access, Database};
use super::trouble::Trouble;

/// Runs `body` in a transaction over `stores`, and returns when that is complete. A request that
/// `body` makes and does not wait for is part of it all the same.
///
/// If the connection turns out to be closed, it is done once more over another: `body` has to be
/// such that this does no harm.
pub(super) async fn transact<R, F>(
    database: &Rc<Database>,
    stores: &'static [&'static str],
    access: Access,
    body: F,
) -> Result<R, Trouble>
where
    R: 'static,
    F: AsyncFn(&Transaction) -> Result<R, idb::Error> + 'static,
{
    let database = Rc::clone(database);
    detached(async move {
        match attempt(&database, stores, access, &body).await {
            Err(trouble) if trouble.may_be_the_connection() => {
                attempt(&database, stores, access, &body).await
            }
            ended => ended,
        }
    })
    .await
}

async fn attempt<R, F>(
    database: &Database,
    stores: &[&str],
    access: Access,
    body: &F,
) -> Result<R, Trouble>
where
    F: AsyncFn(&Transaction) -> Result<R, idb::Error>,
{
    let connection = database.connect().await?;
    let ended = async {
        let transaction = connection.begin(stores, access)?;
        within(transaction, body).await
    };
    let ended = ended.await;
    if ended.as_ref().is_err_and(Trouble::may_be_the_connection) {
        connection.give_up();
    }
    ended
}

/// Runs `body` and waits for the end of the transaction, good or bad.
async fn within<R, F>(transaction: Transaction, body: &F) -> Result<R, Trouble>
where
    F: AsyncFn(&Transaction) -> Result<R, idb::Error>,
{
    let inner = IdbTransaction::from(transaction);
    let mut transaction = Transaction::from(inner.clone());
    let (sender, ended) = oneshot::channel();
    let sender = Rc::new(Cell::new(Some(sender)));
    let end = move |how| {
        if let Some(sender) = sender.take() {
            drop(sender.send(how));
        }
    };
    transaction.on_complete({
        let end = end.clone();
        move |_| end(Ok(()))
    });
    transaction.on_abort({
        let inner = inner.clone();
        move |_| {
            // Only now does it say why: it may have come as far as to the disk.
            end(Err(match inner.error() {
                Some(error) => Trouble::thrown(&error),
                None => Trouble::exception("AbortError", "the browser took the operation back"),
            }));
        }
    });
    let result = body(&transaction).await;
    if result.is_err() {
        // Otherwise what went well of it would be kept. It may have ended by itself.
        let _ = inner.abort();
    }
    // In either case its last event has to be waited for, because that finds its handlers here.
    let ended = match ended.await {
        Ok(ended) => ended,
        Err(_) => Err(Trouble::exception("", "")),
    };
    match (result, ended) {
        (Ok(value), Ok(())) => Ok(value),
        (Ok(_), Err(trouble)) => Err(trouble),
        (Err(error), ended) => {
            let trouble = Trouble::from(error);
            match ended {
                Err(reason) if trouble.is_abortion() => Err(reason),
                _ => Err(trouble),
            }
        }
    }
}

/// Runs to its end even if nobody waits for it any more. The browser calls a request's handlers
/// whether or not the future that waits for them is still there, and a handler that is gone is an
/// error that nobody handles.
pub(super) async fn detached<R: 'static>(
    work: impl Future<Output = Result<R, Trouble>> + 'static,
) -> Result<R, Trouble> {
    let (sender, done) = oneshot::channel();
    spawn_local(async move { drop(sender.send(work.await)) });
    match done.await {
        Ok(done) => done,
        Err(_) => Err(Trouble::exception("", "")),
    }
}
