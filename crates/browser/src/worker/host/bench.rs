//! How fast a model is here: the one that is loaded, or a made-up one of a published shape.

use std::collections::BTreeMap;

use paligemma_engine::{
    Bench, BenchError, BenchOptions, BenchProgress, BenchReport, CancelToken, EngineError,
    GpuOptions, Published, Recipe, Tune, Tuned,
};

use super::{Shared, no_model};
use crate::environment;
use crate::protocol::{CachePrecision, Event, Measured, MeasuredLine, Problem, ProblemKind};
use crate::worker::connect::Connect;
use crate::worker::{convert, tuned};

/// A measurement that waits for its turn.
pub(super) struct Measurement {
    pub(super) id: u32,
    /// What the page calls the loaded model.
    pub(super) name: String,
    /// A published shape instead.
    pub(super) shape: Option<String>,
    /// How that one's keys and values are kept.
    pub(super) cache: Option<CachePrecision>,
    pub(super) cancel: CancelToken,
}

impl<C: Connect + 'static> Shared<C> {
    pub(super) async fn bench(&self, measurement: Measurement) {
        let id = measurement.id;
        let measured = match &measurement.shape {
            Some(shape) => self.measure_shape(shape, &measurement).await,
            None => self.measure_loaded(&measurement).await,
        };
        self.running.borrow_mut().remove(&id);
        match measured {
            Ok((report, found)) => (self.post)(Event::Measured {
                id,
                measured: words(&report),
                tuned: tuned::to_keep(found),
            }),
            Err(problem) => self.fail(id, problem),
        }
    }

    async fn measure_loaded(
        &self,
        of: &Measurement,
    ) -> Result<(BenchReport, Option<Tuned>), Problem> {
        let taken = self.engine.borrow_mut().take();
        let Some(mut engine) = taken else {
            return Err(no_model());
        };
        let progress = &mut |now| self.say(of.id, now);
        let measured = engine
            .bench(&of.name, &options(), conditions(), &of.cancel, progress)
            .await;
        let measured = measured.map(|report| (report, engine.tuned()));
        let broken = engine.is_broken();
        if !broken {
            *self.engine.borrow_mut() = Some(engine);
        }
        measured.map_err(|error| {
            let mut problem = problem(&error);
            if broken && problem.kind != ProblemKind::OutOfMemory {
                problem.kind = ProblemKind::DeviceLost;
            }
            problem
        })
    }

    /// Beside the loaded model, which stays.
    async fn measure_shape(
        &self,
        name: &str,
        of: &Measurement,
    ) -> Result<(BenchReport, Option<Tuned>), Problem> {
        environment::check()?;
        let shape = Published::named(name).ok_or_else(|| Problem {
            kind: ProblemKind::Checkpoint,
            message: format!("There is no published shape {name}: choose another one."),
        })?;
        let stage = |stage: &str, done, of| BenchProgress {
            stage: stage.to_owned(),
            done,
            of,
            answering: false,
        };
        self.say(of.id, stage("making weights up", 0, 1));
        let mut gpu = GpuOptions::default();
        // It is part of what is measured, once the model is there.
        gpu.tuning.tune = Tune::Never;
        let cache = of.cache.map(convert::cache_precision);
        let bench = Bench::made_up(shape, None, &Recipe::Q4, cache, &gpu, &mut |_, _| ()).await;
        let bench = bench.map_err(|error| problem(&error))?;
        let progress = &mut |now| self.say(of.id, now);
        let report = bench
            .run(&options(), conditions(), &of.cancel, progress)
            .await
            .map_err(|error| problem(&error))?;
        Ok((report, bench.tuned()))
    }

    fn say(&self, id: u32, now: BenchProgress) {
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        (self.post)(Event::Measuring {
            id,
            stage: now.stage,
            part: [count(now.done), count(now.of)],
            answering: now.answering,
        });
    }
}

/// Fewer runs than the command makes: a person waits.
fn options() -> BenchOptions {
    BenchOptions {
        runs: 3,
        tokens: 16,
        profile: true,
        tune: true,
        answers: true,
        ..BenchOptions::default()
    }
}

fn conditions() -> BTreeMap<String, String> {
    let now = String::from(js_sys::Date::new_0().to_iso_string());
    let date = now.split('T').next().unwrap_or_default().to_owned();
    BTreeMap::from([
        ("browser".to_owned(), environment::browser()),
        ("date".to_owned(), date),
    ])
}

fn problem(error: &EngineError) -> Problem {
    let mut problem = convert::problem(error);
    if matches!(error, EngineError::Bench(BenchError::Cancelled)) {
        problem.kind = ProblemKind::Cancelled;
    }
    problem
}

fn words(report: &BenchReport) -> Measured {
    let facts = report.facts().into_iter();
    let lines = report.lines().into_iter();
    Measured {
        facts: facts.map(|(name, value)| [name, value]).collect(),
        warning: report.warning(),
        lines: lines
            .map(|line| MeasuredLine {
                name: line.name,
                median: line.median,
                least: line.least,
                most: line.most,
                note: line.note,
            })
            .collect(),
        kernels: report.kernels().trim().to_owned(),
        text: report.to_string(),
        // Plain numbers and strings, of which JSON refuses none.
        json: serde_json::to_string_pretty(report).unwrap_or_default(),
    }
}
