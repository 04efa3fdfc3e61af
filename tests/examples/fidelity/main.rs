//! What each recipe's rounding changes: the demo model answers prompts about scenes of known
//! content, and every recipe is held against the weights as stored and against the truth. Writes
//! `benches/FIDELITY.md`. `cargo xtask fidelity` runs it.
//!
//! Answers are kept in `.artifacts/fidelity`, so that an interrupted run continues and a longer
//! one adds to a shorter.
#![allow(
    clippy::print_stdout,
    reason = "a command for people: standard output is its interface"
)]

mod drift;
mod record;
mod score;
mod table;

use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use paligemma_engine::{
    CachePrecision, CancelToken, DecodedPicture, Engine, Folder, Gpu, GpuOptions, LoadOptions,
    MatmulVariant, ModelOptions, Picture, Prompt, Recipe, RunRequest, Tuned, Variants,
};
use paligemma_scenes::{Kind, Plan, SIDE, Truth};
use record::{Answers, Conditions, Log, Reply};
use score::Totals;
use table::{Report, Row};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "Usage: fidelity [--scenes N] [--fresh] [--only TEXT] [--kept DIR]
       fidelity --logits

  --scenes N   how many scenes to ask about (300)
  --fresh      forget the answers of earlier runs: needed after a change of the code that
               computes them, which the answers do not show
  --only TEXT  only recipes with this in their name, beside the weights as stored; printed and
               not written
  --kept DIR   where answers are kept (.artifacts/fidelity)
  --logits     only the part about logits, which is printed and not written";

/// The first scene's seed; the others follow it.
const FIRST_SEED: u32 = 10_000;
/// About twice what four things with their boxes take.
const MAX_NEW_TOKENS: usize = 64;

fn main() -> ExitCode {
    if std::env::args().skip(1).eq(["--logits"]) {
        let root = paligemma_tests::folder().join("..");
        return match drift::section(&root) {
            Ok(section) => {
                println!("{section}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was asked for.
#[derive(Debug, PartialEq)]
struct Arguments {
    scenes: u32,
    /// Earlier answers are to be forgotten.
    fresh: bool,
    /// Part of the names of the recipes that are asked for.
    only: Option<String>,
    /// Where answers are kept, if not where they usually are.
    kept: Option<PathBuf>,
}

fn arguments(args: impl IntoIterator<Item = String>) -> Result<Arguments, String> {
    let mut found = Arguments {
        scenes: 300,
        fresh: false,
        only: None,
        kept: None,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--fresh" => found.fresh = true,
            "--only" => {
                found.only = Some(
                    args.next()
                        .ok_or("`--only` needs a part of a name after it.")?,
                );
            }
            "--kept" => {
                let folder = args.next().ok_or("`--kept` needs a folder after it.")?;
                found.kept = Some(folder.into());
            }
            "--scenes" => {
                let value = args.next().ok_or("`--scenes` needs a number after it.")?;
                found.scenes = match value.parse() {
                    Ok(number @ 1..=100_000) => number,
                    _ => {
                        return Err(format!(
                            "`{value}` is no number of scenes: give one from 1 to 100000."
                        ));
                    }
                };
            }
            other => return Err(format!("`{other}` is not understood.")),
        }
    }
    Ok(found)
}

/// What is measured: how weights are rounded, and keys and values and products if not as usual.
struct Case {
    name: &'static str,
    recipe: Recipe,
    cache: Option<CachePrecision>,
    /// Products of many rows, if not as usual.
    matmul: Option<MatmulVariant>,
    /// Products of a single row read their inputs as bytes.
    bytes: bool,
}

impl Case {
    fn of(recipe: Recipe) -> Self {
        Self {
            name: recipe.name,
            recipe,
            cache: None,
            matmul: None,
            bytes: false,
        }
    }

    /// The first of all is what the others are held against.
    fn all() -> Vec<Self> {
        let int8 = |name, recipe| Self {
            name,
            cache: Some(CachePrecision::Int8),
            ..Self::of(recipe)
        };
        let products = |name, recipe, matmul| Self {
            name,
            matmul: Some(matmul),
            ..Self::of(recipe)
        };
        let bytes = |name, recipe| Self {
            name,
            bytes: true,
            ..Self::of(recipe)
        };
        let others = [
            int8("as-stored, int8 cache", Recipe::AS_STORED),
            int8("q4, int8 cache", Recipe::Q4),
            products("q8, f16 products", Recipe::Q8, MatmulVariant::Half),
            products("q4, f16 products", Recipe::Q4, MatmulVariant::Half),
            products(
                "q8, products by cooperative matrices",
                Recipe::Q8,
                MatmulVariant::Cooperative,
            ),
            products(
                "q4, products by cooperative matrices",
                Recipe::Q4,
                MatmulVariant::Cooperative,
            ),
            products("q8, int8 products", Recipe::Q8, MatmulVariant::Dots),
            products("q4, int8 products", Recipe::Q4, MatmulVariant::Dots),
            bytes("q8, int8 products of a step", Recipe::Q8),
            bytes("q4, int8 products of a step", Recipe::Q4),
        ];
        Recipe::ALL
            .into_iter()
            .map(Self::of)
            .chain(others)
            .collect()
    }
}

/// One case: where its answers are kept, what they add up to, and the engine once it is needed.
struct Candidate {
    case: Case,
    log: Log,
    engine: Option<Engine>,
    totals: Totals,
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    let (scenes, only) = (arguments.scenes, arguments.only.as_deref());
    let root = paligemma_tests::folder().join("..");
    let usual = || root.join(".artifacts/fidelity");
    let kept = arguments.kept.clone().unwrap_or_else(usual);
    if arguments.fresh && kept.exists() {
        fs::remove_dir_all(&kept)?;
    }
    let model = root.join("web/demo/model");
    let gpu = pollster::block_on(Gpu::open(&GpuOptions::default()))?;
    let adapter = gpu.info().clone();
    let mut candidates = Vec::new();
    let here = |case: &Case| match case.matmul {
        Some(MatmulVariant::Half) => gpu.has_f16(),
        Some(MatmulVariant::Cooperative) => gpu.cooperative_side() > 0,
        _ => true,
    };
    let wanted = |(index, case): &(usize, Case)| {
        *index == 0 || only.is_none_or(|only| case.name.contains(only))
    };
    let cases = Case::all().into_iter().filter(here).enumerate();
    for (_, case) in cases.filter(wanted) {
        let conditions = Conditions {
            adapter: format!("{} ({})", adapter.name, adapter.backend),
            model: fingerprint(&model.join("model.safetensors"))?,
            recipe: format!(
                "{:?}, {:?}, {:?}{}",
                case.recipe,
                case.cache,
                case.matmul,
                // Answers of before there was this are still answers.
                if case.bytes { ", bytes" } else { "" }
            ),
        };
        let name = case.name.replace(", ", "-").replace(' ', "-");
        let file = kept.join(format!("{name}.jsonl"));
        candidates.push(Candidate {
            case,
            log: Log::open(&file, &conditions)?,
            engine: None,
            totals: Totals::default(),
        });
    }

    let started = Instant::now();
    for index in 0..scenes {
        let seed = FIRST_SEED + index;
        let (picture, truth) = compose(&root.join("web/demo/sprites"), seed)?;
        let mut reference = None;
        for candidate in &mut candidates {
            let answers = match candidate.log.get(seed) {
                Some(answers) => answers.clone(),
                None => {
                    let engine = match &mut candidate.engine {
                        Some(engine) => engine,
                        none => none.insert(load(&model, &candidate.case)?),
                    };
                    let answers = ask(engine, &picture, &truth, seed)?;
                    candidate.log.add(answers.clone())?;
                    answers
                }
            };
            // The first of all is the reference.
            let reference = reference.get_or_insert_with(|| answers.clone());
            let kind = asked_kind(&truth, seed)?;
            candidate.totals.add(&answers, reference, &truth, kind.name);
        }
        let (done, seconds) = (index + 1, started.elapsed().as_secs());
        if done.is_multiple_of(10) || done == scenes {
            println!("{done} of {scenes} scenes, {seconds} s");
        }
    }

    let report = Report {
        date: time::OffsetDateTime::now_utc().date().to_string(),
        adapter: format!("{} ({})", adapter.name, adapter.backend),
        scenes,
        first_seed: FIRST_SEED,
        rows: candidates
            .iter()
            .map(|candidate| Row {
                recipe: candidate.case.name,
                scores: candidate.totals.scores(),
            })
            .collect(),
    };
    if only.is_some() {
        println!("\n{}", table::markdown(&report));
        return Ok(());
    }
    let text = table::markdown(&report) + &drift::section(&root)?;
    let file = root.join("benches/FIDELITY.md");
    fs::create_dir_all(root.join("benches"))?;
    fs::write(&file, &text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    println!("\n{text}");
    Ok(())
}

/// Tells one checkpoint from another.
fn fingerprint(file: &PathBuf) -> Outcome<String> {
    let bytes =
        fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

fn load(model: &Path, case: &Case) -> Outcome<Engine> {
    let mut options = LoadOptions {
        model: ModelOptions {
            recipe: Some(case.recipe.clone()),
            cache: case.cache,
            ..ModelOptions::default()
        },
        ..LoadOptions::default()
    };
    let gpu = pollster::block_on(Gpu::open(&options.gpu))?;
    let mut variants = Variants::usual(gpu.is_serial());
    if let Some(matmul) = case.matmul {
        variants.matmul = matmul;
    }
    if case.bytes {
        // Few invocations where the CPU computes; how many does not matter to what is rounded.
        variants.fours = variants.fours.max(1 << 10);
        variants.bytes = true;
    }
    // The usual kernels, whatever would suit the adapter.
    options.gpu.tuning.known = vec![Tuned {
        adapter: gpu.adapter_key(),
        variants,
    }];
    let source = Folder::new(model);
    let engine = pollster::block_on(Engine::load(source, &options, &mut |_| ()))?;
    match engine.choice().variants == variants {
        true => Ok(engine),
        false => {
            let (wanted, found) = (variants, engine.choice().variants);
            Err(format!("{}: the adapter has `{found}`, not `{wanted}`", case.name).into())
        }
    }
}

/// The scene of a seed as the engine takes it, and what is in it.
fn compose(sprites: &Path, seed: u32) -> Outcome<(Picture, Truth)> {
    let plan = Plan::new(seed);
    let mut glyphs = Vec::new();
    for name in plan.sprites() {
        let file = sprites.join(name);
        let glyph = image::open(&file)
            .map_err(|error| format!("cannot read the sprite {}: {error}", file.display()))?;
        glyphs.push(glyph.to_rgba8());
    }
    let scene = plan.paint(&glyphs);
    let rgb = scene
        .rgba
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect();
    let side = u32::try_from(SIDE)?;
    let picture = DecodedPicture::from_rgb(side, side, rgb)?;
    Ok((picture.into(), scene.truth))
}

/// Of which kind the scene's number is asked: any of those that are there, by the seed.
fn asked_kind(truth: &Truth, seed: u32) -> Outcome<&'static Kind> {
    let labels = truth.labels();
    let label = labels.get(seed as usize % labels.len().max(1));
    let kind = label.and_then(|label| Kind::named(label));
    Ok(kind.ok_or_else(|| format!("scene {seed} shows nothing that has a name"))?)
}

fn ask(engine: &mut Engine, picture: &Picture, truth: &Truth, seed: u32) -> Outcome<Answers> {
    let kind = asked_kind(truth, seed)?;
    let mut reply = |prompt: &str| -> Outcome<Reply> {
        let request = RunRequest {
            pictures: std::slice::from_ref(picture),
            prompt: Prompt::Text(prompt),
            max_new_tokens: MAX_NEW_TOKENS,
        };
        let never = CancelToken::default();
        let answer = pollster::block_on(engine.run(&request, &never, &mut |_| ()))?;
        Ok(Reply {
            ids: answer.token_ids,
            text: answer.text,
            detections: answer.detections,
        })
    };
    Ok(Answers {
        seed,
        detect: reply(&format!("detect {}", truth.labels().join(" ; ")))?,
        caption: reply("caption en")?,
        count: reply(&format!("answer en how many {} are there?", kind.plural))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        arguments(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_is_read_or_refused_by_name() {
        let usual = parsed("").unwrap();
        assert_eq!((usual.scenes, usual.fresh), (300, false));
        assert_eq!((usual.only, usual.kept), (None, None));
        let found = parsed("--fresh --scenes 60 --only cooperative --kept a/b").unwrap();
        assert_eq!((found.scenes, found.fresh), (60, true));
        assert_eq!(found.only.as_deref(), Some("cooperative"));
        assert_eq!(found.kept, Some("a/b".into()));
        for (line, named) in [
            ("--only", "--only"),
            ("--kept", "--kept"),
            ("--scenes", "--scenes"),
            ("--scenes 0", "`0`"),
            ("--scenes many", "many"),
            ("--scene 5", "--scene"),
        ] {
            let problem = parsed(line).expect_err(line);
            assert!(problem.contains(named), "{line}: {problem}");
        }
    }

    #[test]
    fn every_scene_has_a_kind_to_ask_for() {
        let sprites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/demo/sprites");
        for seed in FIRST_SEED..FIRST_SEED + 4 {
            let (picture, truth) = compose(&sprites, seed).unwrap();
            assert_eq!(picture.width(), truth.width);
            let kind = asked_kind(&truth, seed).unwrap();
            assert!(truth.count(kind.name) > 0);
        }
    }
}
