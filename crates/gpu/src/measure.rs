//! What an adapter can do at most: how fast it moves bytes, how fast it multiplies and adds.

use web_time::Instant;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::program::{Program, Recorder};
use crate::shader;
use crate::tensor::Tensor;

/// Bytes of each of the two buffers of a copy: several times what caches hold.
const COPY_BYTES: u64 = 256 << 20;
/// The same where the CPU computes, and its caches are smaller and memory slower.
const SOFTWARE_COPY_BYTES: u64 = 64 << 20;
/// Invocations whose arithmetic is timed: enough to fill any adapter.
const INVOCATIONS: usize = 1 << 20;
const SOFTWARE_INVOCATIONS: usize = 1 << 14;
/// Multiply-adds of a round of `shaders/fma_peak.wesl`.
const ROUND: u64 = 256;
/// Rounds of a dispatch: long beside its beginning and end, short enough for any driver.
const ROUNDS: usize = 128;
/// A sample lasts at least so long; a submission costs a fraction of a millisecond.
const SAMPLE_MS: f64 = 50.0;
const SAMPLES: usize = 5;

/// What an adapter was measured to do at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes read plus bytes written per second by a plain copy between large buffers.
    pub copy_bytes_per_second: f64,
    /// f32 multiply-adds per second of independent chains in registers.
    pub multiply_adds_per_second: f64,
}

impl Gpu {
    /// Measures both, in about a second each. Medians of five samples.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn measure_limits(&self) -> Result<Limits, GpuError> {
        Ok(Limits {
            copy_bytes_per_second: self.copy_bandwidth().await?,
            multiply_adds_per_second: self.fma_peak().await?,
        })
    }

    async fn copy_bandwidth(&self) -> Result<f64, GpuError> {
        let wanted = match self.info().is_software {
            true => SOFTWARE_COPY_BYTES,
            false => COPY_BYTES,
        };
        let bytes = wanted.min(self.info().max_binding_bytes);
        // A row of a kilobyte, so that rows are whole vectors.
        let rows = (bytes / 1024) as usize;
        let x = self.tensor("copied from", rows, 256)?;
        let y = self.tensor("copied to", rows, 256)?;
        let mut once = self.recorder();
        // Zeros may be kept in less memory than they seem to take.
        once.fill_tensor(&x, 1, -7, 0.0);
        self.submit(&once.finish()?);
        let a_copy = |r: &mut Recorder, count: u64| {
            for _ in 0..count {
                r.stream_copy(&x, &y);
            }
        };
        let per_second = self.sample(a_copy).await?;
        Ok(per_second * 2.0 * (rows * 1024) as f64)
    }

    async fn fma_peak(&self) -> Result<f64, GpuError> {
        let invocations = match self.info().is_software {
            true => SOFTWARE_INVOCATIONS,
            false => INVOCATIONS,
        };
        let y = self.tensor("sums", 1, invocations)?;
        let some_rounds = |r: &mut Recorder, count: u64| {
            for start in (0..count).step_by(ROUNDS) {
                r.fma_peak(&y, (count - start).min(ROUNDS as u64) as u32, 0.5, 1.0);
            }
        };
        let per_second = self.sample(some_rounds).await?;
        Ok(per_second * (ROUND * invocations as u64) as f64)
    }

    /// How often a second something can be done that `record` records a number of times.
    async fn sample(&self, record: impl Fn(&mut Recorder, u64)) -> Result<f64, GpuError> {
        let program = |count| {
            let mut recorder = self.recorder();
            record(&mut recorder, count);
            recorder.finish()
        };
        // Pipelines are compiled and pages are touched here.
        self.time(&program(1)?).await?;
        let mut count = 1;
        let mut chosen = program(count)?;
        while self.time(&chosen).await? < SAMPLE_MS && count < 1 << 24 {
            count *= 2;
            chosen = program(count)?;
        }
        let mut milliseconds = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            milliseconds.push(self.time(&chosen).await?);
        }
        milliseconds.sort_by(f64::total_cmp);
        let median = milliseconds.get(SAMPLES / 2).copied().unwrap_or_default();
        Ok(count as f64 * 1000.0 / median.max(1e-6))
    }

    /// Milliseconds from handing a program over to its end.
    pub(crate) async fn time(&self, program: &Program) -> Result<f64, GpuError> {
        self.finish().await?;
        let started = Instant::now();
        self.submit(program);
        self.finish().await?;
        Ok(started.elapsed().as_secs_f64() * 1000.0)
    }
}

impl Recorder {
    /// y = x, as fast as memory is.
    pub fn stream_copy(&mut self, x: &Tensor, y: &Tensor) {
        if x.rows() != y.rows() || x.columns() != y.columns() || x.stride() != y.stride() {
            return self.misfit(&shader::STREAM_COPY, &[x, y], String::new());
        }
        let vectors = x.rows() * x.stride() / 4;
        self.dispatch(
            &shader::STREAM_COPY,
            vec![x.into(), y.into()],
            bytemuck::bytes_of(&(vectors as u32)),
            [vectors.div_ceil(1024) as u64, 1, 1],
            4 * vectors as u64,
        );
    }

    /// Of every invocation, i being its number in a workgroup of 256, the sum of 32 chains, y
    /// `[1, invocations]`: chain k begins as i + k and goes through eight steps
    /// c = factor · c + addend a round.
    pub fn fma_peak(&mut self, y: &Tensor, rounds: u32, factor: f32, addend: f32) {
        if y.rows() != 1 || !y.columns().is_multiple_of(256) {
            return self.misfit(&shader::FMA_PEAK, &[y], rounds.to_string());
        }
        self.dispatch(
            &shader::FMA_PEAK,
            vec![y.into()],
            bytemuck::cast_slice(&[rounds, factor.to_bits(), addend.to_bits()]),
            [(y.columns() / 256) as u64, 1, 1],
            u64::from(rounds) * ROUND * y.columns() as u64,
        );
    }
}
