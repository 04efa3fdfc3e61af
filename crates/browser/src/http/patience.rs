//! How long to wait for a server, and how often to try again.

/// How patient a source is with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Pauses before the second and later attempts, in milliseconds: long enough for a dropped
    /// Wi-Fi to come back, short enough that nobody thinks the page hangs. Attempts are counted
    /// from the last byte that arrived.
    pub pauses_ms: Vec<u32>,
    /// The longest that a server's `Retry-After` is obeyed, in milliseconds.
    pub longest_pause_ms: u32,
    /// How long nothing may arrive before the connection counts as broken, in milliseconds.
    pub stall_ms: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pauses_ms: vec![300, 1000, 3000],
            longest_pause_ms: 10_000,
            stall_ms: 30_000,
        }
    }
}

/// The attempts since something last arrived.
pub(super) struct Attempts<'a> {
    patience: &'a Patience,
    failed: usize,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(patience: &'a Patience) -> Self {
        Self {
            patience,
            failed: 0,
        }
    }

    /// Something arrived: what failed before is forgiven.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Counts a failure. The pause before the next attempt, in milliseconds, or `None` when this
    /// was the last.
    pub(super) fn failed(&mut self, asked_ms: Option<u32>) -> Option<u32> {
        let pause = self.patience.pauses_ms.get(self.failed).copied();
        self.failed += 1;
        let asked = asked_ms.unwrap_or(0).min(self.patience.longest_pause_ms);
        pause.map(|pause| pause.max(asked))
    }

    /// Failures in a row.
    pub(super) fn count(&self) -> usize {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let patience = Patience::default();
        let mut attempts = Attempts::new(&patience);
        let pauses: Vec<_> = (0..4).map(|_| attempts.failed(None)).collect();
        assert_eq!(pauses, [Some(300), Some(1000), Some(3000), None]);
        assert_eq!(attempts.count(), 4);
    }

    #[test]
    fn what_arrives_starts_the_count_anew() {
        let patience = Patience::default();
        let mut attempts = Attempts::new(&patience);
        assert_eq!(attempts.failed(None), Some(300));
        attempts.progressed();
        assert_eq!(attempts.failed(None), Some(300));
    }

    #[test]
    fn a_server_may_ask_for_more_but_not_for_hours() {
        let patience = Patience::default();
        let mut attempts = Attempts::new(&patience);
        assert_eq!(attempts.failed(Some(2000)), Some(2000));
        assert_eq!(attempts.failed(Some(10)), Some(1000));
        assert_eq!(attempts.failed(Some(u32::MAX)), Some(10_000));
        // Asking for a pause is no promise of more attempts.
        assert_eq!(attempts.failed(Some(2000)), None);
    }
}
