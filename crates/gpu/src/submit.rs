//! Handing recorded work to the GPU.

use crate::device::Gpu;
use crate::program::{Program, Step};
use crate::readback::Readback;
use crate::tensor::Indices;

impl Gpu {
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
        while steps.peek().is_some() {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut spent = 0;
            while spent < self.0.slice.get()
                && let Some(step) = steps.next()
            {
                match step {
                    copy_step @ Step::Copy { .. } => copy(&mut encoder, copy_step),
                    dispatch @ Step::Dispatch { .. } => {
                        let mut pass = encoder.begin_compute_pass(&Default::default());
                        spent += run(&mut pass, dispatch);
                        while spent < self.0.slice.get()
                            && let Some(next) =
                                steps.next_if(|step| matches!(step, Step::Dispatch { .. }))
                        {
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
