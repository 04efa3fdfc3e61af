use std::path::{Path, PathBuf};

use paligemma_engine::{
    Answer, CancelToken, Engine, Event, Folder, GpuOptions, LoadOptions, MaskFile, ModelOptions,
    Picture, ProcessorWarning, Prompt, RunRequest,
};
use paligemma_tasks::referred;
use serde_json::json;

use crate::adapter;
use crate::args::{Input, RunArgs};
use crate::failure::{Failure, print, remark, whole};
use crate::masks;
use crate::progress::Progress;
use crate::tuning;

/// `paligemma run`.
pub(crate) async fn run(args: &RunArgs) -> Result<(), Failure> {
    let progress = Progress::new();
    let decoder = masks::decoder(args.mask_decoder.as_deref())?;
    let (mut engine, pictures) = open(&args.input, decoder, &progress).await?;
    masks::check(args.masks.as_deref(), &engine)?;
    let request = RunRequest {
        pictures: &pictures,
        prompt: prompt(&args.input),
        max_new_tokens: args.max_new_tokens,
    };
    let options = args.generation.options();
    let mut warnings = Vec::new();
    let answer = engine
        .generate(&request, &options, &CancelToken::default(), &mut |event| {
            match event {
                // With --json nothing but errors is said beside the object.
                Event::Warning { warning } if args.json => warnings.push(warning),
                event => progress.show(&event),
            }
        })
        .await
        .map_err(|error| Failure::about(&args.input.model, &error))?;
    drop(progress);
    let files = match &args.masks {
        Some(folder) => masks::write(folder, &answer, &pictures)?,
        None => Vec::new(),
    };
    if args.json {
        return print(&as_json(
            &answer,
            &engine,
            &files,
            &warnings,
            args.logprobs,
        )?);
    }
    if let Some(sentence) = masks::remark(&answer, &engine) {
        remark(&sentence);
    }
    let asked = args.input.prompt.as_deref().unwrap_or_default();
    print(&as_text(&answer, referred(asked), &files))
}

/// Reads the pictures first: they are quick to refuse, and loading is not.
pub(crate) async fn open(
    input: &Input,
    mask_decoder: Option<MaskFile>,
    progress: &Progress,
) -> Result<(Engine, Vec<Picture>), Failure> {
    let pictures = input
        .images
        .iter()
        .map(|path| picture(path))
        .collect::<Result<Vec<_>, _>>()?;
    if !input.model.is_dir() {
        return Err(Failure::mendable(format!(
            "{} is not a folder; give the folder of a checkpoint, with its config.json, \
             safetensors and tokenizer.json, or of a packed model",
            input.model.display()
        )));
    }
    whole(&input.model)?;
    let options = LoadOptions {
        gpu: GpuOptions {
            tuning: input.tuning.options(),
            ..GpuOptions::default()
        },
        model: ModelOptions {
            sliding_window: !input.no_sliding_window,
            recipe: input.recipe.clone(),
            cache: input.kv_cache,
        },
        mask_decoder,
    };
    let adapter = adapter::open(input.adapter.as_deref()).await?;
    let model = Folder::new(&input.model);
    let engine = Engine::load_adapted(model, adapter, &options, &mut |event| {
        progress.show(&event);
    })
    .await
    .map_err(|error| Failure::about(&input.model, &error))?;
    if let Some(tuned) = engine.tuned() {
        // Where it cannot be kept, the next run measures again; nobody waits long for that.
        let _ = tuning::keep(&tuned);
    }
    Ok((engine, pictures))
}

fn picture(path: &Path) -> Result<Picture, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::mendable(format!(
            "{}: the picture cannot be read ({error}); check the path and its permissions",
            path.display()
        ))
    })?;
    Picture::decode(&bytes).map_err(|error| Failure::about(path, &error))
}

/// A prompt is trimmed: a trailing newline, as a shell script easily adds, would change its tokens.
pub(crate) fn prompt(input: &Input) -> Prompt<'_> {
    match (&input.prompt_ids, &input.prompt) {
        (Some(ids), _) => Prompt::Ids(ids),
        (None, text) => Prompt::Text(text.as_deref().unwrap_or_default().trim()),
    }
}

fn as_json(
    answer: &Answer,
    engine: &Engine,
    mask_files: &[Option<PathBuf>],
    warnings: &[ProcessorWarning],
    logprobs: bool,
) -> Result<String, Failure> {
    let adapter = engine.adapter();
    let failed =
        |error| Failure::other(format!("the answer could not be written as JSON ({error})"));
    let mut object = serde_json::to_value(answer).map_err(failed)?;
    let detections = answer.detections.iter().zip(&answer.scores).enumerate();
    object["detections"] = detections
        .map(|(index, (found, score))| {
            let mut object = json!({ "label": found.label, "box": found.bbox, "score": score });
            let file = mask_files.get(index).and_then(Option::as_ref);
            masks::describe(&mut object, found, file);
            object
        })
        .collect();
    if let Some(fields) = object.as_object_mut().filter(|_| !logprobs) {
        fields.remove("logprobs");
    }
    object["warnings"] = warnings
        .iter()
        .map(|warning| json!({ "kind": warning.kind(), "text": warning.to_string() }))
        .collect();
    object["adapter"] = json!({
        "name": adapter.name,
        "backend": adapter.backend,
        "is_software": adapter.is_software,
    });
    serde_json::to_string(&object)
        .map(|text| text + "\n")
        .map_err(failed)
}

/// An object without a label is `referred`, what the prompt refers to.
fn as_text(answer: &Answer, referred: Option<&str>, mask_files: &[Option<PathBuf>]) -> String {
    use std::fmt::Write as _;
    let mut out = format!("{}\n", answer.text);
    let scored = answer.detections.iter().zip(&answer.scores);
    for (index, (found, score)) in scored.enumerate() {
        let [x0, y0, x1, y1] = found.bbox;
        let label = match found.label.as_str() {
            "" => referred.unwrap_or("(no label)"),
            label => label,
        };
        let _ = write!(out, "{label}\t{x0:.1} {y0:.1} {x1:.1} {y1:.1}\t{score:.3}");
        if let Some(Some(file)) = mask_files.get(index) {
            let _ = write!(out, "\t{}", file.display());
        }
        out.push('\n');
    }
    out
}
