//! Work that is submitted again and again, and handed on as it was before.
//!
//! Whenever wgpu encodes commands it looks at every resource of every bind group, checks it, and
//! works out anew what has to wait for what. For a step of decoding, always the same two hundred
//! dispatches, that takes the CPU as long as a third of what the fastest GPUs take for the step.
//! So the first time such work is submitted goes through wgpu, which checks it all and clears what
//! was never written; from then on the same commands go to Vulkan through wgpu's own back end, but
//! beneath its tracking (`vulkan`).

use std::cell::OnceCell;

use crate::device::Gpu;
use crate::program::{Program, Step};
use crate::submit::Submission;
#[cfg(vulkan)]
use crate::vulkan::Commands;

/// What a program knows of its replay.
#[derive(Default)]
pub(crate) struct Replay {
    wanted: bool,
    /// Where it was first submitted, through wgpu, if it is wanted.
    first: OnceCell<Gpu>,
    /// Empty until it is submitted again; none: it cannot be replayed.
    #[cfg(vulkan)]
    commands: OnceCell<Option<Commands>>,
}

impl Program {
    /// To be submitted again and again: where [`Gpu::replays`], it is replayed from the second time on.
    /// Dropping it then waits until the GPU has done it.
    #[must_use]
    pub fn for_replay(mut self) -> Self {
        self.replay.wanted = true;
        self
    }

    /// It has been replayed.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        #[cfg(vulkan)]
        return matches!(self.replay.commands.get(), Some(Some(_)));
        #[cfg(not(vulkan))]
        return false;
    }
}

impl Gpu {
    /// Whether programs that are [for it](Program::for_replay) are replayed: through Vulkan, by
    /// default where a GPU computes. An adapter that computes on the CPU takes so much longer that
    /// nothing is gained.
    #[must_use]
    pub fn replays(&self) -> bool {
        self.0.replays.get()
    }

    /// Has them replayed, or not. Elsewhere than through Vulkan nothing is.
    pub fn set_replays(&self, replays: bool) {
        let can = cfg!(vulkan) && self.info().backend == "vulkan";
        self.0.replays.set(replays && can);
    }

    /// Programs that were replayed, each time counted, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn replayed(&self) -> u64 {
        self.0.replayed.get()
    }

    /// Has work handed to the driver after so many multiply-adds, for tests.
    #[doc(hidden)]
    pub fn set_slice(&self, multiply_adds: u64) {
        self.0.slice.set(multiply_adds.max(1));
    }

    /// Replays programs that were submitted before, one after the other, if that is wanted, possible and
    /// safe: nothing has gone wrong, above all not with their first submission, which was wgpu's look at
    /// them.
    pub(crate) fn submit_again(
        &self,
        programs: &[&Program],
        last: Option<&Step>,
    ) -> Option<Submission> {
        let mut known = true;
        for Program { replay, .. } in programs {
            match replay.first.get() {
                Some(first) => known &= first.is(self),
                None => {
                    known = false;
                    if replay.wanted {
                        let _ = replay.first.set(self.clone());
                    }
                }
            }
        }
        if programs.is_empty() || !(known && self.replays() && self.check().is_ok()) {
            return None;
        }
        #[cfg(vulkan)]
        {
            let all: Option<Vec<&Commands>> = programs
                .iter()
                .map(|program| {
                    let made = || self.commands(program);
                    program.replay.commands.get_or_init(made).as_ref()
                })
                .collect();
            if let Some(all) = all {
                return Some(self.submit_commands(&all, last));
            }
        }
        let _ = last;
        None
    }
}
