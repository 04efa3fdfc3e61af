//! Kernels are compiled while a model loads: all that a greedy answer needs, and nothing else.

use paligemma_engine::{
    CachePrecision, Engine, Folder, GpuOptions, LoadOptions, ModelOptions, Recipe, Tune,
    TuningOptions,
};

use crate::expected::{Expected, MODELS, fixture};
use crate::generation::generate;

/// How a model is run, and parts of the names of kernels that such a run has and that it has not.
struct Run {
    gpus: bool,
    kernels: Option<&'static str>,
    recipe: Recipe,
    cache: Option<CachePrecision>,
    max_binding_bytes: Option<u64>,
    models: &'static [&'static str],
    has: &'static [&'static str],
    lacks: &'static [&'static str],
}

/// Those whose gates and ups need several bindings of 120 KiB.
const SHARDED: &[&str] = &["pg2_q128"];

const PLAIN: Run = Run {
    gpus: true,
    kernels: None,
    recipe: Recipe::AS_STORED,
    cache: None,
    max_binding_bytes: None,
    models: &MODELS,
    has: &[],
    lacks: &[],
};

fn runs() -> [Run; 9] {
    [
        Run {
            gpus: false,
            has: &["serial"],
            lacks: &["sixteens", "fours"],
            ..PLAIN
        },
        Run {
            has: &["attention_sixteens", "tiled", "matvec_geglu"],
            lacks: &["serial"],
            ..PLAIN
        },
        Run {
            kernels: Some("tiled fours=16384 norms"),
            has: &["_norms"],
            ..PLAIN
        },
        Run {
            kernels: Some("dots fours=16384 bytes"),
            recipe: Recipe::Q4,
            has: &["dots", "_bytes", "_packs", "kv16"],
            ..PLAIN
        },
        Run {
            kernels: Some("registers fours=16384 bytes"),
            recipe: Recipe::Q8,
            cache: Some(CachePrecision::Int8),
            has: &["q8", "_bytes", "kv8"],
            ..PLAIN
        },
        Run {
            kernels: Some("tiled fours=16384 norms"),
            recipe: Recipe::INT4_G128,
            has: &["int4", "_norms"],
            ..PLAIN
        },
        Run {
            gpus: false,
            kernels: Some("registers lanes=4"),
            recipe: Recipe::Q4,
            has: &["matvec_q4"],
            ..PLAIN
        },
        // Gates and ups in several shards go the way of many rows.
        Run {
            cache: Some(CachePrecision::F16), // or they would need several, too, and may not
            max_binding_bytes: Some(120 << 10),
            models: SHARDED,
            lacks: &["matvec_geglu"],
            ..PLAIN
        },
        Run {
            kernels: Some("tiled fours=16384 norms"),
            cache: Some(CachePrecision::F16), // or they would need several, too, and may not
            max_binding_bytes: Some(120 << 10),
            models: SHARDED,
            lacks: &["matvec_geglu"],
            ..PLAIN
        },
    ]
}

fn load(model: &str, run: &Run) -> Engine {
    let given = |text: &str| Tune::Given(text.parse().unwrap());
    let options = LoadOptions {
        gpu: GpuOptions {
            baseline_limits: true,
            gpu_kernels: run.gpus,
            replays: Some(run.gpus),
            max_binding_bytes: run.max_binding_bytes,
            tuning: TuningOptions {
                known: Vec::new(),
                tune: run.kernels.map_or(Tune::Never, given),
            },
            ..GpuOptions::default()
        },
        model: ModelOptions {
            recipe: Some(run.recipe.clone()),
            cache: run.cache,
            ..ModelOptions::default()
        },
        ..LoadOptions::default()
    };
    let source = Folder::new(fixture(model).join("model"));
    pollster::block_on(Engine::load(source, &options, &mut |_| ()))
        .unwrap_or_else(|error| panic!("{model}: {error}"))
}

#[test]
fn an_answer_compiles_nothing_and_nothing_is_compiled_in_vain() {
    for (number, run) in runs().iter().enumerate() {
        let mut names: Vec<&str> = Vec::new();
        for model in run.models {
            let mut engine = load(model, run);
            names.extend(engine.finish_preparing());
            let expected = Expected::read(model, "single");
            assert_eq!(generate(&mut engine, &expected, 8).len(), 8);
            let late = engine.compiled_late();
            assert!(late.is_empty(), "{model}, run {number}: late {late:?}");
            let left = engine.finish_preparing();
            assert!(left.is_empty(), "{model}, run {number}: in vain {left:?}");
        }
        for part in run.has {
            let has = names.iter().any(|name| name.contains(part));
            assert!(has, "run {number} has no {part}: {names:?}");
        }
        for part in run.lacks {
            let has = names.iter().any(|name| name.contains(part));
            assert!(!has, "run {number} has {part}: {names:?}");
        }
    }
}
