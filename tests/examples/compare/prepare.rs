//! The model, the picture and what the answer should be.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Outcome;
use crate::options::{Options, Where};

/// The question.
pub(crate) const PROMPT: &str = "caption en";

/// What both sides are given.
pub(crate) struct Prepared {
    /// `model/`, `picture.png`, `inputs.safetensors`; for the browser `onnx/`.
    pub(crate) folder: PathBuf,
    pub(crate) model: PathBuf,
    /// transformers' greedy ids in f32.
    pub(crate) ids: Vec<u64>,
    /// How far the best logit was ahead of the second at the narrowest step.
    pub(crate) gap: f64,
    /// By how much the export's logits differ from transformers' at most.
    pub(crate) onnx_apart: Option<f64>,
}

/// Makes a checkpoint, its export and its answer, or takes those of an earlier time.
///
/// # Errors
/// If a script fails, or the export answers otherwise than transformers.
pub(crate) fn prepare(options: &Options) -> Outcome<Prepared> {
    let peers = folder("PALIGEMMA_PEERS")?;
    let base = match &options.model {
        Some(_) => "own".to_owned(),
        None => options.shape.clone(),
    };
    let folder = folder("PALIGEMMA_WORK")?.join(base);
    if options.fresh || options.model.is_some() {
        remove(&folder)?;
    }
    let made = options.model.clone();
    let model = made.unwrap_or_else(|| folder.join("model"));
    let picture = folder.join("picture.png");
    std::fs::create_dir_all(&folder)?;
    let script = |name: &str| peers.join(name);
    if options.model.is_some() {
        // A picture of any size: every engine is given the same pixel values or resizes it.
        std::fs::copy(self::folder("PALIGEMMA_PICTURE")?, &picture)?;
    } else if !picture.is_file() {
        remove(&model)?;
        let arguments = [OsStr::new(&options.shape), folder.as_os_str()];
        python(&script("checkpoint.py"), &arguments)?;
    }
    let export = folder.join("onnx");
    let exported = options.place == Where::Browser;
    if exported && !export.join("tokenizer.json").is_file() {
        remove(&export)?;
        let arguments = [model.as_os_str(), export.as_os_str(), OsStr::new("--q4")];
        python(&script("onnx_export.py"), &arguments)?;
    }
    let tokens = options.tokens.to_string();
    let mut arguments = vec![model.as_os_str(), picture.as_os_str(), folder.as_os_str()];
    arguments.extend(["--prompt", PROMPT, "--tokens", &tokens].map(OsStr::new));
    if exported {
        arguments.extend([OsStr::new("--onnx"), export.as_os_str()]);
    }
    python(&script("reference.py"), &arguments)?;
    let reference = std::fs::read(folder.join("reference.json"))?;
    let reference: Value = serde_json::from_slice(&reference)?;
    let ids = reference["ids"].as_array().into_iter().flatten();
    Ok(Prepared {
        ids: ids.filter_map(Value::as_u64).collect(),
        gap: reference["gap"].as_f64().unwrap_or(0.0),
        onnx_apart: reference["onnx_apart"].as_f64(),
        folder,
        model,
    })
}

/// A folder that `cargo xtask` names.
///
/// # Errors
/// If it does not.
pub(crate) fn folder(variable: &str) -> Outcome<PathBuf> {
    let named = std::env::var_os(variable);
    let named = named.ok_or_else(|| format!("{variable} names nothing; `cargo xtask` sets it"))?;
    Ok(PathBuf::from(named))
}

fn remove(folder: &Path) -> Outcome<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Runs a script of `tests/peers` in its Python.
fn python(script: &Path, arguments: &[&OsStr]) -> Outcome<()> {
    let mut command = Command::new(folder("PALIGEMMA_PYTHON")?);
    command.arg(script).args(arguments);
    println!("{}", script.display());
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let answered = String::from_utf8_lossy(&output.stdout);
    Err(format!("{} failed: {answered}\n{said}", script.display()).into())
}
