//! Whether scores order boxes usefully: the demo model looks for things in scenes that are harder
//! than those it was trained on, and the average precision with scores is held against that
//! without. Writes `benches/SCORES.md`. `cargo xtask scores` runs it.
#![allow(
    clippy::print_stdout,
    reason = "a command for people: standard output is its interface"
)]

mod combination;
mod precision;
mod scene;
mod table;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use paligemma_engine::{
    CancelToken, Engine, Folder, Generation, Gpu, GpuOptions, LoadOptions, Prompt, RunRequest,
};

use crate::precision::Found;
use crate::scene::{CONDITIONS, Scene};
use crate::table::Report;

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "Usage: scores [--scenes N]

  --scenes N   how many scenes to look at under each condition (100)";

/// The first scene's seed; the others follow it.
const FIRST_SEED: u32 = 50_000;
/// About twice what three things with their boxes take.
const MAX_NEW_TOKENS: usize = 64;

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
    let args: Vec<String> = args.into_iter().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(100),
        ["--scenes", value] => match value.parse() {
            Ok(number @ 1..=100_000) => Ok(number),
            _ => Err(format!(
                "`{value}` is no number of scenes: give one from 1 to 100000."
            )),
        },
        _ => Err(format!("`{}` is not understood.", args.join(" "))),
    }
}

fn measure(scenes: u32) -> Outcome<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let adapter = pollster::block_on(Gpu::open(&GpuOptions::default()))?
        .info()
        .clone();
    let source = Folder::new(root.join("web/demo/model"));
    let mut engine =
        pollster::block_on(Engine::load(source, &LoadOptions::default(), &mut |_| ()))?;
    let sprites = root.join("web/demo/sprites");
    let started = Instant::now();
    let mut found: Vec<Found> = Vec::new();
    let mut expected = [0; CONDITIONS.len()];
    for index in 0..scenes {
        for (condition, expected) in expected.iter_mut().enumerate() {
            let seed = FIRST_SEED + index;
            let scene = Scene::compose(&sprites, seed, condition)?;
            let number = index as usize * CONDITIONS.len() + condition;
            *expected += scene.expected();
            found.extend(look(&mut engine, &scene, number, condition)?);
        }
        let (done, seconds) = (index + 1, started.elapsed().as_secs());
        if done.is_multiple_of(10) || done == scenes {
            println!("{done} of {scenes} scenes, {seconds} s");
        }
    }
    keep(&root.join(".artifacts/scores.jsonl"), &found)?;

    let report = Report {
        date: time::OffsetDateTime::now_utc().date().to_string(),
        adapter: format!("{} ({})", adapter.name, adapter.backend),
        scenes,
        first_seed: FIRST_SEED,
        expected,
        found,
    };
    let text = table::markdown(&report);
    let file = root.join("benches/SCORES.md");
    fs::write(&file, &text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    println!("\n{text}");
    Ok(())
}

/// What the model finds in a scene, and how it meets the truth.
fn look(
    engine: &mut Engine,
    scene: &Scene,
    number: usize,
    condition: usize,
) -> Outcome<Vec<Found>> {
    let request = RunRequest {
        pictures: std::slice::from_ref(&scene.picture),
        prompt: Prompt::Text(&scene.prompt),
        max_new_tokens: MAX_NEW_TOKENS,
    };
    let never = CancelToken::default();
    let greedy = Generation::default();
    let answer = pollster::block_on(engine.generate(&request, &greedy, &never, &mut |_| ()))?;
    let mut found = Vec::new();
    for ((detection, evidence), score) in answer
        .detections
        .iter()
        .zip(&answer.evidence)
        .zip(&answer.scores)
    {
        let evidence = evidence.ok_or("an object of an answer has no evidence")?;
        found.push(Found {
            scene: number,
            condition,
            overlaps: scene.overlaps(detection),
            evidence,
            score: *score,
        });
    }
    Ok(found)
}

/// Every object, for a closer look.
fn keep(file: &Path, found: &[Found]) -> Outcome<()> {
    let lines: Vec<String> = found
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(file, lines.join("\n") + "\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read_or_refused_by_name() {
        let parsed = |line: &str| arguments(line.split_whitespace().map(str::to_owned));
        assert_eq!(parsed(""), Ok(100));
        assert_eq!(parsed("--scenes 60"), Ok(60));
        for (line, named) in [
            ("--scenes", "--scenes"),
            ("--scenes 0", "`0`"),
            ("--fresh", "--fresh"),
        ] {
            let problem = parsed(line).expect_err(line);
            assert!(problem.contains(named), "{line}: {problem}");
        }
    }
}
