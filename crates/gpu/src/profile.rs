//! How long each kernel takes, by timestamps around every single dispatch.
//!
//! While a profile is being taken each dispatch gets a pass of its own, which costs a little; so
//! the sum of all kernels is not what a program takes otherwise. Without timestamps it is by
//! `repeats`.

use std::collections::HashMap;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::program::{Program, Step};
use crate::readback::Readback;
use crate::repeats::Repeats;
use crate::submit::{copy, run};

/// Dispatches in a set of queries, two each: WebGPU allows 4,096 queries.
const DISPATCHES: usize = 2048;

/// What a kernel took, all its dispatches of one size together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelTime {
    /// The shader's name.
    pub name: &'static str,
    /// Workgroups of a dispatch.
    pub workgroups: [u32; 3],
    /// Bytes that a dispatch binds, each counted once: what it reads and writes, unless it uses
    /// only a part of that.
    pub bytes: u64,
    /// Multiply-adds of a dispatch; none where they are not known.
    pub multiply_adds: Option<u64>,
    /// Dispatches.
    pub count: usize,
    /// Nanoseconds of all of them.
    pub nanoseconds: u64,
}

/// How kernels are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedBy {
    /// Timestamps at both ends of each dispatch, which has a pass of its own.
    Timestamps,
    /// A clock, while all dispatches of a kernel are repeated by themselves.
    Repeating,
}

/// What is known of what was submitted.
pub(crate) enum Profile {
    /// Its times are on the GPU.
    Timestamps(Vec<Set>),
    Repeats(Repeats),
}

pub(crate) struct Set {
    queries: wgpu::QuerySet,
    kernels: Vec<KernelTime>, // of each pair of queries
}

impl Gpu {
    /// Times every dispatch from now on until [`Gpu::take_profile`]. Returns how: by timestamps if the
    /// device was opened with [`crate::GpuOptions::timestamps`], on an adapter that has them.
    pub fn start_profile(&self) -> TimedBy {
        let features = self.0.device.features();
        let (profile, by) = match features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            true => (Profile::Timestamps(Vec::new()), TimedBy::Timestamps),
            false => (Profile::Repeats(Repeats::default()), TimedBy::Repeating),
        };
        *self.0.profile.borrow_mut() = Some(profile);
        by
    }

    /// Times nothing any more, and forgets what was submitted.
    pub fn drop_profile(&self) {
        self.0.profile.take();
    }

    /// What was submitted since [`Gpu::start_profile`], the longest first; nothing is timed any
    /// more. Where that is [`TimedBy::Repeating`], all of it is dispatched again here, kernel by kernel in the order
    /// in which they first came: what it wrote is no longer what it was. Between two kernels `go_on` is asked; if
    /// it says no, those after are left out.
    ///
    /// # Errors
    /// A GPU that fails.
    pub async fn take_profile(
        &self,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Vec<KernelTime>, GpuError> {
        let mut times = match self.0.profile.take() {
            None => Vec::new(),
            Some(Profile::Timestamps(sets)) => self.times_of(sets).await?,
            Some(Profile::Repeats(repeats)) => self.repeat(repeats, go_on).await?,
        };
        times.sort_by_key(|time| (std::cmp::Reverse(time.nanoseconds), time.name, time.bytes));
        Ok(times)
    }

    async fn times_of(&self, sets: Vec<Set>) -> Result<Vec<KernelTime>, GpuError> {
        let period = f64::from(self.0.queue.raw().get_timestamp_period());
        let mut sums = HashMap::new();
        for set in sets {
            let ticks = self.read_queries(&set).await?;
            for (kernel, ticks) in set.kernels.into_iter().zip(ticks) {
                let sum = sums.entry(kernel.key()).or_insert(kernel);
                sum.count += 1;
                sum.nanoseconds += (ticks as f64 * period) as u64;
            }
        }
        Ok(sums.into_values().collect())
    }

    /// Ticks of each pair.
    async fn read_queries(&self, set: &Set) -> Result<Vec<u64>, GpuError> {
        let count = 2 * set.kernels.len();
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = self.buffer("timestamps", count as u64 * 8, usage)?;
        let back: Readback = self.readback(2 * count)?;
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        encoder.resolve_query_set(&set.queries, 0..count as u32, resolved.raw(), 0);
        encoder.copy_buffer_to_buffer(
            resolved.raw(),
            0,
            back.buffer.raw(),
            0,
            Some(count as u64 * 8),
        );
        self.0.queue.submit([encoder.finish()]);
        let words = self.read(&back).await?;
        let ticks: Vec<u64> = words
            .as_chunks()
            .0
            .iter()
            .map(|[low, high]| u64::from(*low) | (u64::from(*high) << 32))
            .collect();
        let pairs = ticks.as_chunks().0.iter();
        Ok(pairs
            .map(|[begin, end]| end.saturating_sub(*begin))
            .collect())
    }

    /// Submits with a timestamp before and after each dispatch, if such a profile is being taken. For another
    /// one, notes it, and it is to be submitted as ever.
    pub(crate) fn submit_timed(&self, program: &Program) -> bool {
        let mut profile = self.0.profile.borrow_mut();
        let sets = match profile.as_mut() {
            None => return false,
            Some(Profile::Repeats(repeats)) => {
                repeats.note(program);
                return false;
            }
            Some(Profile::Timestamps(sets)) => sets,
        };
        let device = &self.0.device;
        let mut steps = program.steps.iter().peekable();
        while steps.peek().is_some() {
            let mut encoder = device.create_command_encoder(&Default::default());
            let mut spent = 0;
            while let Some(step) = steps.next_if(|step| step.fits(spent, self.0.slice.get())) {
                let Some(kernel) = kernel(step) else {
                    copy(&mut encoder, step);
                    continue;
                };
                let set = room(device, sets);
                let first = 2 * set.kernels.len() as u32;
                set.kernels.push(kernel);
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &set.queries,
                        beginning_of_pass_write_index: Some(first),
                        end_of_pass_write_index: Some(first + 1),
                    }),
                });
                spent += run(&mut pass, step);
            }
            self.0.queue.submit([encoder.finish()]);
        }
        true
    }
}

/// The last set if there is room in it, or a new one.
fn room<'s>(device: &wgpu::Device, sets: &'s mut Vec<Set>) -> &'s mut Set {
    let full = sets
        .last()
        .is_none_or(|set| set.kernels.len() == DISPATCHES);
    if full {
        sets.push(Set {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * DISPATCHES as u32,
            }),
            kernels: Vec::new(),
        });
    }
    let last = sets.len() - 1;
    &mut sets[last]
}

impl KernelTime {
    /// What is one and the same in a profile.
    pub(crate) fn key(&self) -> (&'static str, [u32; 3], u64) {
        (self.name, self.workgroups, self.bytes)
    }
}

/// A dispatch that was not timed yet.
pub(crate) fn kernel(step: &Step) -> Option<KernelTime> {
    let Step::Dispatch {
        shader,
        bytes,
        workgroups,
        cost,
        ..
    } = step
    else {
        return None;
    };
    // What attention costs counts its reading too, and what the others cost is a guess.
    let estimated = ["attention", "decode_attention", "fill", "stream_copy"];
    let exact = *cost > 0 && !estimated.iter().any(|name| shader.name.starts_with(name));
    Some(KernelTime {
        name: shader.name,
        workgroups: *workgroups,
        bytes: *bytes,
        multiply_adds: exact.then_some(*cost),
        count: 0,
        nanoseconds: 0,
    })
}
