//! On the machine itself: the native command, transformers and candle, each run in a fresh process.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Outcome;
use crate::machine::{commit, machine};
use crate::options::{Engine, Options};
use crate::prepare::{PROMPT, Prepared, folder};
use crate::sample::{Measured, Sample, Side};

/// # Errors
/// If an engine fails.
pub(crate) fn measure(options: &Options, prepared: &Prepared) -> Outcome<Measured> {
    let mut sides: Vec<Side> = engines(options, prepared)?
        .into_iter()
        .map(Side::new)
        .collect();
    let mut adapter = String::new();
    for run in 0..options.runs {
        // Another one begins each time.
        for turn in 0..sides.len() {
            let count = sides.len();
            let side = &mut sides[(run + turn) % count];
            let ran = one(options, prepared, side.engine)
                .and_then(|outcome| Ok((Sample::read(&outcome)?, outcome)));
            let (sample, outcome) = match ran {
                Ok(ran) => ran,
                Err(error) => {
                    println!("{} {}: {error}", run + 1, side.engine.title());
                    side.failures.push(error.to_string());
                    continue;
                }
            };
            println!("{} {}: {sample:?}", run + 1, side.engine.title());
            side.about = about(options, side.engine, &outcome);
            if let Some(name) = outcome["adapter"]["name"].as_str() {
                let backend = outcome["adapter"]["backend"].as_str().unwrap_or_default();
                adapter = format!("{name}, {backend}");
            }
            side.samples.push(sample);
        }
    }
    Ok(Measured {
        conditions: vec![("machine", machine()), ("our adapter", adapter)],
        sides,
    })
}

/// candle knows the first PaliGemma only; CUDA is where torch sees it.
fn engines(options: &Options, prepared: &Prepared) -> Outcome<Vec<Engine>> {
    let config = std::fs::read(prepared.model.join("config.json"))?;
    let config: Value = serde_json::from_slice(&config)?;
    let second = config["text_config"]["model_type"] == "gemma2";
    let whole = prepared.model.join("model.safetensors").is_file();
    if options.names(Engine::Candle) && (second || !whole) {
        return Err("candle runs the first PaliGemma, from one model.safetensors, only".into());
    }
    let cuda = Command::new(folder("PALIGEMMA_PYTHON")?)
        .args([
            "-c",
            "import torch; raise SystemExit(not torch.cuda.is_available())",
        ])
        .status()?
        .success();
    let possible = [
        (Engine::Ours, true),
        (Engine::Torch, !cuda || options.names(Engine::Torch)),
        (Engine::Candle, !second && whole),
        (Engine::TorchCuda, cuda),
        (Engine::TorchCudaCompiled, cuda),
    ];
    for (engine, possible) in possible {
        if options.names(engine) && !possible {
            return Err(format!("{} cannot run here: torch sees no GPU", engine.name()).into());
        }
    }
    let possible = possible.into_iter().filter(|&(_, possible)| possible);
    let engines = possible.map(|(engine, _)| engine);
    Ok(engines.filter(|&engine| options.wants(engine)).collect())
}

fn one(options: &Options, prepared: &Prepared, engine: Engine) -> Outcome<Value> {
    match engine {
        Engine::Ours => ours(options, prepared),
        Engine::Candle => {
            let mut command = Command::new(folder("PALIGEMMA_CANDLE")?);
            command
                .arg(&prepared.model)
                .arg(prepared.folder.join("inputs.safetensors"))
                .args([options.tokens.to_string(), "2".to_owned()]);
            run(&mut command)
        }
        _ => {
            let mut command = torch(options, prepared)?;
            if engine != Engine::Torch {
                command.args(["--device", "cuda", "--dtype", "bfloat16"]);
            }
            if engine == Engine::TorchCudaCompiled {
                command.arg("--compiled");
            }
            run(&mut command)
        }
    }
}

fn torch(options: &Options, prepared: &Prepared) -> Outcome<Command> {
    let script: PathBuf = folder("PALIGEMMA_PEERS")?.join("torch_run.py");
    let mut command = Command::new(folder("PALIGEMMA_PYTHON")?);
    command
        .arg(script)
        .arg(&prepared.model)
        .arg(prepared.folder.join("inputs.safetensors"))
        .args(["--tokens", &options.tokens.to_string(), "--answers", "2"]);
    Ok(command)
}

/// The command answers once, and says how long its stages took.
fn ours(options: &Options, prepared: &Prepared) -> Outcome<Value> {
    let mut command = Command::new(folder("PALIGEMMA_COMMAND")?);
    command
        .args(["run", "--json", "--prompt", PROMPT, "--model"])
        .arg(&prepared.model)
        .arg("--image")
        .arg(prepared.folder.join("picture.png"))
        .args(["--max-new-tokens", &options.tokens.to_string()]);
    if options.q4 {
        command.args(["--recipe", "q4"]);
    }
    let answer = run(&mut command)?;
    let stage = |name: &str| answer["timings"][name].as_f64().unwrap_or(f64::NAN);
    let first = stage("vision_ms") + stage("prefill_ms");
    let ids = answer["token_ids"].as_array().map_or(0, Vec::len);
    let per_token = stage("decode_ms") / ids.saturating_sub(1) as f64;
    let times: Vec<f64> = (0..ids).map(|i| first + per_token * i as f64).collect();
    Ok(json!({
        "load_ms": stage("load_ms"),
        "answers": [{"token_ms": times, "ids": answer["token_ids"]}],
        "adapter": answer["adapter"],
    }))
}

fn about(options: &Options, engine: Engine, outcome: &Value) -> String {
    let text = |name: &str| outcome[name].as_str().unwrap_or_default();
    match engine {
        Engine::Ours => format!("{}, {}, one answer a process", commit(), options.build()),
        Engine::Candle => format!("candle-transformers 0.11.1, {}", text("device")),
        _ => format!(
            "transformers {}, torch {}, {}, {} threads, attention {}, computed: {}",
            text("transformers"),
            text("torch"),
            text("device"),
            outcome["threads"],
            text("attention"),
            text("computed"),
        ),
    }
}

/// Runs a program that prints JSON, on the last line.
fn run(command: &mut Command) -> Outcome<Value> {
    let output = command.stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let problem = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {problem}").into());
    }
    let line = said.lines().last().unwrap_or_default();
    Ok(serde_json::from_str(line)?)
}
