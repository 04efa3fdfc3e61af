use std::path::{Path, PathBuf};

use paligemma_engine::{Answer, Engine, MaskFile, Picture};
use serde_json::{Value, json};

use crate::failure::Failure;

/// How to come by a mask decoder, after what is amiss.
const REMEDY: &str = "put vae-oid.npz beside the model, or name it with --mask-decoder FILE";

/// Reads the file of `--mask-decoder`.
pub(crate) fn decoder(path: Option<&Path>) -> Result<Option<MaskFile>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::mendable(format!(
            "{}: the mask decoder cannot be read ({error}); check the path and its permissions",
            path.display()
        ))
    })?;
    Ok(Some(MaskFile {
        name: path.display().to_string(),
        bytes,
    }))
}

/// Refuses `--masks` where there will be none, before time is spent on an answer.
pub(crate) fn check(folder: Option<&Path>, engine: &Engine) -> Result<(), Failure> {
    if folder.is_some() && !engine.gives_masks() {
        return Err(Failure::mendable(format!(
            "--masks: this model came without a mask decoder; {REMEDY}"
        )));
    }
    Ok(())
}

/// Writes a grey PNG of the first picture's size for every mask, and says where.
pub(crate) fn write(
    folder: &Path,
    answer: &Answer,
    pictures: &[Picture],
) -> Result<Vec<Option<PathBuf>>, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::mendable(format!(
            "{}: the masks cannot be written ({error}); check the path and the free space",
            path.display()
        ))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut files = Vec::with_capacity(answer.detections.len());
    for (index, found) in answer.detections.iter().enumerate() {
        let alpha = found.mask.as_ref().and_then(|mask| mask.alpha());
        let (Some(alpha), Some(picture)) = (alpha, pictures.first()) else {
            files.push(None);
            continue;
        };
        // A label is the model's word, and no file name.
        let path = folder.join(format!("mask_{index:02}.png"));
        let png = alpha.picture_png(picture.width(), picture.height());
        std::fs::write(&path, png).map_err(|error| failed(&path, error))?;
        files.push(Some(path));
    }
    Ok(files)
}

/// What `--json` says of an object's mask beside its label and box.
pub(crate) fn describe(
    object: &mut Value,
    found: &paligemma_engine::Detection,
    file: Option<&PathBuf>,
) {
    let mask = found.mask.as_ref().and_then(|mask| mask.binary());
    if let Some(mask) = mask {
        let rle = mask.rle();
        object["mask"] = json!({ "size": rle.size, "counts": rle.counts });
    }
    if let Some(file) = file {
        object["mask_png"] = json!(file.display().to_string());
    }
}

/// A remark, for a person, on masks that the answer has and that nothing decodes.
pub(crate) fn remark(answer: &Answer, engine: &Engine) -> Option<String> {
    let codes = |found: &paligemma_engine::Detection| found.mask_codes.is_some();
    let has_codes = answer.detections.iter().any(codes);
    (has_codes && !engine.gives_masks()).then(|| {
        format!("the answer has masks and this model came without a mask decoder; {REMEDY}")
    })
}
