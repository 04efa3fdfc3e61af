//! Work that is submitted again and again, and handed on as it was before.
//!
//! Whenever wgpu encodes commands it looks at every resource of every bind group, checks it, and
//! works out anew what has to wait for what. For a step of decoding, always the same two hundred
//! dispatches, that takes the CPU as long as a third of what the fastest GPUs take for the step.
//! So the first time such work is submitted goes through wgpu, which checks it all and clears what
//! was never written; from then on the same commands go to Vulkan through wgpu's own back end, but
//! beneath its tracking (`vulkan.rs`).

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
    /// Where it was first submitted, through wgpu.
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

    /// Submissions that were replayed, for tests.
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

    /// Replays what was submitted before, if that is wanted, possible and safe: nothing has gone wrong,
    /// above all not with its first submission, which was wgpu's look at it.
    pub(crate) fn submit_again(
        &self,
        program: &Program,
        last: Option<&Step>,
    ) -> Option<Submission> {
        let Replay { wanted, first, .. } = &program.replay;
        let Some(first) = first.get() else {
            let _ = first.set(self.clone());
            return None;
        };
        if !(*wanted && first.is(self) && self.replays() && self.check().is_ok()) {
            return None;
        }
        #[cfg(vulkan)]
        if let Some(commands) = program
            .replay
            .commands
            .get_or_init(|| self.commands(program))
        {
            return Some(self.submit_commands(commands, last));
        }
        let _ = last;
        None
    }
}
