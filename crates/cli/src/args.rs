use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use paligemma_engine::Recipe;

/// Runs PaliGemma and PaliGemma 2 on this machine's GPU; nothing leaves it.
#[derive(Parser)]
#[command(name = "paligemma", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 2 something about the input that you can mend \
                          (said in one sentence on stderr); 1 anything else.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Answer a prompt about one or more pictures
    Run(RunArgs),
    /// Write every tensor of one forward pass to a safetensors file
    Forward(ForwardArgs),
    /// Pack a checkpoint's weights by a recipe, into a folder that loads quickly and can be
    /// published anywhere static; run it again to go on after an interruption
    Convert(ConvertArgs),
    /// Say what a model is, how large under each recipe, and what would not fit this GPU
    Inspect(InspectArgs),
}

#[derive(ClapArgs)]
pub(crate) struct Input {
    /// Folder of a checkpoint as it is published (config.json, *.safetensors, tokenizer.json), or
    /// of a packed model (manifest.json)
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Picture (PNG, JPEG, WebP, GIF, BMP); repeat it for prompts about several
    #[arg(long = "image", value_name = "FILE", required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// Prompt, e.g. "detect cat ; dog", "caption en", "answer en what is this?"
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "prompt_ids",
        conflicts_with = "prompt_ids",
        allow_hyphen_values = true
    )]
    pub(crate) prompt: Option<String>,
    /// Token ids instead of a prompt, image tokens included: 257152,…,2,26846,108
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) prompt_ids: Option<Vec<u32>>,
    /// Let Gemma 2 see everything in every layer, as it was trained; by default every other layer
    /// sees a sliding window, as in transformers. It matters only to answers past the window, 4096
    /// tokens in the released checkpoints
    #[arg(long)]
    pub(crate) no_sliding_window: bool,
    /// Precision of the weights on the GPU; they are packed while they load. Without it they stay
    /// as they are stored; a packed model has its own
    #[arg(long, value_name = "NAME", value_parser = recipe)]
    pub(crate) recipe: Option<Recipe>,
}

#[derive(ClapArgs)]
#[command(after_help = JSON)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Most tokens to generate; memory for their keys and values is set aside at once
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_new_tokens: usize,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// The mask decoder's weights, vae-oid.npz or safetensors with the same names; by default
    /// vae-oid.npz or vae-oid.safetensors beside the model, or in its folder codec
    #[arg(long, value_name = "FILE")]
    pub(crate) mask_decoder: Option<PathBuf>,
    /// Folder for the masks of a `segment` answer: mask_00.png for the first object and so on,
    /// grey, as large as the first picture, soft at the edges
    #[arg(long, value_name = "DIR")]
    pub(crate) masks: Option<PathBuf>,
}

const JSON: &str = "With --json: text; token_ids (generated, without the end token); stopped \
                    (\"eos\" or \"length\"); detections (label, box [x0, y0, x1, y1] in pixels of \
                    the first picture as a person sees it; where the answer has mask codes and \
                    there is a mask decoder, mask, the object's pixels as COCO's compressed runs \
                    {size: [height, width], counts}; with --masks, mask_png, the file); timings \
                    (load_ms, vision_ms, prefill_ms, decode_ms, tokens_per_second); adapter.";

#[derive(ClapArgs)]
pub(crate) struct ForwardArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// File to write
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) out: PathBuf,
}

#[derive(ClapArgs)]
pub(crate) struct ConvertArgs {
    /// Folder of a checkpoint as it is published
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// How to pack the weights
    #[arg(long, value_name = "NAME", default_value = "q4", value_parser = recipe)]
    pub(crate) recipe: Recipe,
    /// Folder to write to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Hub repository the checkpoint came from, for the manifest: google/paligemma2-3b-mix-224
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Option<String>,
    /// Commit of that repository, for the manifest
    #[arg(long, value_name = "HEX", requires = "repository")]
    pub(crate) commit: Option<String>,
}

#[derive(ClapArgs)]
pub(crate) struct InspectArgs {
    /// Folder of a checkpoint, of its config.json alone, or of a packed model
    #[arg(value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Precision for which to say what would not fit the GPU; a packed model has its own
    #[arg(long, value_name = "NAME", value_parser = recipe)]
    pub(crate) recipe: Option<Recipe>,
}

fn recipe(name: &str) -> Result<Recipe, String> {
    Recipe::named(name).ok_or_else(|| {
        let known: Vec<&str> = Recipe::ALL.iter().map(|recipe| recipe.name).collect();
        format!(
            "there is no such recipe; choose one of {}",
            known.join(", ")
        )
    })
}
