use paligemma_model::{ModelError, PaliGemma, Session};
use web_time::{Duration, Instant};

/// Submissions that are under way while the token of the one before them is not known.
const AHEAD: usize = 2;
/// A step that takes no longer is begun ahead.
const SHORT_STEP: Duration = Duration::from_millis(50);
/// Steps that take no longer together are submitted at once: their tokens come together, too.
const AT_ONCE: Duration = Duration::from_millis(20);

/// How far ahead steps are submitted, and how many at once, by how long they take.
///
/// Where a step takes long, waiting for its token costs little beside it, and a step that turns out
/// not to be wanted costs much. Where it is short, the GPU must not wait for the CPU, and what every
/// submission costs is shared by several steps.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    ahead: usize,
    at_once: usize,
    /// When the GPU began with what is waited for, or a little later.
    begun: Instant,
    /// When the last submission came back.
    back: Instant,
}

impl Pace {
    /// Of steps of which nothing is known.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            ahead: 0,
            at_once: 1,
            begun: now,
            back: now,
        }
    }

    /// Submits what is to be under way before the next token is waited for; of steps in all there are no
    /// more than `wanted`, and one if nothing is under way. `steer` is called before each submission, with
    /// the number of its steps.
    pub(crate) fn submit<E: From<ModelError>>(
        &mut self,
        session: &mut Session,
        model: &PaliGemma,
        wanted: usize,
        mut steer: impl FnMut(&Session, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.begun = match session.submissions_under_way() {
            0 => Instant::now(),
            _ => self.back,
        };
        loop {
            let none = session.under_way() == 0;
            let left = wanted.max(1).saturating_sub(session.under_way());
            let at_once = self.at_once(session);
            let steps = at_once.min(left).min(session.room());
            // Several at once are as far ahead with fewer submissions.
            let ahead = self.ahead.min(if at_once > 1 { 1 } else { AHEAD });
            let is_wanted = none || session.submissions_under_way() <= ahead;
            if !is_wanted || steps == 0 || !session.may_submit() {
                return Ok(());
            }
            steer(session, steps)?;
            session.submit_some(model, steps)?;
        }
    }

    /// Steps of a submission, if as many are left.
    pub(crate) fn at_once(&self, session: &Session) -> usize {
        self.at_once.min(session.steps_at_once())
    }

    /// A step was taken; if it was awaited, with so many others.
    pub(crate) fn came_back(&mut self, awaited: Option<usize>) {
        if let Some(steps) = awaited {
            self.took(self.begun.elapsed(), steps);
            self.back = Instant::now();
        }
    }

    fn took(&mut self, time: Duration, steps: usize) {
        let step = time / u32::try_from(steps.max(1)).unwrap_or(u32::MAX);
        self.ahead = if step > SHORT_STEP { 0 } else { AHEAD };
        let at_once = AT_ONCE.as_nanos() / step.as_nanos().max(1);
        self.at_once = usize::try_from(at_once).unwrap_or(usize::MAX).max(1);
    }

    /// Nothing ahead, and one at a time: each depends on what is found before it.
    pub(crate) fn wait(&mut self) {
        *self = Self::new();
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use paligemma_gpu::GpuOptions;
    use paligemma_model::{PickOne, Picking, Sampling, Scored, Steering, Taps};
    use pollster::block_on;

    use super::*;
    use crate::tiny::made_up;

    fn after(milliseconds: u64, steps: usize) -> [usize; 2] {
        let mut pace = Pace::new();
        pace.took(Duration::from_millis(milliseconds), steps);
        [pace.ahead, pace.at_once]
    }

    #[test]
    fn short_steps_are_submitted_ahead_and_together() {
        assert_eq!(after(60, 1), [0, 1]);
        assert_eq!(after(40, 1), [AHEAD, 1]);
        assert_eq!(after(10, 1), [AHEAD, 2]);
        // What counts is a step.
        assert_eq!(after(40, 4), [AHEAD, 2]);
        assert_eq!(after(240, 4), [0, 1]);
        // No time at all is no error.
        assert!(after(0, 1)[1] > 1000);
        assert_eq!(after(10, 0), [AHEAD, 2]);
    }

    /// A sampler, and the greedy one.
    fn pickings() -> [Picking; 2] {
        let sampling = Sampling {
            temperature: 20.0, // else each token is followed by itself
            top_k: Some(200),
            top_p: 0.9,
        };
        let sampler = PickOne {
            sampling: Some(sampling),
            ..PickOne::default()
        };
        [Picking::One(sampler), Picking::One(PickOne::default())]
    }

    /// Several steps in a submission find what they find one by one, drawn by the same random numbers, and
    /// the session stands after those that were taken, wherever the others are forgotten.
    #[test]
    fn steps_submitted_together_are_the_same_steps() {
        let numbers: Vec<f32> = (0..16).map(|i| (i * 7 % 16) as f32 / 16.0).collect();
        for replays in [false, true] {
            let gpu = GpuOptions {
                replays: Some(replays),
                ..GpuOptions::default()
            };
            let (gpu, model) = made_up(&gpu);
            let mut found = Vec::new();
            for picking in pickings() {
                let mut session = Session::new(&model, 64, usize::MAX).expect("a session");
                session.pick(&model, picking).expect("a picker");
                session.assume(&model, 4).expect("a position");
                let submit = |session: &mut Session, first: usize, steps: usize| {
                    let steering = Steering {
                        numbers: &numbers[first..first + steps],
                        ..Steering::default()
                    };
                    session.steer(&model, steering).expect("numbers");
                    session.submit_some(&model, steps).expect("room");
                };
                let one = |session: &mut Session, step: usize| -> Scored {
                    submit(session, step, 1);
                    block_on(session.take(&model)).expect("a token");
                    session.found()[0]
                };
                let stand = |session: &mut Session| {
                    session.stand(&model, 4).expect("a position");
                    session.put(&model, 7).expect("a token");
                };
                stand(&mut session);
                let wanted: Vec<Scored> = (0..12).map(|step| one(&mut session, step)).collect();
                for taken in 0..=11 {
                    stand(&mut session);
                    assert_eq!(one(&mut session, 0), wanted[0]);
                    for (first, steps) in [(1, 4), (5, 3), (8, 4)] {
                        submit(&mut session, first, steps);
                    }
                    assert!(!session.may_submit());
                    for want in &wanted[1..=taken] {
                        block_on(session.take(&model)).expect("a token");
                        assert_eq!(session.found(), [*want]);
                    }
                    assert_eq!(session.under_way(), 11 - taken);
                    session.forget_ahead(&model).expect("a session");
                    assert_eq!(session.room(), session.capacity() - 5 - taken);
                    if let Some(next) = wanted.get(taken + 1) {
                        assert_eq!(one(&mut session, taken + 1), *next, "after {taken}");
                    }
                }
                for refused in [0, 5] {
                    assert!(session.submit_some(&model, refused).is_err());
                }
                // Numbers serve one submission.
                let draws = found.is_empty();
                let refused = session.submit(&model).is_err();
                assert_eq!(refused, draws, "with numbers of others");
                // And a refusal changes nothing.
                if draws {
                    stand(&mut session);
                    assert!(block_on(session.again(&model)).is_err());
                    assert!(
                        block_on(session.prefill(&model, &[3], &[], &mut Taps::none())).is_err()
                    );
                    assert_eq!(one(&mut session, 0), wanted[0]);
                }
                assert_eq!(session.is_replayed(), gpu.replays());
                found.push(wanted.iter().map(|one| one.id).collect::<Vec<_>>());
            }
            assert_ne!(found[0], found[1], "nothing was drawn");
        }
    }

    /// Where what steers a step depends on the token before, there is one at a time.
    #[test]
    fn steps_that_depend_on_their_tokens_are_not_submitted_together() {
        let (_, model) = made_up(&GpuOptions::default());
        let mut session = Session::new(&model, 64, usize::MAX).expect("a session");
        assert_eq!(session.steps_at_once(), 4);
        let penalised = PickOne {
            repetition_penalty: 1.5,
            ..PickOne::default()
        };
        let constrained = PickOne {
            constrained: true,
            ..PickOne::default()
        };
        for picking in [penalised, constrained] {
            session
                .pick(&model, Picking::One(picking))
                .expect("a picker");
            assert_eq!(session.steps_at_once(), 1);
        }
    }
}
