//! Waiting for a server longer than anybody looks at a page: until it answers, or until somebody
//! has had enough.

use std::cell::{Cell, RefCell};
use std::fmt;

use futures_util::future;
use gloo_timers::future::TimeoutFuture;
use tokio::sync::oneshot;

use crate::protocol::Waiting;

/// Pauses between attempts once the quick ones have failed, in milliseconds; the last one is
/// repeated. A Wi-Fi that comes back is used within seconds, and a night without a network costs
/// an attempt a minute.
const PAUSES_MS: [u32; 5] = [5_000, 10_000, 20_000, 40_000, 60_000];

/// The longest that a server's `Retry-After` is obeyed, in milliseconds: hubs count requests over
/// five minutes.
const LONGEST_MS: u32 = 330_000;

/// A wait without an end of its own, and somebody who hears of it.
///
/// It ends when an attempt succeeds or fails for good, or when what waits is dropped.
pub struct Vigil {
    tell: Box<dyn Fn(Option<Waiting>)>,
    told: Cell<bool>,
    /// Ends the present pause, unless a server asked for it.
    alarm: RefCell<Option<oneshot::Sender<()>>>,
    /// When the pause that a server asked for is over, in milliseconds since 1970.
    due_ms: Cell<f64>,
}

impl Vigil {
    /// A vigil of which `tell` hears: each pause, each new attempt, and `None` at its end.
    pub fn new(tell: impl Fn(Option<Waiting>) + 'static) -> Self {
        Self {
            tell: Box::new(tell),
            told: Cell::new(false),
            alarm: RefCell::default(),
            due_ms: Cell::new(0.0),
        }
    }

    /// Something has changed, so that it may be worth trying at once: a network came, a laptop
    /// woke, a person clicked. A pause that a server asked for is kept all the same.
    pub fn hurry(&self) {
        if js_sys::Date::now() >= self.due_ms.get()
            && let Some(alarm) = self.alarm.borrow_mut().take()
        {
            // Nobody listens any more where the pause has just ended by itself.
            let _ = alarm.send(());
        }
    }

    /// The pause after so many others.
    pub(super) fn pause_ms(waited: usize) -> u32 {
        let last = PAUSES_MS.len() - 1;
        PAUSES_MS.get(waited.min(last)).copied().unwrap_or_default()
    }

    /// The longest pause that a server may ask for.
    pub(super) const fn longest_ms() -> u32 {
        LONGEST_MS
    }

    /// Pauses; whether that was cut short. `asked`: by the server.
    pub(super) async fn pause(&self, reason: &str, pause_ms: u32, asked: bool) -> bool {
        let until_ms = js_sys::Date::now() + f64::from(pause_ms);
        self.due_ms.set(if asked { until_ms } else { 0.0 });
        let (alarm, rung) = oneshot::channel();
        *self.alarm.borrow_mut() = Some(alarm);
        let waiting = |until_ms| Waiting {
            reason: reason.to_owned(),
            until_ms,
            asked,
        };
        self.say(Some(waiting(Some(until_ms))));
        let pause = future::select(TimeoutFuture::new(pause_ms), rung).await;
        self.say(Some(waiting(None)));
        matches!(pause, future::Either::Right(_))
    }

    /// There is nothing to wait for any more.
    pub(super) fn end(&self) {
        if self.told.get() {
            self.say(None);
        }
    }

    fn say(&self, waiting: Option<Waiting>) {
        self.told.set(waiting.is_some());
        (self.tell)(waiting);
    }
}

impl fmt::Debug for Vigil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vigil")
    }
}
