use std::fmt::Write as _;
use std::path::Path;

use paligemma_engine::Inspection;
use paligemma_tasks::{Checkpoint, Stage, Template};

/// What a model is asked, as `paligemma inspect` lists it. Which model it is is read from where a
/// packed one came from, or else from the folder's name.
pub(crate) fn describe(folder: &Path, found: &Inspection) -> String {
    let origin = found.packed.as_ref().map(|plan| &plan.origin);
    let repository = origin.and_then(|origin| origin.repository.clone());
    // A folder given as `.` has no name of its own.
    let path = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = repository.unwrap_or_else(|| path.display().to_string());
    let known = Checkpoint::named(&name);
    let mut out = match known.map(|known| known.stage) {
        Some(Stage::PreTrained) => "prompts     of a pre-trained checkpoint\n".to_owned(),
        Some(Stage::Mix) => "prompts     of a mix checkpoint\n".to_owned(),
        Some(Stage::FineTuned(task)) => {
            format!("prompts     of one fine-tuned for {}\n", task.title)
        }
        None => "prompts     of a mix checkpoint, as the name says nothing\n".to_owned(),
    };
    for template in paligemma_tasks::templates(&name) {
        out.push_str(&line(template));
    }
    out
}

fn line(template: &Template) -> String {
    let prompt = template.prompt.replace('\n', "\\n").replace('\t', "\\t");
    let mut out = format!(
        "  {:<14}  {prompt}  (at most {} tokens",
        template.title, template.max_new_tokens
    );
    if template.pictures > 1 {
        let _ = write!(out, ", {} pictures", template.pictures);
    }
    out.push_str(")\n");
    if !template.note.is_empty() {
        let _ = writeln!(out, "  {:<14}  {}", "", template.note);
    }
    out
}
