//! What a measurement found, as plain data.

use std::collections::BTreeMap;

use paligemma_gpu::{AdapterInfo, Candidate, Choice, ChosenBy, KernelTime, TimedBy};
use serde::{Deserialize, Serialize};

use super::picking::picks_token;

/// What a measurement found. Rates are of the median.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Where and when, as far as the caller knows: machine, date, command, browser.
    pub conditions: BTreeMap<String, String>,
    /// The version of this software.
    pub version: String,
    /// What computed.
    pub adapter: Adapter,
    /// The kernels that were tried to find those in force; empty where that was no question here.
    #[serde(default)]
    pub tried: Vec<Tried>,
    /// What was computed.
    pub model: Subject,
    /// What the adapter can do at most, measured in the same run.
    pub limits: LimitFigures,
    /// Runs of each stage, after one that is not counted.
    pub runs: usize,
    /// Milliseconds until the model was on the GPU, measured once.
    pub load_ms: f64,
    /// One picture through the vision tower and the projector.
    pub vision: Stage,
    /// Picture and prompt through the decoder, up to the first token.
    pub prefill: Stage,
    /// Vision and prefill together, milliseconds.
    pub first_token_ms: Spread,
    /// What both compute in that time, of the adapter's f32 peak.
    pub first_token_share_of_f32_peak: f64,
    /// Later tokens, at each position.
    pub decode: Vec<Decode>,
    /// Times of single kernels; none unless they were asked for.
    pub profile: Option<Vec<StageProfile>>,
}

/// The adapter and how it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// As good a name as the platform gives.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `webgpu`.
    pub backend: String,
    /// The driver and its version, where the platform says it.
    pub driver: String,
    /// Computes on the CPU.
    pub is_software: bool,
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest storage binding, in bytes.
    pub max_binding_bytes: u64,
    /// Workgroup memory that the adapter has, in bytes.
    pub max_workgroup_bytes: u32,
    /// Invocations of a workgroup that the adapter has at most.
    pub max_workgroup_invocations: u32,
    /// Storage buffers that a kernel binds at most.
    pub max_storage_buffers: u32,
    /// Optional features in use.
    pub features: Vec<String>,
    /// Which of the kernels' variants were chosen for it.
    pub kernels: String,
}

/// A kernel that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// What it is for: `many rows` or `one row`.
    pub job: String,
    /// Its name among those for that.
    pub kernel: String,
    /// Milliseconds of the products that all were timed with; none if it deviated from the plainest
    /// kernel.
    pub ms: Option<f64>,
    /// It is in force.
    pub chosen: bool,
}

impl Tried {
    pub(super) fn of(choice: &Choice) -> Vec<Self> {
        let ChosenBy::Measured(tuning) = &choice.origin else {
            return Vec::new();
        };
        let chosen = choice.variants;
        let tried = |job: &str, kernel: String, of: &Candidate, chosen| Self {
            job: job.to_owned(),
            kernel,
            ms: of.ms,
            chosen,
        };
        let many = tuning.matmul.iter().map(|of| {
            let matmul = of.variants.matmul;
            tried("many rows", matmul.to_string(), of, matmul == chosen.matmul)
        });
        let single = tuning.matvec.iter().map(|of| {
            let name = of.variants.matvec();
            let is_chosen = name == chosen.matvec();
            tried("one row", name, of, is_chosen)
        });
        many.chain(single).collect()
    }
}

/// The model that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Name of the shape, or where the model came from.
    pub name: String,
    /// `PaliGemma` or `PaliGemma 2`.
    pub family: String,
    /// The recipe by which the weights were made up.
    pub recipe: Option<String>,
    /// Precision of the weights, part by part.
    pub precision: String,
    /// How keys and values are kept.
    pub cache: String,
    /// The weights are made-up noise.
    pub made_up: bool,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the weights on the GPU.
    pub weight_bytes: u64,
    /// Side of the picture in pixels.
    pub image_size: usize,
    /// Layers of the vision tower and of the decoder.
    pub layers: [usize; 2],
    /// Layers that the shape has in full, where some were left out: then no figure is one of the
    /// whole model.
    pub layers_in_full: Option<[usize; 2]>,
}

/// The adapter's limits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitFigures {
    /// Bytes read plus bytes written by a plain copy between large buffers, 10^9 a second.
    pub copy_gb_per_second: f64,
    /// f32 arithmetic in registers, 10^9 operations a second; a multiply-add is two.
    pub f32_gflop_per_second: f64,
}

/// Several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The one in the middle; of an even number the lower one of both.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// A stage that is limited by arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Rows that go through it: patches or tokens.
    pub rows: usize,
    /// The first run, in which pipelines are compiled, milliseconds.
    pub first_ms: f64,
    /// The runs after it, milliseconds.
    pub ms: Spread,
    /// Multiply-adds it needs.
    pub multiply_adds: u64,
    /// 10^9 operations a second; a multiply-add is two.
    pub gflop_per_second: f64,
    /// That, of the adapter's f32 peak.
    pub share_of_f32_peak: f64,
}

/// Decoding, which is limited by reading memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decode {
    /// Positions that were there before the first of these tokens.
    pub position: usize,
    /// Tokens of a run, one after the other.
    pub tokens: usize,
    /// Of whole runs.
    pub tokens_per_second: Spread,
    /// Of whole runs, milliseconds.
    pub ms_per_token: Spread,
    /// Of that the time in which the CPU encodes and submits, milliseconds.
    pub host_ms_per_token: Spread,
    /// Compute dispatches of a step.
    pub dispatches_per_token: usize,
    /// Steps were encoded beneath wgpu's tracking, as they are natively on a GPU through Vulkan.
    pub replayed: bool,
    /// Steps that were submitted together at most: several where they are short.
    pub steps_per_submission: usize,
    /// Bytes that a step reads at least: weights, keys and values.
    pub bytes_per_token: u64,
    /// Those, 10^9 a second.
    pub gb_per_second: f64,
    /// That, of the adapter's copy bandwidth.
    pub share_of_copy: f64,
}

/// The kernels of a stage, the longest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageProfile {
    /// `vision`, `prefill` or `decode at N`.
    pub stage: String,
    /// How often the stage was run.
    pub runs: usize,
    /// How its kernels were timed: by `timestamps`, or by `repeating` each.
    #[serde(default)]
    pub timed_by: String,
    /// Of the time of all its kernels the part of those that pick the token from the logits.
    pub picking_share: f64,
    /// Its kernels.
    pub kernels: Vec<Kernel>,
}

/// All dispatches of a kernel that are of one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// The shader's name.
    pub name: String,
    /// Workgroups of a dispatch.
    pub workgroups: [u32; 3],
    /// Dispatches of one run.
    pub count: f64,
    /// Microseconds of a dispatch, on average.
    pub microseconds: f64,
    /// Of the time of all kernels of the stage.
    pub share: f64,
    /// Bytes that a dispatch binds.
    pub bytes: u64,
    /// Those, 10^9 a second.
    pub gb_per_second: f64,
    /// 10^9 operations a second, where their number is known; a multiply-add is two.
    pub gflop_per_second: Option<f64>,
    /// The larger of both rates' shares of the adapter's limits. It is above 1 where what is bound
    /// is in a cache or is not all read, or where products are not made in f32.
    pub share_of_limit: f64,
    /// Of which limit it is a share: `copy` or `f32`.
    pub limited_by: String,
}

impl Adapter {
    pub(crate) fn new(info: &AdapterInfo, kernels: String) -> Self {
        Self {
            kernels,
            name: info.name.clone(),
            backend: info.backend.clone(),
            driver: info.driver.clone(),
            is_software: info.is_software,
            max_buffer_bytes: info.max_buffer_bytes,
            max_binding_bytes: info.max_binding_bytes,
            max_workgroup_bytes: info.max_workgroup_bytes,
            max_workgroup_invocations: info.max_workgroup_invocations,
            max_storage_buffers: info.max_storage_buffers,
            features: info.features.clone(),
        }
    }
}

impl LimitFigures {
    /// What these stages compute, of the f32 peak over the time that they take together.
    pub(crate) fn share(&self, stages: [Stage; 2], together: Spread) -> f64 {
        let multiply_adds: u64 = stages.iter().map(|stage| stage.multiply_adds).sum();
        gflop_per_second(multiply_adds, &together) / self.f32_gflop_per_second
    }

    /// The larger of two rates' shares, and of which limit it is one.
    fn nearest(&self, gb_per_second: f64, gflop_per_second: Option<f64>) -> (f64, &'static str) {
        let copy = gb_per_second / self.copy_gb_per_second;
        let peak = gflop_per_second.unwrap_or_default() / self.f32_gflop_per_second;
        match peak > copy {
            true => (peak, "f32"),
            false => (copy, "copy"),
        }
    }
}

/// Of the median.
fn gflop_per_second(multiply_adds: u64, ms: &Spread) -> f64 {
    2.0 * multiply_adds as f64 / (ms.median.max(1e-6) * 1e6)
}

impl Spread {
    /// Of at least one number.
    pub(crate) fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        Self {
            median: at(sorted.len().saturating_sub(1) / 2),
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
        }
    }
}

impl Stage {
    pub(crate) fn new(
        rows: usize,
        first_ms: f64,
        ms: Spread,
        multiply_adds: u64,
        limits: &LimitFigures,
    ) -> Self {
        let gflop_per_second = gflop_per_second(multiply_adds, &ms);
        Self {
            rows,
            first_ms,
            ms,
            multiply_adds,
            gflop_per_second,
            share_of_f32_peak: gflop_per_second / limits.f32_gflop_per_second,
        }
    }
}

impl StageProfile {
    /// `attention` is the multiply-adds of a run's attention, which its kernel does not know, since
    /// it finds out on the GPU what is visible. Its kernels are yet to be
    /// [held against](Self::held_against) the limits.
    pub(crate) fn new(
        stage: String,
        runs: usize,
        times: &[KernelTime],
        by: TimedBy,
        attention: Option<u64>,
    ) -> Self {
        let of_attention = |time: &&KernelTime| time.name.starts_with("attention");
        let single = times.iter().filter(of_attention).count() == 1;
        let all: u64 = times.iter().map(|time| time.nanoseconds).sum();
        let all = all.max(1) as f64;
        let kernel = |time: &KernelTime| {
            let each = time.nanoseconds as f64 / time.count.max(1) as f64;
            // Per nanosecond is 10^9 a second.
            let rate = |amount: u64| match time.nanoseconds {
                // Too short to be told from nothing.
                0 => 0.0,
                _ => amount as f64 / each.max(1.0),
            };
            let dispatches = (time.count / runs.max(1)).max(1) as u64;
            let attention = attention.filter(|_| single && of_attention(&time));
            let multiply_adds = time.multiply_adds.or(attention.map(|all| all / dispatches));
            Kernel {
                name: time.name.to_owned(),
                workgroups: time.workgroups,
                count: time.count as f64 / runs.max(1) as f64,
                microseconds: each / 1000.0,
                share: time.nanoseconds as f64 / all,
                bytes: time.bytes,
                gb_per_second: rate(time.bytes),
                gflop_per_second: multiply_adds.map(|count| 2.0 * rate(count)),
                share_of_limit: 0.0,
                limited_by: String::new(),
            }
        };
        let kernels: Vec<Kernel> = times.iter().map(kernel).collect();
        let picking = kernels.iter().filter(|kernel| picks_token(&kernel.name));
        Self {
            stage,
            runs,
            timed_by: match by {
                TimedBy::Timestamps => "timestamps",
                TimedBy::Repeating => "repeating",
            }
            .to_owned(),
            // Not a sum, which of no numbers is -0.
            picking_share: picking.fold(0.0, |sum, kernel| sum + kernel.share),
            kernels,
        }
    }

    /// The same stages with every kernel as a share of the limit that it is nearest to.
    pub(crate) fn held_against(mut stages: Vec<Self>, limits: &LimitFigures) -> Vec<Self> {
        for kernel in stages.iter_mut().flat_map(|stage| &mut stage.kernels) {
            let (share, of) = limits.nearest(kernel.gb_per_second, kernel.gflop_per_second);
            kernel.share_of_limit = share;
            kernel.limited_by = of.to_owned();
        }
        stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_sorted() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 10.0));
        assert_eq!(Spread::of(&[5.0]).median, 5.0);
    }

    const LIMITS: LimitFigures = LimitFigures {
        copy_gb_per_second: 100.0,
        f32_gflop_per_second: 1000.0,
    };

    #[test]
    fn kernels_are_held_against_the_limit_that_they_are_nearest_to() {
        // Two of a microsecond each: 50 GB/s.
        let time = |name, multiply_adds| KernelTime {
            name,
            workgroups: [1, 1, 1],
            bytes: 50_000,
            multiply_adds,
            count: 2,
            nanoseconds: 2000,
        };
        let times = [
            time("matvec_q4", Some(200_000)), // 400 GFLOP/s
            time("matmul_q4", Some(300_000)), // 600 GFLOP/s
            time("top_parts", None),
            time("topmost", None),
        ];
        let stage = StageProfile::new(
            "decode at 5".to_owned(),
            1,
            &times,
            TimedBy::Timestamps,
            None,
        );
        assert!((stage.picking_share - 0.25).abs() < 1e-9);
        let stages = StageProfile::held_against(vec![stage], &LIMITS);
        let kernels = stages.iter().flat_map(|stage| &stage.kernels);
        let shares: Vec<(f64, &str)> = kernels
            .map(|kernel| (kernel.share_of_limit, kernel.limited_by.as_str()))
            .collect();
        let wanted = [(0.5, "copy"), (0.6, "f32"), (0.5, "copy"), (0.5, "copy")];
        assert_eq!(shares, wanted);
    }

    #[test]
    fn two_stages_share_the_time_of_both() {
        let stage = |ms, multiply_adds| {
            let ms = Spread::of(&[ms]);
            Stage::new(1, 1.0, ms, multiply_adds, &LIMITS)
        };
        // 2 · 10^9 and 8 · 10^9 operations in 4 and 12 ms: 500 and 667 GFLOP/s.
        let both = [stage(4.0, 1_000_000_000), stage(12.0, 4_000_000_000)];
        let share = LIMITS.share(both, Spread::of(&[16.0]));
        assert!((share - 0.625).abs() < 1e-9, "{share}");
    }
}
