//! How long to wait for a server, and how often to try again.

use std::rc::Rc;

use super::vigil::Vigil;

/// How patient a source is with its server.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Pauses before the second and later attempts, in milliseconds: long enough for a dropped
    /// Wi-Fi to come back, short enough that nobody thinks the page hangs. Attempts are counted
    /// from the last byte that arrived.
    pub pauses_ms: Vec<u32>,
    /// The longest that a server's `Retry-After` is obeyed without a word, in milliseconds.
    pub longest_pause_ms: u32,
    /// How long nothing may arrive before the connection counts as broken, in milliseconds.
    pub stall_ms: u32,
    /// What follows these attempts; none: a failure.
    pub vigil: Option<Rc<Vigil>>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pauses_ms: vec![300, 1000, 3000],
            longest_pause_ms: 10_000,
            stall_ms: 30_000,
            vigil: None,
        }
    }
}

impl Patience {
    /// Of who waits until the server answers.
    pub fn endless(vigil: Rc<Vigil>) -> Self {
        Self {
            vigil: Some(vigil),
            ..Self::default()
        }
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another one after so many milliseconds; nobody needs to know.
    Soon(u32),
    /// Another one after so many milliseconds, of which the person is told. `asked`: by the server.
    Wait { pause_ms: u32, asked: bool },
    /// The server wants to be left alone for so many milliseconds, which is too long.
    Later(u32),
    /// None.
    Never,
}

/// The attempts since something last arrived.
pub(super) struct Attempts<'a> {
    patience: &'a Patience,
    failed: usize,
    waited: usize,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(patience: &'a Patience) -> Self {
        Self {
            patience,
            failed: 0,
            waited: 0,
        }
    }

    /// Something arrived, or may from now on: what failed before is forgiven.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
        self.waited = 0;
    }

    /// Counts a failure. `asked_ms`: the pause that the server asks for.
    pub(super) fn failed(&mut self, asked_ms: Option<u32>) -> Next {
        let Patience {
            pauses_ms,
            longest_pause_ms,
            vigil,
            ..
        } = self.patience;
        let soon = pauses_ms.get(self.failed).copied();
        self.failed += 1;
        let asked = asked_ms.unwrap_or(0);
        match soon {
            Some(pause) if asked <= *longest_pause_ms => return Next::Soon(pause.max(asked)),
            _ => {}
        }
        if vigil.is_none() {
            return if asked > *longest_pause_ms {
                Next::Later(asked)
            } else {
                Next::Never
            };
        }
        if asked > Vigil::longest_ms() {
            return Next::Later(asked);
        }
        let pause = Vigil::pause_ms(self.waited);
        self.waited += 1;
        Next::Wait {
            pause_ms: pause.max(asked),
            asked: asked >= pause,
        }
    }

    /// Failures in a row.
    pub(super) fn count(&self) -> usize {
        self.failed
    }
}

impl Drop for Attempts<'_> {
    fn drop(&mut self) {
        if let Some(vigil) = &self.patience.vigil {
            vigil.end();
        }
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
        let soon = [300, 1000, 3000].map(Next::Soon);
        assert_eq!(pauses, [&soon[..], &[Next::Never]].concat());
        assert_eq!(attempts.count(), 4);
    }

    #[test]
    fn what_arrives_starts_the_count_anew() {
        let patience = Patience::default();
        let mut attempts = Attempts::new(&patience);
        assert_eq!(attempts.failed(None), Next::Soon(300));
        attempts.progressed();
        assert_eq!(attempts.failed(None), Next::Soon(300));
    }

    #[test]
    fn a_server_may_ask_for_more_but_not_for_hours() {
        let patience = Patience::default();
        let mut attempts = Attempts::new(&patience);
        assert_eq!(attempts.failed(Some(2000)), Next::Soon(2000));
        assert_eq!(attempts.failed(Some(10)), Next::Soon(1000));
        assert_eq!(attempts.failed(Some(u32::MAX)), Next::Later(u32::MAX));
        // Asking for a pause is no promise of more attempts.
        assert_eq!(attempts.failed(Some(2000)), Next::Never);
    }

    #[test]
    fn who_is_patient_waits_longer_and_longer_and_for_ever() {
        let vigil = Rc::new(Vigil::new(|_| ()));
        let patience = Patience::endless(vigil);
        let mut attempts = Attempts::new(&patience);
        let soon: Vec<_> = (0..3).map(|_| attempts.failed(None)).collect();
        assert_eq!(soon, [300, 1000, 3000].map(Next::Soon));
        let waits: Vec<_> = (0..7).map(|_| attempts.failed(None)).collect();
        let expected = [5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000];
        let expected = expected.map(|pause_ms| Next::Wait {
            pause_ms,
            asked: false,
        });
        assert_eq!(waits, expected);
        attempts.progressed();
        assert_eq!(attempts.failed(None), Next::Soon(300));
    }

    #[test]
    fn who_is_patient_obeys_a_server_for_minutes() {
        let vigil = Rc::new(Vigil::new(|_| ()));
        let patience = Patience::endless(vigil);
        let mut attempts = Attempts::new(&patience);
        let asked = |pause_ms| Next::Wait {
            pause_ms,
            asked: true,
        };
        // Seconds need no word; minutes do, even at the first attempt.
        assert_eq!(attempts.failed(Some(2_000)), Next::Soon(2_000));
        assert_eq!(attempts.failed(Some(120_000)), asked(120_000));
        assert_eq!(attempts.failed(Some(300_000)), asked(300_000));
        assert_eq!(attempts.failed(Some(3_600_000)), Next::Later(3_600_000));
        // A server that asks for a second again and again is asked less and less often.
        let wait = Next::Wait {
            pause_ms: 20_000,
            asked: false,
        };
        assert_eq!(attempts.failed(Some(1_000)), wait);
    }
}
