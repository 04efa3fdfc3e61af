//! A body on its way out, as far as it comes.

use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;

use super::content::Content;

/// How much is sent at a time.
const PIECE: u64 = 64 << 10;

/// What was sent before a cut is given so long to be read: a browser drops what it has received
/// and not yet handed over when it learns that the connection is broken.
const BEFORE_CUT: Duration = Duration::from_millis(300);

pub(super) struct Sending {
    pub(super) content: Content,
    /// What is still to be sent.
    pub(super) range: Range<u64>,
    pub(super) corrupt: Option<u64>,
    pub(super) ending: Ending,
    pub(super) pause: Duration,
    /// Counts what was sent.
    pub(super) sent: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Neat,
    Cut,
    Stall,
}

impl Sending {
    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(Some(self), |sending| async {
            let mut sending = sending?;
            match sending.next().await {
                Some(Ok(piece)) => Some((Ok(piece), Some(sending))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }

    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        if self.range.is_empty() {
            return match self.ending {
                Ending::Neat => None,
                Ending::Cut => {
                    tokio::time::sleep(BEFORE_CUT).await;
                    Some(Err(Error::from(ErrorKind::ConnectionAborted)))
                }
                Ending::Stall => std::future::pending().await,
            };
        }
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let piece = self.range.start..self.range.end.min(self.range.start + PIECE);
        self.range.start = piece.end;
        let mut bytes = self.content.read(piece.clone());
        if let Some(at) = self.corrupt.filter(|at| piece.contains(at)) {
            bytes[(at - piece.start) as usize] ^= 0xff;
        }
        self.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Some(Ok(bytes.into()))
    }
}
