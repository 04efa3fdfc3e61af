//! How long each kernel takes, by a clock, where there are no timestamps or browsers would round them to a
//! tenth of a millisecond.
//!
//! All dispatches of a kernel are submitted again and again by themselves, one after the other, so that
//! each reads what it read, and more than caches hold if it was more. What a submission takes by itself falls
//! out where a longer one is held against a shorter one. What it takes to hand on a dispatch does not: of
//! kernels of a few microseconds it is a part.

use web_time::Instant;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::judge::median;
use crate::profile::{KernelTime, kernel};
use crate::program::{Program, Step};
use crate::submit::run;

/// What takes so long is right without being repeated: clocks of browsers have steps of a tenth of a millisecond.
const ENOUGH_MS: f64 = 5.0;
const SAMPLES: usize = 3;
/// Most dispatches of a submission, however fast they are.
const MOST: usize = 1 << 13;

/// What was submitted, kernel by kernel, in the order in which they first were.
#[derive(Default)]
pub(crate) struct Repeats(Vec<(KernelTime, Vec<Step>)>);

impl Repeats {
    pub(crate) fn note(&mut self, program: &Program) {
        for step in &program.steps {
            let Some(kernel) = kernel(step) else {
                continue;
            };
            let same = |(other, _): &&mut (KernelTime, _)| other.key() == kernel.key();
            match self.0.iter_mut().find(same) {
                Some((_, steps)) => steps.push(step.clone()),
                None => self.0.push((kernel, vec![step.clone()])),
            }
        }
    }
}

impl Gpu {
    /// Times what was noted.
    pub(crate) async fn repeat(&self, repeats: Repeats) -> Result<Vec<KernelTime>, GpuError> {
        let mut times = Vec::with_capacity(repeats.0.len());
        for (kernel, steps) in repeats.0 {
            let ms = self.milliseconds_of(&steps).await?;
            times.push(KernelTime {
                count: steps.len(),
                nanoseconds: (ms * 1e6) as u64,
                ..kernel
            });
        }
        Ok(times)
    }

    /// Of all of them, one after the other.
    async fn milliseconds_of(&self, steps: &[Step]) -> Result<f64, GpuError> {
        let mut repeats = 1;
        let mut once = self.dispatch_again(steps, repeats).await?;
        // Long enough for what a submission takes by itself to be next to nothing.
        if once >= 20.0 * ENOUGH_MS {
            return Ok(once);
        }
        loop {
            let more = self.dispatch_again(steps, 2 * repeats).await?;
            if more - once >= ENOUGH_MS || 2 * repeats * steps.len() >= MOST {
                let mut samples = vec![more - once];
                while samples.len() < SAMPLES {
                    let once = self.dispatch_again(steps, repeats).await?;
                    let more = self.dispatch_again(steps, 2 * repeats).await?;
                    samples.push(more - once);
                }
                return Ok(median(samples).unwrap_or_default().max(0.0) / repeats as f64);
            }
            repeats *= 2;
            once = more;
        }
    }

    /// Milliseconds until all of it is done, from when it is handed over.
    async fn dispatch_again(&self, steps: &[Step], repeats: usize) -> Result<f64, GpuError> {
        let mut steps = (0..repeats).flat_map(|_| steps).peekable();
        let mut slices = Vec::new();
        while steps.peek().is_some() {
            let mut encoder = self.0.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let mut spent = 0;
            while let Some(step) = steps.next_if(|step| step.fits(spent, self.0.slice.get())) {
                spent += run(&mut pass, step);
            }
            drop(pass);
            slices.push(encoder.finish());
        }
        self.finish().await?;
        let begun = Instant::now();
        for slice in slices {
            self.0.queue.submit([slice]);
        }
        self.finish().await?;
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    }
}
