//! How good masks are: the demo model segments things in scenes of known content, and its masks are
//! held against what is there, and against what the mask decoder's PyTorch twin makes of the same
//! codes and boxes. Writes `benches/MASKS.md`. `cargo xtask masks` runs it.
#![allow(
    clippy::print_stdout,
    reason = "a command for people: standard output is its interface"
)]

mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use paligemma_engine::{
    BinaryMask, CancelToken, DecodedPicture, Detection, Engine, Folder, LoadOptions, Picture,
    Prompt, RunRequest,
};
use paligemma_scenes::{Plan, SIDE, Scene, iou};
use serde_json::{Value, json};
use table::{Report, markdown};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "Usage: masks [--scenes N]

  --scenes N   how many scenes to ask about (200)";

/// The first scene's seed; the others follow it. None of the other measurements has them.
const FIRST_SEED: u32 = 40_000;
/// More than four things with their boxes and masks take.
const MAX_NEW_TOKENS: usize = 160;

fn main() -> ExitCode {
    let scenes = match arguments(std::env::args().skip(1)) {
        Ok(scenes) => scenes,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(scenes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(args: impl IntoIterator<Item = String>) -> Result<u32, String> {
    let mut scenes = 200;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg != "--scenes" {
            return Err(format!("`{arg}` is not understood."));
        }
        let value = args.next().ok_or("`--scenes` needs a number after it.")?;
        scenes = match value.parse() {
            Ok(number @ 1..=100_000) => number,
            _ => return Err(format!("`{value}` is no number of scenes.")),
        };
    }
    Ok(scenes)
}

/// A thing that was asked for, and what was found of it.
struct Asked {
    /// Overlap of our mask with the thing's; 0 without a mask.
    ours: f64,
    /// For the twin: codes, locations and truth. None where there is no mask.
    task: Option<Value>,
}

fn measure(scenes: u32) -> Outcome<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = python()?;
    let source = Folder::new(root.join("web/demo/model"));
    let options = LoadOptions::default();
    let mut engine = pollster::block_on(Engine::load(source, &options, &mut |_| ()))?;
    let started = Instant::now();
    let mut asked = Vec::new();
    for index in 0..scenes {
        let scene = compose(&root.join("web/demo/sprites"), FIRST_SEED + index)?;
        asked.extend(ask(&mut engine, &scene, index as usize)?);
        let (done, seconds) = (index + 1, started.elapsed().as_secs());
        if done.is_multiple_of(10) || done == scenes {
            println!("{done} of {scenes} scenes, {seconds} s");
        }
    }

    let tasks: Vec<&Value> = asked.iter().filter_map(|it| it.task.as_ref()).collect();
    let (torch, twins) = twin(&root, &python, &tasks)?;
    let mut twins = twins.into_iter();
    let twin: Vec<f64> = asked
        .iter()
        .map(|it| it.task.as_ref().and_then(|_| twins.next()).unwrap_or(0.0))
        .collect();
    let adapter = engine.adapter();
    let text = markdown(&Report {
        date: time::OffsetDateTime::now_utc().date().to_string(),
        adapter: format!("{} ({})", adapter.name, adapter.backend),
        torch,
        scenes,
        first_seed: FIRST_SEED,
        ours: asked.iter().map(|it| it.ours).collect(),
        twin,
    });
    let file = root.join("benches/MASKS.md");
    std::fs::write(&file, &text)
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    println!("\n{text}");
    Ok(())
}

/// The interpreter that `tests/oracle/setup.sh` made.
fn python() -> Outcome<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.or(home).ok_or("there is no HOME")?;
    let python = cache.join("paligemma-web/oracle/venv/bin/python");
    if !python.exists() {
        let python = python.display();
        return Err(format!("{python} is not there: run tests/oracle/setup.sh first").into());
    }
    Ok(python)
}

fn compose(sprites: &Path, seed: u32) -> Outcome<Scene> {
    let plan = Plan::new(seed);
    let mut glyphs = Vec::new();
    for name in plan.sprites() {
        let file = sprites.join(name);
        let glyph = image::open(&file)
            .map_err(|error| format!("cannot read the sprite {}: {error}", file.display()))?;
        glyphs.push(glyph.to_rgba8());
    }
    Ok(plan.paint(&glyphs))
}

/// Asks for one of the scene's kinds, and finds to each of its things the mask whose box fits best.
fn ask(engine: &mut Engine, scene: &Scene, index: usize) -> Outcome<Vec<Asked>> {
    let side = u32::try_from(SIDE)?;
    let pixels = scene.rgba.chunks_exact(4);
    let rgb = pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]);
    let picture: Picture = DecodedPicture::from_rgb(side, side, rgb.collect())?.into();
    let labels = scene.truth.labels();
    let label = labels[index % labels.len()];
    let prompt = format!("segment {label}");
    let request = RunRequest {
        pictures: &[picture],
        prompt: Prompt::Text(&prompt),
        max_new_tokens: MAX_NEW_TOKENS,
    };
    let never = CancelToken::default();
    let answer = pollster::block_on(engine.run(&request, &never, &mut |_| ()))?;

    let objects = scene.truth.objects.iter().enumerate();
    let things: Vec<(usize, [f32; 4])> = objects
        .filter(|(_, object)| object.label == label)
        .map(|(place, object)| (place, object.bbox))
        .collect();
    let partners = partners(&things, &answer.detections);
    let mut asked = Vec::new();
    for ((place, _), found) in things.iter().zip(partners) {
        let inside =
            |x: u32, y: u32| usize::from(scene.owners[y as usize * SIDE + x as usize]) == place + 1;
        let truth = BinaryMask::new(side, side, inside).ok_or("a scene is a picture")?;
        let found = found.map(|found| &answer.detections[found]);
        let mask = found.and_then(|found| found.mask.as_ref()?.binary());
        let task = found.filter(|found| found.mask.is_some()).map(|found| {
            json!({
                "codes": found.mask_codes,
                "locations": found.locations,
                "size_wh": [side, side],
                "truth": truth.rle(),
            })
        });
        asked.push(Asked {
            ours: mask.map_or(0.0, |mask| mask.iou(&truth)),
            task,
        });
    }
    Ok(asked)
}

/// For each thing the detection that overlaps it best, best pairs first, each at most once.
fn partners(things: &[(usize, [f32; 4])], found: &[Detection]) -> Vec<Option<usize>> {
    let mut pairs = Vec::new();
    for (thing, (_, bbox)) in things.iter().enumerate() {
        for (place, detection) in found.iter().enumerate() {
            pairs.push((iou(*bbox, detection.bbox), thing, place));
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut partners = vec![None; things.len()];
    for (_, thing, place) in pairs {
        if partners[thing].is_none() && !partners.contains(&Some(place)) {
            partners[thing] = Some(place);
        }
    }
    partners
}

/// The twin's overlaps, and which PyTorch it ran on.
fn twin(root: &Path, python: &Path, tasks: &[&Value]) -> Outcome<(String, Vec<f64>)> {
    let folder = root.join(".artifacts/masks");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("codes.json");
    let weights = root.join("web/demo/model/vae-oid.safetensors");
    let content = json!({ "weights": weights, "objects": tasks });
    std::fs::write(&file, content.to_string())?;
    let output = Command::new(python)
        .arg(root.join("tests/oracle/mask_scores.py"))
        .arg(&file)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the twin failed: {said}").into());
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let overlaps: Vec<f64> = serde_json::from_value(answer["overlaps"].clone())?;
    if overlaps.len() != tasks.len() {
        return Err("the twin did not answer for every mask".into());
    }
    Ok((answer["torch"].as_str().unwrap_or("?").to_owned(), overlaps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_pairs_find_each_other() {
        let at = |x: f32| [x, 0.0, x + 10.0, 10.0];
        let detection = |x| Detection {
            bbox: at(x),
            ..Detection::default()
        };
        let things = [(0, at(0.0)), (1, at(4.0)), (2, at(50.0))];
        let found = [detection(4.0), detection(1.0)];
        assert_eq!(partners(&things, &found), [Some(1), Some(0), None]);
        assert_eq!(partners(&things, &[]), [None; 3]);
    }
}
