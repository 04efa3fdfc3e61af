//! Our engine and its peers, one after the other on one machine, with one model and one question.
#![allow(
    clippy::print_stdout,
    reason = "a command for people: standard output is its interface"
)]

mod browser;
mod entry;
mod machine;
mod native;
mod options;
mod prepare;
mod sample;

use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;

use options::{Options, Where};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "Usage: compare browser|native [options]

  browser        in headless Chromium, against Transformers.js
  native         the native command, against transformers and candle
  --shape NAME   paligemma2-small, paligemma2-mid; natively also paligemma-small, paligemma-mid,
                 which candle can run
  --model DIR    natively, a checkpoint of your own in place of a made-up one
  --engines A,B  which: ours, webgpu, wasm; ours, torch, candle, torch-cuda, torch-cuda-compiled
  --precision P  f32 or q4 (f32)
  --tokens N     new tokens of an answer (16)
  --runs N       runs of each engine, in turns (3)
  --out FILE     the results, to the top of which the entry goes; without it, it is only printed
  --quick        says that our side is compiled as the tests are
  --fresh        make checkpoint and export again";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match compare(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Outcome<()> {
    let prepared = prepare::prepare(options)?;
    let load = machine::load();
    let measured = match options.place {
        Where::Browser => browser::measure(options, &prepared)?,
        Where::Native => native::measure(options, &prepared)?,
    };
    if let [side, ..] = measured.sides.as_slice()
        && measured.sides.iter().all(|side| side.samples.is_empty())
    {
        let failure = side.failures.first().cloned();
        return Err(failure.unwrap_or_default().into());
    }
    let date = time::OffsetDateTime::now_utc().date().to_string();
    let text = entry::entry(&date, options, &prepared, &load, &measured);
    println!("{text}");
    let Some(file) = &options.out else {
        return Ok(());
    };
    let before = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| format!("{}: {error}", file.display()))?,
    };
    std::fs::write(file, entry::prepended(&before, &text))
        .map_err(|error| format!("{}: {error}", file.display()).into())
}
