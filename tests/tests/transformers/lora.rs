//! LoRA adapters, merged while loading, against `merge_and_unload` of PEFT.

use paligemma_checkpoint::Checkpoint;
use paligemma_engine::{
    Engine, EngineError, Folder, FolderStore, GpuOptions, Ingest, LoadOptions, LoraAdapter,
    ModelOptions, Origin, Plan, Recipe,
};

use crate::expected::{Expected, engine, fixture, request};

/// The fixtures that have an adapter in `fixtures/lora`.
const ADAPTED: [&str; 3] = ["pg2_gqa", "pg2_odd", "pg1_mqa"];

/// As for logits without an adapter (`stages.rs`): the merged weights are the same to the bit, so
/// what is left is two f32 implementations of the same model.
const LOGITS: f32 = 2e-4;

fn options(recipe: Option<Recipe>) -> LoadOptions {
    LoadOptions {
        gpu: GpuOptions {
            baseline_limits: true,
            ..GpuOptions::default()
        },
        model: ModelOptions {
            recipe,
            ..ModelOptions::default()
        },
        ..LoadOptions::default()
    }
}

fn adapter(model: &str) -> LoraAdapter<Folder> {
    let folder = Folder::new(fixture("lora").join(model));
    pollster::block_on(LoraAdapter::open(folder, Origin::default())).unwrap()
}

fn load(
    model: Folder,
    lora: Option<LoraAdapter<Folder>>,
    recipe: Option<Recipe>,
) -> Result<Engine, EngineError> {
    let options = options(recipe);
    pollster::block_on(Engine::load_adapted(model, lora, &options, &mut |_| ()))
}

fn adapted(model: &str, recipe: Option<Recipe>) -> Engine {
    let source = Folder::new(fixture(model).join("model"));
    load(source, Some(adapter(model)), recipe).unwrap()
}

/// Logits after the prompt of `single`.
fn last_logits(engine: &mut Engine, model: &str) -> Vec<f32> {
    let single = Expected::read(model, "single");
    let (ids, pixels) = (single.ids("input_ids"), single.pixels());
    let (_, tensors) = request(&ids, pixels.len(), 1, |request| {
        pollster::block_on(engine.forward_pixels(request, &pixels))
    })
    .unwrap();
    let logits = tensors.into_iter().find(|t| t.name == "logits").unwrap();
    let vocabulary = *logits.shape.last().unwrap();
    logits.values[logits.values.len() - vocabulary..].to_vec()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn logits_and_ids_are_those_of_the_model_that_peft_merges() {
    for model in ADAPTED {
        let merged = fixture("lora")
            .join(model)
            .join("expected/merged.safetensors");
        let merged = Expected::file(&merged);
        let (_, logits) = merged.floats("logits_last");
        let mut ours = adapted(model, None);
        let off = worst(&last_logits(&mut ours, model), &logits);
        println!("{model}: worst {off:.1e}");
        assert!(off <= LOGITS, "{model}: {off}");

        let single = Expected::read(model, "single");
        let (ids, pixels) = (single.ids("input_ids"), single.pixels());
        let wanted = merged.ids("generated_ids");
        let generated = request(&ids, pixels.len(), wanted.len(), |request| {
            pollster::block_on(ours.generate_pixels(request, &pixels))
        });
        assert_eq!(generated.unwrap(), wanted, "{model}");

        // Without the adapter it is another model.
        let off = worst(&last_logits(&mut engine(model), model), &logits);
        assert!(off > 1.0, "{model}: {off}");
    }
}

/// Packed while it loads, and packed into a folder first: the same weights either way.
#[test]
fn an_adapter_is_merged_before_weights_are_packed() {
    let model = "pg2_odd";
    let loaded = last_logits(&mut adapted(model, Some(Recipe::Q8)), model);

    let folder = tempfile::tempdir().unwrap();
    let source = Folder::new(fixture(model).join("model"));
    let checkpoint = pollster::block_on(Checkpoint::open(source)).unwrap();
    let checkpoint = checkpoint.with_adapter(adapter(model)).unwrap();
    let plan = Plan::new(&checkpoint, Origin::default(), &Recipe::Q8);
    let plan = pollster::block_on(plan).unwrap();
    let store = FolderStore::new(folder.path());
    let ingest = Ingest::quantize(&checkpoint, plan, &store);
    pollster::block_on(ingest.run(&mut |_| ())).unwrap();
    let mut packed = load(Folder::new(folder.path()), None, None).unwrap();
    assert_eq!(last_logits(&mut packed, model), loaded);

    // A packed model takes no adapter.
    let Err(refused) = load(Folder::new(folder.path()), Some(adapter(model)), None) else {
        panic!("an adapter was merged into packed weights");
    };
    assert!(refused.to_string().contains("packed"), "{refused}");
}
