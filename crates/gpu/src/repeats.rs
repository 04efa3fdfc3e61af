//! How long each kernel takes, by a clock, where there are no timestamps. (Browsers have some, but rounded to a
//! tenth of a millisecond.)
//!
//! All dispatches of a kernel are submitted again and again by themselves, one after the other, so that what
//! they read is more than caches hold if it was more. What a submission takes by itself falls
//! out where a longer one is held against a shorter one. What it takes to hand on a dispatch does not: of
//! kernels of a few microseconds it is a part.

use web_time::Instant;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::judge::median;
use crate::profile::{KernelTime, kernel};
use crate::program::{Program, Step};
use crate::submit::run;

/// A difference of so much is told from nothing: clocks of browsers have steps of a tenth of a millisecond.
const ENOUGH_MS: f64 = 5.0;
/// Beside so much, what a submission takes by itself is next to nothing.
const LONG_MS: f64 = 100.0;
/// Differences of which the median counts.
const SAMPLES: usize = 3;
/// Dispatches of the shorter submission after which there are no longer ones, however fast they are.
const MOST: usize = 1 << 12;

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
    /// Times what was noted, as long as it is to go on.
    pub(crate) async fn repeat(
        &self,
        repeats: Repeats,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Vec<KernelTime>, GpuError> {
        let mut times = Vec::with_capacity(repeats.0.len());
        for (kernel, steps) in repeats.0 {
            if !go_on() {
                break;
            }
            let run = async |repeats| self.dispatch_again(&steps, repeats).await;
            let ms = milliseconds_of(steps.len(), run).await?;
            times.push(KernelTime {
                count: steps.len(),
                nanoseconds: (ms * 1e6) as u64,
                ..kernel
            });
        }
        Ok(times)
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

/// Of one repeat of so many dispatches, when `run` says how many milliseconds some repeats take.
async fn milliseconds_of<E>(
    dispatches: usize,
    mut run: impl AsyncFnMut(usize) -> Result<f64, E>,
) -> Result<f64, E> {
    let first = run(1).await?;
    if first >= LONG_MS {
        // Once more, as one may be late.
        let again = run(1).await?;
        if again >= LONG_MS {
            return Ok(first.min(again));
        }
    }
    let mut repeats = 1;
    loop {
        let is_most = repeats * dispatches >= MOST;
        let mut samples = Vec::with_capacity(SAMPLES);
        while samples.len() < SAMPLES {
            let once = run(repeats).await?;
            samples.push(run(2 * repeats).await? - once);
            // More of them would be no more than one of twice as many repeats.
            if samples[0] < ENOUGH_MS && !is_most {
                break;
            }
        }
        let ms = median(samples).unwrap_or_default();
        if ms >= ENOUGH_MS || is_most {
            return Ok(ms.max(0.0) / repeats as f64);
        }
        repeats *= 2;
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use std::convert::Infallible;

    use pollster::block_on;

    use super::*;

    /// What is found of dispatches that take so long, on a clock of steps of 0.1 ms and beside 0.7 ms for a
    /// submission; one run is later than it should be. And how often they were run.
    fn found(dispatches: usize, each_ms: f64, hitch: Option<(usize, f64)>) -> (f64, usize) {
        let mut runs = 0;
        let run = async |repeats: usize| {
            let late = hitch.filter(|(run, _)| *run == runs);
            let late = late.map_or(0.0, |(_, ms)| ms);
            runs += 1;
            let ms = 0.7 + late + each_ms * (repeats * dispatches) as f64;
            Ok::<_, Infallible>((ms * 10.0).round() / 10.0)
        };
        let Ok(ms) = block_on(milliseconds_of(dispatches, run));
        (ms, runs)
    }

    #[test]
    fn a_submission_is_no_part_of_what_is_found() {
        for (dispatches, each_ms) in [(1, 0.005), (104, 0.004), (4, 0.3), (26, 2.0), (1, 60.0)] {
            let (ms, _) = found(dispatches, each_ms, None);
            let wanted = each_ms * dispatches as f64;
            // Both ends of a difference of at least 5 ms are rounded by half a tenth.
            assert!((ms / wanted - 1.0).abs() <= 0.02, "{ms} of {wanted}");
        }
        // Long enough: with what a submission takes.
        assert_eq!(found(4, 50.0, None), (200.7, 2));
    }

    #[test]
    fn one_that_is_late_changes_nothing() {
        let (quiet, runs) = found(104, 0.004, None);
        for late in (0..runs).flat_map(|run| [(run, 30.0), (run, 300.0)]) {
            let (ms, _) = found(104, 0.004, Some(late));
            assert!(
                (ms / quiet - 1.0).abs() <= 0.02,
                "{late:?}: {ms} of {quiet}"
            );
        }
    }

    #[test]
    fn what_takes_nothing_ends() {
        let (ms, runs) = found(1, 0.0, None);
        assert_eq!(ms, 0.0);
        assert!(runs < 64, "{runs}");
        assert_eq!(found(10 * MOST, 0.0, None).0, 0.0);
    }
}
