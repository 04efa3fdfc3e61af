use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use paligemma_engine::{CachePrecision, Recipe};

use crate::bench::BenchArgs;
use crate::generation::GenerationArgs;
use crate::tuning::TuningArgs;

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
    /// Draw where the model looked when it chose a token of its answer
    Attention(AttentionArgs),
    /// Pack a checkpoint's weights by a recipe, into a folder that loads quickly and can be
    /// published anywhere static; run it again to go on after an interruption
    Convert(ConvertArgs),
    /// Say what a model is, how large under each recipe, and what would not fit this GPU
    Inspect(InspectArgs),
    /// Show which tokens of a prompt and its answer attend to which; no weight is read
    Mask(MaskArgs),
    /// Measure how fast a model is on this machine, and how near that is to what the GPU can do
    Bench(BenchArgs),
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
    /// Keep keys and values as f32, f16 or int8; without it f16 beside quantized weights, else f32.
    /// int8 takes about half the memory of f16 and is felt a little
    #[arg(long, value_name = "TYPE", value_parser = kv_cache)]
    pub(crate) kv_cache: Option<CachePrecision>,
    /// Folder of a LoRA adapter in PEFT's format (adapter_config.json, adapter_model.safetensors),
    /// merged into the weights while they load; the model must be the checkpoint it was trained on,
    /// not packed
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tuning: TuningArgs,
}

#[derive(ClapArgs)]
#[command(after_help = JSON)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Most tokens to generate; memory for their keys and values is set aside at once
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) generation: GenerationArgs,
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
    /// With --json: the log-probability of every generated token
    #[arg(long, requires = "json")]
    pub(crate) logprobs: bool,
}

const JSON: &str = "With --json: text; token_ids (generated, without the end token); stopped \
                    (\"eos\" or \"length\"); detections (label, box [x0, y0, x1, y1] in pixels of \
                    the first picture as a person sees it, score from 0 to 1; where the answer has \
                    mask codes and there is a mask decoder, mask, the object's pixels as COCO's \
                    compressed runs {size: [height, width], counts}; with --masks, mask_png, the \
                    file); scores (the same, alone); timings (load_ms, vision_ms, prefill_ms, \
                    decode_ms, tokens_per_second); warnings (what about the prompt or \
                    the model's files is probably not meant: kind, text; without --json they are \
                    said on stderr); adapter. With --logprobs also logprobs: natural \
                    logarithms of the model's own probabilities of token_ids, and of the end token \
                    if it came.";

#[derive(ClapArgs)]
#[command(after_help = TENSORS)]
pub(crate) struct ForwardArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// The answer to learn from, without its end token: adds labels and loss
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) suffix: Option<String>,
    /// Write attention weights of every layer too
    #[arg(long)]
    pub(crate) attentions: bool,
    /// Write the logits of the last N tokens only; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) logits_to_keep: usize,
    /// File to write
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) out: PathBuf,
}

const TENSORS: &str = "The file has input_ids, token_type_ids, pixel_values; vision.embeddings, \
                       vision.layer_out.i, vision.last_hidden_state, image_features; \
                       text.inputs_embeds, text.layer_out.i, text.final_norm, logits; cache.k.i, \
                       cache.v.i; with --suffix labels and loss; with --attentions \
                       vision.attentions.i and text.attentions.i. The batch comes first. In \
                       transformers' hidden_states, 0 is text.inputs_embeds, i + 1 is \
                       text.layer_out.i, and the last is text.final_norm.";

#[derive(ClapArgs)]
pub(crate) struct AttentionArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_new_tokens: usize,
    /// Which token of the answer, from 0; without it they are listed
    #[arg(long, value_name = "N", requires = "out")]
    pub(crate) token: Option<usize>,
    /// Which layer of the decoder, from 0; without it the mean of all
    #[arg(long, value_name = "N", requires = "token")]
    pub(crate) layer: Option<usize>,
    /// Which head, from 0; without it the mean of all
    #[arg(long, value_name = "N", requires = "token")]
    pub(crate) head: Option<usize>,
    /// Which of several pictures, from 0
    #[arg(long, value_name = "N", default_value_t = 0, requires = "token")]
    pub(crate) picture: usize,
    /// PNG to write: the picture with the attention over it
    #[arg(long, value_name = "FILE.png", requires = "token")]
    pub(crate) out: Option<PathBuf>,
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
    /// Folder of a LoRA adapter in PEFT's format, merged into the weights before they are packed
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
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
    /// Folder of a LoRA adapter in PEFT's format: what it is, and whether it fits the model
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
}

#[derive(ClapArgs)]
#[command(after_help = MASK)]
pub(crate) struct MaskArgs {
    /// Folder of a checkpoint or of a packed model; config.json and tokenizer.json will do
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Prompt, taken as it is; <image> or <img> in it stands for a picture
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: String,
    /// Answer, to which the end token is added
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub(crate) suffix: String,
    /// Pictures, where the prompt names none
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) images: usize,
    /// Tokens a picture has in the drawing, or `all` for as many as the model has
    #[arg(long, value_name = "N", default_value = "5", value_parser = image_tokens)]
    pub(crate) image_tokens: ImageTokens,
    /// Show layers with a sliding window of this many positions beside the others
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<NonZeroUsize>,
    /// File to write the mask to as a drawing, beside the text
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) svg: Option<PathBuf>,
}

const MASK: &str = "A row is a token that attends, a column one that is attended to. Colours are \
                    used on a terminal only, and not if NO_COLOR is set.";

/// Tokens a picture has in a drawing; none: all of them.
#[derive(Clone, Copy)]
pub(crate) struct ImageTokens(pub(crate) Option<usize>);

fn image_tokens(text: &str) -> Result<ImageTokens, String> {
    match text {
        "all" => Ok(ImageTokens(None)),
        number => number
            .parse::<NonZeroUsize>()
            .map(|number| ImageTokens(Some(number.get())))
            .map_err(|_| "it is neither a number from 1 nor `all`".to_owned()),
    }
}

pub(crate) fn kv_cache(name: &str) -> Result<CachePrecision, String> {
    match name {
        "f32" => Ok(CachePrecision::F32),
        "f16" => Ok(CachePrecision::F16),
        "int8" => Ok(CachePrecision::Int8),
        _ => Err("keys and values are kept as f32, f16 or int8".to_owned()),
    }
}

pub(crate) fn recipe(name: &str) -> Result<Recipe, String> {
    Recipe::named(name).ok_or_else(|| {
        let known: Vec<&str> = Recipe::ALL.iter().map(|recipe| recipe.name).collect();
        format!(
            "there is no such recipe; choose one of {}",
            known.join(", ")
        )
    })
}
