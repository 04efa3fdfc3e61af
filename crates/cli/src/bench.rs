use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use clap::builder::BoolishValueParser;
use paligemma_engine::{
    Bench, BenchOptions, BenchReport, CachePrecision, CancelToken, ChosenBy, Engine, EngineError,
    Event, Folder, GpuError, GpuOptions, LoadOptions, ModelOptions, Published, Recipe, Tune, Tuned,
};
use time::OffsetDateTime;

use crate::args::{kv_cache, recipe};
use crate::failure::{Failure, print, remark, whole};
use crate::progress::Progress;
use crate::tuning::{self, TuningArgs};

#[derive(ClapArgs)]
#[command(after_help = FIGURES)]
pub(crate) struct BenchArgs {
    /// Shape of a published checkpoint, whose weights are made up on the GPU:
    /// paligemma2-3b-224 and its like; no file is needed
    #[arg(
        long,
        value_name = "NAME",
        value_parser = shape,
        conflicts_with = "model"
    )]
    shape: Option<Published>,
    /// Folder of a checkpoint or of a packed model to measure instead
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Precision of the weights; q4 for a shape, as they are stored for a checkpoint. A packed
    /// model has its own
    #[arg(long, value_name = "NAME", value_parser = recipe)]
    recipe: Option<Recipe>,
    /// Keep keys and values as f32, f16 or int8; without it f16 beside quantized weights, else f32
    #[arg(long, value_name = "TYPE", value_parser = kv_cache)]
    kv_cache: Option<CachePrecision>,
    /// Of a shape only so many layers of each tower, where the whole takes too long: the figures
    /// are then of such a model, and say so
    #[arg(long, value_name = "N", conflicts_with = "model")]
    layers: Option<NonZeroUsize>,
    /// Runs of each stage, after one that is not counted
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// Tokens of a run of decoding
    #[arg(long, value_name = "N", default_value_t = 32)]
    tokens: usize,
    /// Positions at which decoding is measured; by default 300,1000,4000, as far as the model has
    /// them
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    positions: Option<Vec<usize>>,
    /// Choose the adapter with this in its name or its back end's, instead of the most powerful
    #[arg(long, value_name = "NAME-PART")]
    adapter: Option<String>,
    /// Show the time of each kernel, stage by stage: by timestamps, or by repeating it where the adapter has none
    #[arg(long)]
    profile: bool,
    /// Leave out the checks of indices that wgpu adds to kernels, to see what they cost
    #[arg(long)]
    unchecked: bool,
    /// Encode steps of decoding beneath wgpu's tracking, or not, to see what that saves; by
    /// default on where a GPU computes through Vulkan
    #[arg(long, value_name = "ON|OFF", value_parser = BoolishValueParser::new())]
    replay: Option<bool>,
    /// Measure anew which kernels suit the adapter, show what was tried, and keep the choice for
    /// later runs of any command
    #[arg(long, conflicts_with_all = ["no_tuning", "kernels"])]
    tune: bool,
    #[command(flatten)]
    tuning: TuningArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const FIGURES: &str = "Copy bandwidth and f32 peak of the adapter are measured in the same run: \
                       vision, prefill and the first token are shown as a share of the peak, \
                       decoding as a share of the bandwidth, a kernel of --profile as a share of \
                       the one that it is nearest to. The bytes of a token are those that a step \
                       reads at least: the weights of decoder and head, a row of the embedding, \
                       keys and values. With --profile every dispatch gets a pass of its own \
                       between two timestamps or, where the adapter has none, is repeated by itself; both \
                       cost a little, so the kernels' sum is not the stage's time.\n\n\
                       With --json: conditions (command, date, machine), version, adapter, tried \
                       (kernels that were timed to choose one: job, kernel, ms, chosen), model, \
                       limits (copy_gb_per_second, f32_gflop_per_second), load_ms, vision and \
                       prefill (rows, first_ms, ms, multiply_adds, gflop_per_second, \
                       share_of_f32_peak), first_token_ms, first_token_share_of_f32_peak (vision \
                       and prefill together), decode (for each position: tokens, \
                       tokens_per_second, ms_per_token, host_ms_per_token, dispatches_per_token, \
                       replayed, steps_per_submission, bytes_per_token, gb_per_second, \
                       share_of_copy), profile (with --profile, for each stage: stage, runs, timed_by, \
                       picking_share, the part of the kernels' time in which the token is picked \
                       from the logits, and kernels: name, workgroups, count, microseconds, share, \
                       bytes, gb_per_second, gflop_per_second, share_of_limit, limited_by, which \
                       is copy or f32). What was run several times has median, min and max.";

/// `paligemma bench`.
pub(crate) async fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let options = BenchOptions {
        runs: args.runs,
        tokens: args.tokens,
        positions: args.positions.clone(),
        profile: args.profile,
        tune: args.tune,
        answers: false,
    };
    let mut tuning = args.tuning.options();
    if args.tune {
        // It is part of what is measured, once the model is there.
        tuning.tune = Tune::Never;
    }
    let gpu = GpuOptions {
        adapter: args.adapter.clone(),
        timestamps: args.profile,
        unchecked: args.unchecked,
        replays: args.replay,
        tuning,
        ..GpuOptions::default()
    };
    let progress = Progress::new();
    let (report, found) = match (&args.shape, &args.model) {
        (_, Some(model)) => of_model(args, model, &gpu, &options, &progress).await?,
        (Some(shape), None) => of_shape(args, *shape, &gpu, &options, &progress)
            .await
            .map_err(|error| about(Path::new(&shape.name()), &error))?,
        (None, None) => {
            let sentence = "there is nothing to measure; name a --shape or a --model";
            return Err(Failure::mendable(sentence));
        }
    };
    drop(progress);
    if let Found::Measured(tuned) = &found
        && let Err(reason) = tuning::keep(tuned)
    {
        remark(&format!("the choice of kernels is not kept: {reason}"));
    }
    if let Found::Failed(why) = &found {
        remark(&format!("the usual kernels were used: {why}"));
    }
    if args.json {
        let json = serde_json::to_string_pretty(&report);
        let json = json.map_err(|error| Failure::other(format!("the report: {error}")))?;
        return print(&format!("{json}\n"));
    }
    print(&report.to_string())
}

/// What became of a tuning run.
enum Found {
    /// There was none.
    Nothing,
    Measured(Tuned),
    /// Why not.
    Failed(String),
}

impl Found {
    fn new(tuned: Option<Tuned>, origin: ChosenBy) -> Self {
        match (tuned, origin) {
            (Some(tuned), _) => Self::Measured(tuned),
            (None, ChosenBy::Failed(why)) => Self::Failed(why),
            (None, _) => Self::Nothing,
        }
    }
}

async fn of_shape(
    args: &BenchArgs,
    shape: Published,
    gpu: &GpuOptions,
    options: &BenchOptions,
    progress: &Progress,
) -> Result<(BenchReport, Found), EngineError> {
    let recipe = args.recipe.clone().unwrap_or(Recipe::Q4);
    let layers = args.layers.map(NonZeroUsize::get);
    let loading = &mut |loaded_bytes, total_bytes| {
        progress.show(&Event::Loading {
            loaded_bytes,
            total_bytes,
        });
    };
    let bench = Bench::made_up(shape, layers, &recipe, args.kv_cache, gpu, loading).await?;
    let cancel = CancelToken::default();
    let show = &mut |now: paligemma_engine::BenchProgress| progress.stage(now.stage);
    let report = bench.run(options, conditions(), &cancel, show).await?;
    let found = Found::new(bench.tuned(), bench.choice().origin);
    Ok((report, found))
}

async fn of_model(
    args: &BenchArgs,
    model: &Path,
    gpu: &GpuOptions,
    options: &BenchOptions,
    progress: &Progress,
) -> Result<(BenchReport, Found), Failure> {
    if !model.is_dir() {
        return Err(Failure::mendable(format!(
            "{} is not a folder; give the one with config.json or manifest.json",
            model.display()
        )));
    }
    whole(model)?;
    let load = LoadOptions {
        gpu: gpu.clone(),
        model: ModelOptions {
            recipe: args.recipe.clone(),
            cache: args.kv_cache,
            ..ModelOptions::default()
        },
        ..LoadOptions::default()
    };
    let name = model.file_name().unwrap_or(model.as_os_str());
    let name = name.to_string_lossy();
    let source = Folder::new(model);
    let show = &mut |event: Event| progress.show(&event);
    let measured = async {
        let mut engine = Engine::load(source, &load, show).await?;
        let cancel = CancelToken::default();
        let show = &mut |now: paligemma_engine::BenchProgress| progress.stage(now.stage);
        let report = engine
            .bench(&name, options, conditions(), &cancel, show)
            .await?;
        let found = Found::new(engine.tuned(), engine.choice().origin);
        Ok::<_, EngineError>((report, found))
    };
    measured.await.map_err(|error| about(model, &error))
}

/// An adapter that is not there is something one can mend; the sentence needs no model's name.
fn about(input: &Path, error: &EngineError) -> Failure {
    match error {
        EngineError::Gpu(GpuError::UnknownAdapter { .. }) => Failure::mendable(error.to_string()),
        _ => Failure::about(input, error),
    }
}

/// What a figure is worth little without.
fn conditions() -> BTreeMap<String, String> {
    let cores = std::thread::available_parallelism().map_or(0, NonZeroUsize::get);
    let machine = format!(
        "{} {}, {}{cores} cores",
        std::env::consts::OS,
        std::env::consts::ARCH,
        processor().map_or_else(String::new, |name| format!("{name}, ")),
    );
    BTreeMap::from([
        ("command".to_owned(), command()),
        ("machine".to_owned(), machine),
        (
            "date".to_owned(),
            OffsetDateTime::now_utc().date().to_string(),
        ),
    ])
}

/// What was typed, so that another person can type it: without where the program lies here.
fn command() -> String {
    let arguments = std::env::args_os().skip(1);
    let arguments = arguments.map(|argument| quoted(&argument.to_string_lossy()));
    let mut words = vec!["paligemma".to_owned()];
    words.extend(arguments);
    words.join(" ")
}

/// An argument as a shell takes it for one word.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

/// The CPU's name, where the system has it in a file.
fn processor() -> Option<String> {
    let known = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = known.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn shape(name: &str) -> Result<Published, String> {
    Published::named(name).ok_or_else(|| {
        let known: Vec<String> = Published::all().map(|shape| shape.name()).collect();
        format!("there is no such shape; choose one of {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_where_a_shell_would_split_or_change_them() {
        for plain in ["--shape", "paligemma2-3b-224", "300,4000", "../a/b.c"] {
            assert_eq!(quoted(plain), plain);
        }
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("tiled fours=131072"), "'tiled fours=131072'");
        assert_eq!(quoted("~/$HOME"), "'~/$HOME'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
