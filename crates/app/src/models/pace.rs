//! How fast something goes, and how long it still takes.

use std::collections::VecDeque;

/// The stretch of time that a rate is taken over, in milliseconds: long enough to be read, short
/// enough to tell that the network has changed.
const STRETCH_MS: f64 = 5000.0;
/// From when on a rate means something, in milliseconds.
const FIRST_MS: f64 = 1000.0;

/// What was done by when.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pace {
    /// Time in milliseconds, and bytes done by then; the last at or before the beginning of the
    /// stretch, and all since.
    marks: VecDeque<(f64, u64)>,
}

impl Pace {
    /// Notes that `done` bytes were done at `now` (milliseconds). Fewer than before means that
    /// something else is counted now, and everything before is forgotten.
    pub(crate) fn note(&mut self, now: f64, done: u64) {
        if self.marks.back().is_some_and(|&(_, before)| done < before) {
            self.marks.clear();
        }
        self.marks.push_back((now, done));
        while self
            .marks
            .get(1)
            .is_some_and(|&(at, _)| at <= now - STRETCH_MS)
        {
            self.marks.pop_front();
        }
    }

    /// Bytes a second over the last stretch before `now`; none before there is anything to tell.
    pub(crate) fn rate(&self, now: f64) -> Option<f64> {
        let &(_, done) = self.marks.back()?;
        let from = now - STRETCH_MS;
        // What was done when the stretch began: the last that is known from before it.
        let before = self.marks.iter().rev().find(|&&(at, _)| at <= from);
        let &(at, start) = before.or(self.marks.front())?;
        let elapsed = now - at.max(from);
        (elapsed >= FIRST_MS).then(|| (done - start) as f64 * 1000.0 / elapsed)
    }

    /// Seconds until `total` bytes are done; none while nothing goes on.
    pub(crate) fn seconds_left(&self, now: f64, total: u64) -> Option<f64> {
        let &(_, done) = self.marks.back()?;
        let rate = self.rate(now).filter(|rate| *rate >= 1.0)?;
        Some(total.saturating_sub(done) as f64 / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(seconds: u32, bytes_a_second: u64) -> Pace {
        let mut pace = Pace::default();
        for tenth in 0..=seconds * 10 {
            let done = u64::from(tenth) * bytes_a_second / 10;
            pace.note(f64::from(tenth) * 100.0, done);
        }
        pace
    }

    #[test]
    fn a_steady_rate_is_that_rate() {
        let pace = steady(60, 1_000_000);
        assert_eq!(pace.rate(60_000.0), Some(1_000_000.0));
        assert_eq!(pace.seconds_left(60_000.0, 90_000_000), Some(30.0));
        // No more is kept than the stretch needs: one mark each tenth of a second, and one before.
        assert!(pace.marks.len() <= 52, "{}", pace.marks.len());
    }

    #[test]
    fn a_new_rate_counts_in_full_after_the_stretch() {
        let mut pace = steady(10, 1_000_000);
        for second in 1..=5 {
            let seconds = f64::from(second);
            pace.note(
                10_000.0 + seconds * 1000.0,
                10_000_000 + second as u64 * 200_000,
            );
        }
        assert_eq!(pace.rate(15_000.0), Some(200_000.0));
    }

    #[test]
    fn standing_still_is_noticed() {
        let pace = steady(10, 1_000_000);
        assert_eq!(pace.rate(15_000.0), Some(0.0));
        assert_eq!(pace.seconds_left(15_000.0, 20_000_000), None);
    }

    #[test]
    fn nothing_is_claimed_too_early() {
        assert_eq!(Pace::default().rate(0.0), None);
        assert_eq!(steady(0, 5).rate(900.0), None);
        assert_eq!(steady(1, 5_000).rate(1000.0), Some(5_000.0));
    }

    #[test]
    fn another_count_begins_anew() {
        let mut pace = steady(10, 1_000_000);
        pace.note(10_100.0, 0);
        pace.note(12_100.0, 4_000);
        assert_eq!(pace.rate(12_100.0), Some(2_000.0));
    }
}
