//! Which kernels suit an adapter: a short run over real shapes.

use paligemma_checkpoint::Precision;
use web_time::{Duration, Instant};

use crate::adapter::AdapterInfo;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::kernels::Linear;
use crate::matrix::Matrix;
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;
use crate::variants::{MatmulVariant, Variants};

/// The precision that is measured: that of the recipe people use.
const PRECISION: Precision = Precision::Q4 { group: 32 };
/// A sample lasts at least so long: clocks of browsers have steps of a tenth of a millisecond.
const SAMPLE_MS: f64 = 4.0;
const SAMPLES: usize = 5;
/// As many even where time is up.
const LEAST_SAMPLES: usize = 3;
/// Most products of a sample, however fast they are.
const MOST_REPEATS: usize = 1 << 8;
/// Another choice than the usual one has to take less than this part of its time: what is less is
/// within what one run differs from the next.
const WORTH_IT: f64 = 0.95;
/// Products that are compared: one of each shape. The others are there to be read.
const READ: usize = 2;

/// What a run found.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// What suits the adapter.
    pub variants: Variants,
    /// Kernels for many rows.
    pub matmul: Vec<Candidate>,
    /// Kernels for a single row.
    pub matvec: Vec<Candidate>,
    /// Milliseconds that the run took.
    pub ms: f64,
}

/// A kernel that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// With it; the rest as usual.
    pub variants: Variants,
    /// It computes what the plainest kernel computes. One that does not is never chosen.
    pub agrees: bool,
    /// Milliseconds of the products that all do, median of the samples; none if it does not agree.
    pub ms: Option<f64>,
}

/// What the products are of.
struct Shapes {
    /// Rows and columns of a matrix; it is square, and has this many rows beside it.
    matmul: [usize; 2],
    /// Rows and columns of one matrix, columns and rows of the other.
    matvec: [usize; 2],
    /// Pairs of those, one after the other: more than caches hold, as in a model.
    pairs: usize,
    lanes: &'static [u32],
    fours: &'static [u32],
    /// Samples end when they have taken so long.
    most: Duration,
}

impl Shapes {
    /// Those of PaliGemma 2 3B, and smaller ones where the CPU computes.
    fn of(info: &AdapterInfo) -> Self {
        match info.is_software {
            true => Self {
                matmul: [64, 512],
                matvec: [2048, 512],
                pairs: 2,
                lanes: &[1, 2, 4, 8, 16],
                fours: &[],
                // Only somebody who asked for it waits.
                most: Duration::from_secs(120),
            },
            false => Self {
                matmul: [256, 2304],
                matvec: [9216, 2304],
                // Of 24 MB each.
                pairs: 6,
                lanes: &[16, 32],
                fours: &[1 << 17, 1 << 16, 1 << 18, 1 << 15],
                most: Duration::from_millis(900),
            },
        }
    }
}

impl Gpu {
    /// Tries the kernels there are on this device, a second or two on a GPU, and sets the ones that
    /// suit it: those that agree with the plainest, and are faster than the usual choice by more
    /// than one run differs from the next; those that round inputs only if they are so beside those
    /// that round less.
    ///
    /// # Errors
    /// A GPU that fails. The kernels in force stay then.
    pub async fn tune(&self) -> Result<Tuning, GpuError> {
        self.tune_with(true).await
    }

    /// The same, with or without kernels that round inputs or need a feature.
    pub(crate) async fn tune_with(&self, optional: bool) -> Result<Tuning, GpuError> {
        let before = self.variants();
        let tried = self.try_all(optional).await;
        self.set_variants(match &tried {
            Ok(tuning) => tuning.variants,
            Err(_) => before,
        });
        tried
    }

    async fn try_all(&self, optional: bool) -> Result<Tuning, GpuError> {
        let started = Instant::now();
        let shapes = Shapes::of(self.info());
        let usual = Variants::usual(self.info());

        let [rows, columns] = shapes.matmul;
        let many = [Product::new(self, rows, [columns, columns], 1)?];
        let mut others = vec![MatmulVariant::Registers, MatmulVariant::Tiled];
        if optional {
            others.extend(self.has_f16().then_some(MatmulVariant::Half));
            let cooperative = self.cooperative_side() > 0;
            others.extend(cooperative.then_some(MatmulVariant::Cooperative));
            others.push(MatmulVariant::Dots);
        }
        others.retain(|matmul| *matmul != usual.matmul);
        // How many repeats can be timed is found with the usual one.
        let variants: Vec<Variants> = std::iter::once(usual.matmul)
            .chain(others)
            .map(|matmul| Variants { matmul, ..usual })
            .collect();
        let plain = Variants {
            matmul: MatmulVariant::Registers,
            ..usual
        };
        // Neither that kernel nor the one below uses workgroup memory.
        let most = shapes.most / 2;
        let matmul = self.compare(&many, plain, &variants, most).await?;
        drop(many);

        let [rows, columns] = shapes.matvec;
        let single: Vec<Product> = (0..shapes.pairs as u32)
            .flat_map(|pair| [([rows, columns], 2 * pair), ([columns, rows], 2 * pair + 1)])
            .map(|(shape, seed)| Product::new(self, 1, shape, seed + 2))
            .collect::<Result<_, _>>()?;
        let with = |matvec_lanes, subgroups| Variants {
            matvec_lanes,
            subgroups,
            fours: 0,
            ..usual
        };
        let fours = shapes
            .fours
            .iter()
            .map(|&fours| Variants { fours, ..usual });
        let fits = |lanes: &u32| *lanes > 1 && *lanes <= self.0.subgroup_size;
        let lanes = shapes.lanes.iter().flat_map(|lanes| {
            let subgroups = (optional && fits(lanes)).then(|| with(*lanes, true));
            std::iter::once(with(*lanes, false)).chain(subgroups)
        });
        // The usual one first: how many repeats can be timed is found with it.
        let variants: Vec<Variants> = fours.chain(lanes).collect();
        let plain = Variants {
            matvec_lanes: 1,
            subgroups: false,
            fours: 0,
            ..usual
        };
        let matvec = self.compare(&single, plain, &variants, most).await?;

        Ok(Tuning {
            variants: Variants {
                matmul: best(&matmul, usual).matmul,
                ..best(&matvec, usual)
            },
            matmul,
            matvec,
            ms: started.elapsed().as_secs_f64() * 1000.0,
        })
    }

    /// Checks each of `variants` against `plain`, and times those that agree, in turns.
    async fn compare(
        &self,
        products: &[Product],
        plain: Variants,
        variants: &[Variants],
        most: Duration,
    ) -> Result<Vec<Candidate>, GpuError> {
        self.submit(&self.record(plain, products, 1)?);
        let wanted = read(self, products).await?;
        let mut candidates = Vec::with_capacity(variants.len());
        let mut programs = Vec::new();
        // The same for all: what a submission takes by itself is then the same, too.
        let mut repeats = 0;
        for &variants in variants {
            // What another one wrote is no answer of this one's.
            for product in &products[..products.len().min(READ)] {
                let nothing = vec![f32::NAN; product.y.columns() * product.y.rows()];
                self.write(&product.y, 0, &nothing)?;
            }
            self.submit(&self.record(variants, products, 1)?);
            let found = read(self, products).await?;
            let agrees = agree(&found, &wanted, variants.matmul);
            if agrees && repeats == 0 {
                repeats = self.repeats(variants, products).await?;
            }
            if agrees {
                let program = self.record(variants, products, repeats)?;
                programs.push((candidates.len(), program));
            }
            candidates.push(Candidate {
                variants,
                agrees,
                ms: None,
            });
        }
        let mut samples = vec![Vec::with_capacity(SAMPLES); candidates.len()];
        let until = Instant::now() + most;
        for round in 0..SAMPLES {
            if round >= LEAST_SAMPLES && Instant::now() > until {
                break;
            }
            // There and back, so that nothing that grows with time favours anyone.
            let count = programs.len();
            for turn in 0..count {
                let at = if round % 2 == 0 {
                    turn
                } else {
                    count - 1 - turn
                };
                let (index, program) = &programs[at];
                samples[*index].push(self.time(program).await? / repeats as f64);
            }
        }
        for (candidate, samples) in candidates.iter_mut().zip(samples) {
            candidate.ms = median(samples);
        }
        Ok(candidates)
    }

    /// So many repeats of the products that they take long enough to be timed.
    async fn repeats(&self, variants: Variants, products: &[Product]) -> Result<usize, GpuError> {
        let mut repeats = 1;
        loop {
            let program = self.record(variants, products, repeats)?;
            if self.time(&program).await? >= SAMPLE_MS || repeats >= MOST_REPEATS {
                return Ok(repeats);
            }
            repeats *= 2;
        }
    }

    fn record(
        &self,
        variants: Variants,
        products: &[Product],
        repeats: usize,
    ) -> Result<Program, GpuError> {
        self.set_variants(variants);
        let mut recorder = self.recorder();
        for product in (0..repeats).flat_map(|_| products) {
            product.record(&mut recorder);
        }
        recorder.finish()
    }
}

/// x · wᵀ, of numbers that are made up.
struct Product {
    x: Tensor,
    w: Matrix,
    y: Tensor,
}

impl Product {
    /// Of so many rows, with a matrix of `[rows, columns]`.
    ///
    /// All orders of summing give the same bits: a weight is a multiple of its scales' last digit,
    /// 2^-10 of their unit, by an integer of at most 8 · 2047 < 2^14, and x is -1, 0 or 1. So every
    /// partial sum is an integer of those digits, and exact in f32 up to 2^24 of them; of 9216 terms of
    /// either sign, each around 2^12.7, it is around 2^19. Of products of 16-bit floats, which are scaled
    /// after 32 of them, it is an integer of at most 8 · 32 = 2^8 < 2^11. Bytes are 127 for 1, and a sum
    /// of them times 1/127 in f32, which is off by 2^-28 of itself, rounds to the whole number it is of.
    fn new(gpu: &Gpu, rows: usize, shape: [usize; 2], seed: u32) -> Result<Self, GpuError> {
        let w = gpu.matrix("tuning weights", shape[0], shape[1], PRECISION)?;
        let x = gpu.tensor("tuning inputs", rows, shape[1])?;
        let y = gpu.tensor("tuning outputs", rows, shape[0])?;
        let mut fill = gpu.recorder();
        fill.fill_matrix(&w, seed);
        gpu.submit(&fill.finish()?);
        // Evenly spread, and the same everywhere.
        let number = |i: usize| {
            let noise = (i as u32 ^ (seed << 20)).wrapping_mul(2_654_435_769);
            ((noise >> 16) % 3) as f32 - 1.0
        };
        let numbers: Vec<f32> = (0..rows * shape[1]).map(number).collect();
        gpu.write(&x, 0, &numbers)?;
        Ok(Self { x, w, y })
    }

    fn record(&self, recorder: &mut Recorder) {
        recorder.linear(&self.x, &self.w, Linear::default(), &self.y);
    }
}

async fn read(gpu: &Gpu, products: &[Product]) -> Result<Vec<f32>, GpuError> {
    let mut all = Vec::new();
    for product in products.iter().take(READ) {
        all.extend(gpu.read_tensor(&product.y).await?);
    }
    gpu.check()?;
    Ok(all)
}

/// The middle one, of an even number the lower one of both.
fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len().saturating_sub(1) / 2).copied()
}

/// The same to the bit: see [`Product::new`]. Where inputs are rounded, scales may be multiplied in
/// another order than is written, which costs a few units in the last place of a sum. Of cooperative
/// matrices weights are rounded too, by 2^-11 of each at most, so a sum of random signs by less than
/// that of the largest.
fn agree(found: &[f32], wanted: &[f32], matmul: MatmulVariant) -> bool {
    let part = match matmul {
        MatmulVariant::Registers | MatmulVariant::Tiled => return found == wanted,
        MatmulVariant::Half | MatmulVariant::Dots => 1e-5,
        MatmulVariant::Cooperative => 1e-3,
    };
    let largest = wanted.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= part * largest;
    found.len() == wanted.len() && found.iter().zip(wanted).all(near)
}

/// The fastest of those that agree, unless one that rounds less is as good, or the usual one.
fn best(candidates: &[Candidate], usual: Variants) -> Variants {
    let (exact, rounded): (Vec<_>, Vec<_>) = candidates
        .iter()
        .partition(|it| it.variants.matmul.is_exact());
    let mut best = fastest(&exact, usual);
    let ms_of = |variants: Variants| {
        let it = candidates.iter().find(|it| it.variants == variants)?;
        it.ms.filter(|_| it.agrees)
    };
    for matmul in [
        MatmulVariant::Half,
        MatmulVariant::Cooperative,
        MatmulVariant::Dots,
    ] {
        let mut of_it = rounded.iter().filter(|it| it.variants.matmul == matmul);
        let Some(variants) = of_it.next().map(|it| it.variants) else {
            continue;
        };
        let is_worth_it = |ms: f64| ms_of(best).is_none_or(|best| ms < WORTH_IT * best);
        if ms_of(variants).is_some_and(is_worth_it) {
            best = variants;
        }
    }
    best
}

/// The fastest of those that agree, unless the usual one is as good.
fn fastest(candidates: &[&Candidate], usual: Variants) -> Variants {
    let timed = candidates.iter().filter(|it| it.agrees);
    let timed = timed.filter_map(|it| Some((it.variants, it.ms?)));
    let fastest = timed.clone().min_by(|(_, a), (_, b)| a.total_cmp(b));
    let agrees = |it: &&Candidate| it.agrees && it.variants == usual;
    let usual_ms = timed.clone().find(|(variants, _)| *variants == usual);
    match (fastest, usual_ms) {
        (Some((_, ms)), Some((_, usual_ms))) if ms >= WORTH_IT * usual_ms => usual,
        (Some((variants, _)), _) => variants,
        (None, _) if candidates.iter().any(agrees) => usual,
        // Nothing was timed, and the usual one is wrong here: any that is right.
        (None, _) => candidates
            .iter()
            .find(|it| it.agrees)
            .map_or(usual, |it| it.variants),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Variants = Variants {
        matmul: MatmulVariant::Tiled,
        matvec_lanes: 32,
        subgroups: false,
        fours: 0,
    };

    fn candidate(matvec_lanes: u32, agrees: bool, ms: Option<f64>) -> Candidate {
        let variants = Variants {
            matvec_lanes,
            ..USUAL
        };
        Candidate {
            variants,
            agrees,
            ms,
        }
    }

    fn chosen(candidates: &[Candidate]) -> u32 {
        best(candidates, USUAL).matvec_lanes
    }

    #[test]
    fn another_choice_has_to_be_clearly_faster() {
        let usual = candidate(32, true, Some(1.0));
        let (near, far) = (Some(0.96), Some(0.94));
        assert_eq!(chosen(&[candidate(8, true, near), usual.clone()]), 32);
        assert_eq!(chosen(&[candidate(8, true, far), usual.clone()]), 8);
        let fastest = candidate(64, true, Some(0.5));
        assert_eq!(chosen(&[candidate(8, true, far), usual, fastest]), 64);
    }

    #[test]
    fn what_deviates_is_never_chosen() {
        let wrong = candidate(8, false, Some(0.1));
        assert_eq!(chosen(&[wrong.clone(), candidate(32, true, Some(1.0))]), 32);
        let usual_is_wrong = candidate(32, false, None);
        let slow = candidate(16, true, Some(9.0));
        assert_eq!(chosen(&[wrong, usual_is_wrong.clone(), slow]), 16);
        assert_eq!(chosen(&[candidate(4, true, None), usual_is_wrong]), 4);
    }

    #[test]
    fn rounding_has_to_pay() {
        let of = |matmul, ms| Candidate {
            variants: Variants { matmul, ..USUAL },
            agrees: true,
            ms: Some(ms),
        };
        let (half, dots) = (MatmulVariant::Half, MatmulVariant::Dots);
        let chosen = |half_ms, dots_ms| {
            let all = [
                of(MatmulVariant::Tiled, 1.0),
                of(half, half_ms),
                of(dots, dots_ms),
            ];
            best(&all, USUAL).matmul
        };
        assert_eq!(chosen(0.97, 0.96), MatmulVariant::Tiled);
        assert_eq!(chosen(0.60, 0.59), half);
        assert_eq!(chosen(0.60, 0.30), dots);
        assert_eq!(chosen(2.00, 0.90), dots);
        let wrong = Candidate {
            agrees: false,
            ..of(dots, 0.1)
        };
        assert_eq!(best(&[of(MatmulVariant::Tiled, 1.0), wrong], USUAL), USUAL);
    }

    #[test]
    fn what_rounds_inputs_agrees_within_rounding() {
        let wanted = [1000.0, -3.0, 0.0];
        let (exact, dots) = (MatmulVariant::Tiled, MatmulVariant::Dots);
        assert!(agree(&wanted, &wanted, exact) && agree(&wanted, &wanted, dots));
        assert!(!agree(&[1000.001, -3.0, 0.0], &wanted, exact));
        assert!(agree(&[1000.001, -3.0, 0.0], &wanted, dots));
        assert!(!agree(&[1000.0, -3.02, 0.0], &wanted, dots));
        assert!(agree(
            &[1000.0, -3.02, 0.0],
            &wanted,
            MatmulVariant::Cooperative
        ));
        assert!(!agree(
            &[1000.0, -4.02, 0.0],
            &wanted,
            MatmulVariant::Cooperative
        ));
        assert!(!agree(&[1000.0, f32::NAN, 0.0], &wanted, dots));
        assert!(!agree(&wanted[..2], &wanted, dots));
    }

    #[test]
    fn without_times_it_is_as_usual() {
        assert_eq!(chosen(&[]), 32);
        let usual = candidate(32, true, None);
        assert_eq!(chosen(&[candidate(8, true, None), usual]), 32);
    }

    #[test]
    fn the_median_is_a_sample() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![2.0, 1.0]), Some(1.0));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 3.0, 1.0, 2.0]), Some(2.0));
    }
}
