//! A network that comes back: whatever waits for it tries at once.

use std::time::Duration;

use leptos::prelude::*;

use super::state::Models;
use crate::platform::page as browser;

/// Time between two looks at the clock.
const LOOK: Duration = Duration::from_secs(5);
/// Between two looks there was a sleep, if so many milliseconds have passed: browsers look once a
/// minute at least, even from a page that nobody sees.
const SLEPT_MS: f64 = 75_000.0;

impl Models {
    /// From now on notices a network, a page that is looked at again, and a computer that wakes.
    pub(crate) fn watch_network(self) {
        let online = window_event_listener_untyped("online", move |_| self.hurry());
        let looked_at = window_event_listener_untyped("visibilitychange", move |_| {
            if !browser::document().hidden() {
                self.hurry();
            }
        });
        let last = StoredValue::new(browser::now());
        let look = move || {
            let now = browser::now();
            if has_slept(last.get_value(), now) {
                self.hurry();
            }
            last.set_value(now);
        };
        let clock = set_interval_with_handle(look, LOOK);
        on_cleanup(move || {
            online.remove();
            looked_at.remove();
            if let Ok(clock) = clock {
                clock.clear();
            }
        });
    }
}

/// Whether this computer has slept between two looks, by their times in milliseconds.
fn has_slept(last: f64, now: f64) -> bool {
    now - last > SLEPT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_longer_than_a_slow_clock() {
        assert!(!has_slept(0.0, 5_000.0));
        // A page in the background.
        assert!(!has_slept(0.0, 61_000.0));
        assert!(has_slept(0.0, 600_000.0));
        // A clock that was set back.
        assert!(!has_slept(600_000.0, 0.0));
    }
}
