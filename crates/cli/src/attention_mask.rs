use std::io::IsTerminal as _;
use std::path::Path;

use paligemma_engine::{Folder, MaskRequest, attention_mask};

use crate::args::MaskArgs;
use crate::failure::{Failure, print};

/// `paligemma mask`.
pub(crate) async fn mask(args: &MaskArgs) -> Result<(), Failure> {
    let request = MaskRequest {
        prompt: &args.prompt,
        suffix: &args.suffix,
        images: args.images,
        image_tokens: args.image_tokens.0,
        window: args.window.map(std::num::NonZeroUsize::get),
    };
    let mask = attention_mask(Folder::new(&args.model), &request)
        .await
        .map_err(|error| Failure::about(&args.model, &error))?;
    let title = format!(
        "paligemma:{} PaliGemmaForConditionalGeneration",
        name(&args.model)
    );
    if let Some(path) = &args.svg {
        std::fs::write(path, mask.to_svg(&title)).map_err(|error| {
            Failure::mendable(format!(
                "{}: the drawing cannot be written ({error}); check the path and the free space",
                path.display()
            ))
        })?;
    }
    print(&mask.to_text(&title, colour()))
}

/// Colours are for people: on a terminal, unless they asked for none (<https://no-color.org>).
fn colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    std::io::stdout().is_terminal() && !unwanted && !dumb
}

/// What the folder is called.
fn name(folder: &Path) -> String {
    let whole = folder.canonicalize();
    let whole = whole.as_deref().unwrap_or(folder);
    whole
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
