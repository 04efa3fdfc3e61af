//! Steps that were submitted and not waited for.

use std::collections::VecDeque;

use paligemma_gpu::Submission;

use crate::picking::Scored;

/// Steps in the order in which they were submitted, and what of them has come back already.
#[derive(Default)]
pub(crate) struct UnderWay {
    submissions: VecDeque<Submitted>,
    back: VecDeque<Step>,
    turn: usize,
}

/// Steps that were submitted at once and come back at once.
#[derive(Clone)]
pub(crate) struct Submitted {
    pub(crate) submission: Submission,
    /// Submissions before it.
    pub(crate) turn: usize,
    pub(crate) steps: usize,
    positions: usize,
}

/// A step that has come back.
pub(crate) struct Step {
    pub(crate) found: Vec<Scored>,
    /// By which it moves the session on.
    pub(crate) positions: usize,
}

impl UnderWay {
    /// Submissions so far.
    pub(crate) fn turn(&self) -> usize {
        self.turn
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps() == 0
    }

    pub(crate) fn steps(&self) -> usize {
        let submitted: usize = self.submissions.iter().map(|of| of.steps).sum();
        submitted + self.back.len()
    }

    /// Submissions that have not come back.
    pub(crate) fn submissions(&self) -> usize {
        self.submissions.len()
    }

    /// Steps of the submission that whoever takes the next step waits for; none: it is back.
    pub(crate) fn awaited(&self) -> Option<usize> {
        let first = self.submissions.front().map(|of| of.steps);
        first.filter(|_| self.back.is_empty())
    }

    /// Adds steps, each of which moves the session on by so many positions.
    pub(crate) fn push(&mut self, submission: Submission, steps: usize, positions: usize) {
        self.submissions.push_back(Submitted {
            submission,
            turn: self.turn,
            steps,
            positions,
        });
        self.turn += 1;
    }

    /// The submission to wait for before there is a next step.
    pub(crate) fn to_await(&self) -> Option<Submitted> {
        let first = self.submissions.front().cloned();
        first.filter(|_| self.back.is_empty())
    }

    /// The first submission has come back, with what each of its steps found.
    pub(crate) fn came_back(&mut self, found: Vec<Vec<Scored>>) {
        if let Some(Submitted { positions, .. }) = self.submissions.pop_front() {
            let step = |found| Step { found, positions };
            self.back.extend(found.into_iter().map(step));
        }
    }

    /// The next step, if it is back.
    pub(crate) fn pop(&mut self) -> Option<Step> {
        self.back.pop_front()
    }

    /// Forgets all; the positions by which they would have moved the session on.
    pub(crate) fn clear(&mut self) -> usize {
        let submitted = self.submissions.drain(..).map(|of| of.steps * of.positions);
        let submitted: usize = submitted.sum();
        let back: usize = self.back.drain(..).map(|step| step.positions).sum();
        submitted + back
    }
}
