//! Keeps a stream of reports slow enough for a page to draw.

use std::time::Duration;

/// Time between two reports: a bar that moves twenty times a second moves smoothly.
const INTERVAL: Duration = Duration::from_millis(50);

/// Lets a report through when the last one is old enough, and holds the newest of the others.
#[derive(Debug)]
pub(super) struct Throttle<T> {
    last: Option<Duration>,
    held: Option<T>,
}

impl<T> Throttle<T> {
    pub(super) fn new() -> Self {
        Self {
            last: None,
            held: None,
        }
    }

    /// The report to send at `now` (time since any fixed moment), if one is due.
    pub(super) fn offer(&mut self, now: Duration, report: T) -> Option<T> {
        let due = self
            .last
            .is_none_or(|last| now.saturating_sub(last) >= INTERVAL);
        if !due {
            self.held = Some(report);
            return None;
        }
        self.last = Some(now);
        self.held = None;
        Some(report)
    }

    /// What is still held: the end of the stream is never lost.
    pub(super) fn finish(&mut self) -> Option<T> {
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes of reports every `every` milliseconds, named by their time.
    fn passed(every: u64, count: u64) -> Vec<u64> {
        let mut throttle = Throttle::new();
        let mut passed: Vec<u64> = (0..count)
            .map(|i| i * every)
            .filter_map(|ms| throttle.offer(Duration::from_millis(ms), ms))
            .collect();
        passed.extend(throttle.finish());
        passed
    }

    #[test]
    fn slow_reports_all_pass() {
        assert_eq!(passed(50, 4), [0, 50, 100, 150]);
    }

    #[test]
    fn fast_reports_are_thinned_and_the_last_passes() {
        assert_eq!(passed(20, 6), [0, 60, 100]);
        assert_eq!(passed(20, 7), [0, 60, 120]);
        assert_eq!(passed(1, 1000).len(), 21);
        assert_eq!(passed(1, 1000).last(), Some(&999));
    }

    #[test]
    fn a_single_report_passes_once() {
        assert_eq!(passed(1, 1), [0]);
    }
}
