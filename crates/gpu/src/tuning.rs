//! Which kernels suit an adapter: a short run over real shapes.

use web_time::{Duration, Instant};

use crate::device::Gpu;
use crate::error::GpuError;
use crate::judge::{agree, best, median};
use crate::products::{Product, READ, read};
use crate::program::Program;
use crate::variants::{MatmulVariant, Variants};

/// A sample lasts at least so long: clocks of browsers have steps of a tenth of a millisecond.
const SAMPLE_MS: f64 = 4.0;
const SAMPLES: usize = 5;
/// As many even where time is up.
const LEAST_SAMPLES: usize = 3;
/// Most products of a sample, however fast they are.
const MOST_REPEATS: usize = 1 << 8;

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
    fn of(gpu: &Gpu) -> Self {
        match gpu.info().is_software {
            true => Self {
                matmul: [64, 512],
                matvec: [2048, 512],
                pairs: 2,
                lanes: &[1, 2, 4, 8, 16],
                fours: if gpu.is_serial() { &[] } else { &[1 << 12] },
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

    /// The same, with or without kernels that round inputs, bind as much as there may be or need a feature.
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
        let shapes = Shapes::of(self);
        let usual = Variants::usual(self.is_serial());

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
        // Of two sizes, those that are tried first: each is a kernel to compile.
        let norms = shapes.fours.iter().take(2).filter(|_| optional);
        let norms = norms.map(|&fours| Variants {
            fours,
            norms: true,
            ..usual
        });
        let bytes = shapes.fours.iter().filter(|_| optional);
        let bytes = bytes.map(|&fours| Variants {
            fours,
            bytes: true,
            ..usual
        });
        let fits = |lanes: &u32| *lanes > 1 && *lanes <= self.0.subgroup_size;
        let lanes = shapes.lanes.iter().flat_map(|lanes| {
            let subgroups = (optional && fits(lanes)).then(|| with(*lanes, true));
            std::iter::once(with(*lanes, false)).chain(subgroups)
        });
        // The usual one first: how many repeats can be timed is found with it.
        let variants: Vec<Variants> = fours.chain(norms).chain(lanes).chain(bytes).collect();
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
            let agrees = agree(&found, &wanted, variants);
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
