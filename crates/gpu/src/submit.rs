//! Handing recorded work to the GPU.

use web_time::{Duration, Instant};

use crate::device::Gpu;
use crate::error::GpuError;
use crate::program::{Program, SLICE, Step};
use crate::readback::Readback;
use crate::tensor::Indices;

/// So long a slice is to take: a screen that waits for it misses two frames.
const SLICE_TIME: Duration = Duration::from_millis(32);
/// Multiply-adds of a slice that is worth a submission of its own, however slow an adapter is.
const LEAST_SLICE: u64 = 1_000_000_000;

impl Gpu {
    /// Hands a program to the GPU, and waits until all is done that was. What that takes says how much
    /// work is handed over at a time from then on: slow adapters get shorter slices.
    ///
    /// # Errors
    /// A lost device, or an earlier error that came to light.
    pub async fn compute(&self, program: &Program) -> Result<(), GpuError> {
        let begun = Instant::now();
        self.submit(program);
        self.finish().await?;
        let took = begun.elapsed();
        // An adapter that computes on the CPU keeps no screen waiting. The first time may be that of
        // compilers.
        if !self.is_serial() && self.0.computed.replace(true) {
            let cost = program.steps.iter().map(Step::cost).sum();
            let slice = &self.0.slice;
            slice.set(slice_for(slice.get(), cost, took));
        }
        Ok(())
    }

    /// Most multiply-adds of a dispatch that is recorded from now on.
    pub(crate) fn stretch_cost(&self) -> u64 {
        self.0.slice.get().clamp(LEAST_SLICE, SLICE)
    }

    /// Hands a program to the GPU, in slices; returns without waiting.
    pub fn submit(&self, program: &Program) {
        self.submit_slices(&[program], None);
    }

    /// Hands programs to the GPU, one after the other in one submission (or slices, if that is too much),
    /// and then copies numbers to where the CPU can read them. While it does so, more can be submitted:
    /// [`Gpu::read_after`] waits for this only.
    pub fn submit_and_copy(
        &self,
        programs: &[&Program],
        source: &Indices,
        target: &Readback,
    ) -> Submission {
        let copy = Step::Copy {
            source: source.buffer.clone(),
            source_offset: 0,
            target: target.buffer.clone(),
            target_offset: 0,
            bytes: target.bytes.min(source.len() as u64 * 4),
        };
        self.submit_slices(programs, Some(&copy))
    }

    fn submit_slices(&self, programs: &[&Program], last: Option<&Step>) -> Submission {
        if self.0.queue.sketching.get() {
            return Submission(None);
        }
        let device = &self.0.device;
        let mut index = None;
        let timed = programs.iter().filter(|program| self.submit_timed(program));
        // All of them or none.
        let timed = timed.count() > 0;
        if !timed && let Some(submission) = self.submit_again(programs, last) {
            return submission;
        }
        let steps = programs.iter().flat_map(|program| match timed {
            true => &[],
            false => program.steps.as_slice(),
        });
        let mut steps = steps.chain(last).peekable();
        let slice = self.0.slice.get();
        while steps.peek().is_some() {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut spent = 0;
            while let Some(step) = steps.next_if(|step| step.fits(spent, slice)) {
                match step {
                    copy_step @ Step::Copy { .. } => copy(&mut encoder, copy_step),
                    dispatch @ Step::Dispatch { .. } => {
                        let mut pass = encoder.begin_compute_pass(&Default::default());
                        spent += run(&mut pass, dispatch);
                        let more = |spent, step: &&Step| {
                            matches!(step, Step::Dispatch { .. }) && step.fits(spent, slice)
                        };
                        while let Some(next) = steps.next_if(|step| more(spent, step)) {
                            spent += run(&mut pass, next);
                        }
                    }
                }
            }
            index = Some(self.0.queue.submit([encoder.finish()]));
        }
        Submission(index)
    }
}

/// Multiply-adds that take as long as a slice is to take, if so many took so long; as before, where too
/// few were done to tell.
fn slice_for(before: u64, multiply_adds: u64, took: Duration) -> u64 {
    if multiply_adds < LEAST_SLICE {
        return before;
    }
    let slices = took.as_secs_f64() / SLICE_TIME.as_secs_f64();
    let slice = multiply_adds as f64 / slices.max(1e-9);
    (slice as u64).clamp(LEAST_SLICE, SLICE)
}

/// Something that was submitted and may be waited for.
#[derive(Clone, Debug)]
pub struct Submission(pub(crate) Option<wgpu::SubmissionIndex>);

pub(crate) fn copy(encoder: &mut wgpu::CommandEncoder, step: &Step) {
    if let Step::Copy {
        source,
        source_offset,
        target,
        target_offset,
        bytes,
    } = step
    {
        let (from, to) = (source.raw(), target.raw());
        encoder.copy_buffer_to_buffer(from, *source_offset, to, *target_offset, Some(*bytes));
    }
}

pub(crate) fn run(pass: &mut wgpu::ComputePass<'_>, step: &Step) -> u64 {
    let Step::Dispatch {
        pipeline,
        bind_group,
        workgroups: [x, y, z],
        cost,
        ..
    } = step
    else {
        return 0;
    };
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, bind_group, &[]);
    pass.dispatch_workgroups(*x, *y, *z);
    *cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_as_short_as_the_adapter_is_slow() {
        let after = |multiply_adds, milliseconds| {
            slice_for(7, multiply_adds, Duration::from_millis(milliseconds))
        };
        // 200 * 10^9 multiply-adds a second, as many laptops make.
        assert_eq!(after(100_000_000_000, 500), 6_400_000_000);
        // Fast ones get no more than before anything was known, slow ones no less than pays.
        assert_eq!(after(100_000_000_000, 5), SLICE);
        assert_eq!(after(100_000_000_000, 0), SLICE);
        assert_eq!(after(100_000_000_000, 100_000), LEAST_SLICE);
        // A little that took long says nothing.
        assert_eq!(after(LEAST_SLICE - 1, 5000), 7);
    }
}
