//! Work that is submitted again and again, and handed on as it was before.
//!
//! Whenever wgpu encodes commands it looks at every resource of every bind group, checks it, and
//! works out anew what has to wait for what. For a step of decoding, always the same two hundred
//! dispatches, that takes the CPU as long as a third of what the fastest GPUs take for the step.
//! So the first time such work is submitted goes through wgpu, which checks it all and clears what
//! was never written; from then on the same commands go to Vulkan by wgpu's own hands, but beneath its
//! tracking (`vulkan.rs`).

#[cfg(vulkan)]
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
    /// Empty until it was submitted once; none: it cannot be replayed.
    #[cfg(vulkan)]
    commands: OnceCell<Option<Commands>>,
}

impl Program {
    /// To be submitted again and again: where [`Gpu::replays`], it is encoded beneath wgpu's tracking from
    /// the second time on.
    #[must_use]
    pub fn for_replay(mut self) -> Self {
        self.replay.wanted = true;
        self
    }

    /// It has been submitted, and will be replayed from now on.
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

    /// Submits what was submitted before, if it is replayed.
    pub(crate) fn submit_again(
        &self,
        program: &Program,
        last: Option<&Step>,
    ) -> Option<Submission> {
        #[cfg(vulkan)]
        if self.replays()
            && let Some(Some(commands)) = program.replay.commands.get()
        {
            return Some(self.submit_commands(commands, last));
        }
        let _ = (program, last);
        None
    }

    /// Makes what was just submitted ready to be replayed, while the GPU computes it.
    pub(crate) fn make_ready(&self, program: &Program) {
        #[cfg(vulkan)]
        if self.replays() && program.replay.wanted {
            let commands = || self.commands(program);
            program.replay.commands.get_or_init(commands);
        }
        let _ = program.replay.wanted;
    }
}
