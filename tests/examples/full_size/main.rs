//! Checkpoints of the published sizes with made-up weights, for measurements that need no more than
//! their shapes.
#![allow(
    clippy::print_stdout,
    reason = "a command for people: standard output is its interface"
)]

mod browser;
mod page;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use paligemma_tests::synthetic::{Options, Shape, Synthetic};

const USAGE: &str = "Usage: full_size write --shape NAME --out DIR [--layers N]
       full_size speed --shape NAME [--layers N]
       full_size page --shape NAME --out DIR [--recipe NAME] [--layers N] [--tokens N]
       full_size all --out DIR --image FILE --table FILE
       full_size native --shape NAME --out DIR --image FILE [--recipe NAME] [--layers N]

  write        writes the checkpoint to a folder
  page         takes it through the built page in a headless Chromium: fetched from a hub, packed,
               kept, reloaded without the hub, asked
  all          `page` and `native` for PaliGemma 2 3B, `native` for PaliGemma 3B; writes what was
               measured to the table
  native       packs it and asks the same of the native command
  speed        says how many MB of weights a second one core makes
  --shape      paligemma-3b-224, paligemma2-3b-224, paligemma2-10b-224 or paligemma2-28b-224
  --out DIR    folder for what is written, 10 GB of it and more
  --recipe     how weights are packed (q4)
  --layers N   at most N layers in either tower, at their true widths (all)
  --tokens N   how long an answer is waited for; 0: the page is not asked (4)";

/// The part of the table that is written by hand, its last.
const WIDTHS: &str = "## A few layers at their true widths";

enum Command {
    Write(PathBuf),
    Speed,
    All {
        out: PathBuf,
        image: PathBuf,
        table: PathBuf,
    },
    Page {
        out: PathBuf,
        recipe: String,
        tokens: usize,
    },
    Native {
        out: PathBuf,
        recipe: String,
        image: PathBuf,
    },
}

fn main() -> ExitCode {
    let (command, shape, options) = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match command {
        Command::Write(folder) => write(&Synthetic::new(shape, options), &folder),
        Command::Speed => {
            speed(&Synthetic::new(shape, options));
            Ok(())
        }
        Command::All { out, image, table } => all(&out, &image, &table),
        Command::Page {
            out,
            recipe,
            tokens,
        } => {
            let measured = page::through_the_page(shape, options, &recipe, &out, tokens);
            report(&out, measured)
        }
        Command::Native { out, recipe, image } => {
            report(&out, page::natively(shape, options, &recipe, &out, &image))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(args: impl IntoIterator<Item = String>) -> Result<(Command, Shape, Options), String> {
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_default();
    let (mut shape, mut out, mut options) = (None, None, Options::default());
    let (mut recipe, mut image, mut table) = ("q4".to_owned(), None, None);
    let mut tokens = page::TOKENS;
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .ok_or(format!("`{arg}` needs a value after it."))
        };
        match arg.as_str() {
            "--shape" => {
                let name = value()?;
                let known = Shape::named(&name);
                shape = Some(known.ok_or(format!("there is no shape `{name}`."))?);
            }
            "--out" => out = Some(PathBuf::from(value()?)),
            "--recipe" => recipe = value()?,
            "--table" => table = Some(PathBuf::from(value()?)),
            "--image" => image = Some(PathBuf::from(value()?)),
            "--tokens" => {
                let given = value()?;
                let parsed = given.parse();
                tokens = parsed.map_err(|_| format!("`{given}` is no number of tokens."))?;
            }
            "--layers" => {
                let given = value()?;
                let layers = given.parse().ok().filter(|&layers| layers > 0);
                options.layers = Some(layers.ok_or(format!("`{given}` is no number of layers."))?);
            }
            other => return Err(format!("`{other}` is not understood.")),
        }
    }
    let command = match (name.as_str(), out) {
        ("write", Some(out)) => Command::Write(out),
        ("write", None) => return Err("`write` needs `--out`.".to_owned()),
        ("speed", _) => Command::Speed,
        ("page", Some(out)) => Command::Page {
            out,
            recipe,
            tokens,
        },
        ("native", Some(out)) => Command::Native {
            out,
            recipe,
            image: image.ok_or("`native` needs `--image`.")?,
        },
        ("all", Some(out)) => {
            let command = Command::All {
                out,
                image: image.ok_or("`all` needs `--image`.")?,
                table: table.ok_or("`all` needs `--table`.")?,
            };
            return Ok((command, Shape::PaliGemma2_3b, options));
        }
        ("page" | "native" | "all", None) => return Err(format!("`{name}` needs `--out`.")),
        _ => return Err(format!("there is no command `{name}`.")),
    };
    let shape = shape.ok_or("`--shape` is missing.")?;
    Ok((command, shape, options))
}

fn all(
    out: &std::path::Path,
    image: &std::path::Path,
    to: &std::path::Path,
) -> Result<(), Box<dyn Error>> {
    let options = Options::default();
    let second = Shape::PaliGemma2_3b;
    let page = page::through_the_page(second, options, "q4", &out.join("page"), page::TOKENS)?;
    let native = page::natively(second, options, "q4", out, image)?;
    let first = page::natively(Shape::PaliGemma3b, options, "q4", out, image)?;
    let measured = table::Measured {
        page,
        native,
        others: vec![first],
    };
    let date = time::OffsetDateTime::now_utc().date().to_string();
    let mut text = table::table(&date, &measured);
    // What was measured otherwise stays.
    let before = std::fs::read_to_string(to).unwrap_or_default();
    if let Some(at) = before.find(WIDTHS) {
        text.push('\n');
        text.push_str(&before[at..]);
    }
    println!("{text}");
    Ok(std::fs::write(to, text)?)
}

/// Prints what was measured, and keeps it in the folder.
fn report(
    folder: &std::path::Path,
    measured: Result<serde_json::Value, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let text = serde_json::to_string_pretty(&measured?)?;
    println!("{text}");
    Ok(std::fs::write(folder.join("report.json"), text)?)
}

fn write(synthetic: &Synthetic, folder: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    synthetic.write_to(folder)?;
    let bytes: u64 = synthetic.files().iter().map(|(_, bytes)| bytes).sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{}: {} files, {:.2} GB in {seconds:.0} s",
        folder.display(),
        synthetic.files().len(),
        bytes as f64 / 1e9
    );
    Ok(())
}

/// Reads the first shard as a server does, in pieces of 64 KiB, and in pieces of 16 MiB.
fn speed(synthetic: &Synthetic) {
    const MOST: u64 = 1 << 30;
    let files = synthetic.files();
    let shard = files
        .iter()
        .find(|(name, _)| name.ends_with(".safetensors"));
    let Some((name, bytes)) = shard else { return };
    let bytes = (*bytes).min(MOST);
    for piece in [64 << 10, 16 << 20] {
        let (start, mut sum) = (Instant::now(), 0u64);
        for from in (0..bytes).step_by(piece as usize) {
            let read = synthetic.read(name, from..bytes.min(from + piece));
            sum += read
                .iter()
                .step_by(4096)
                .map(|&byte| u64::from(byte))
                .sum::<u64>();
        }
        let rate = bytes as f64 / 1e6 / start.elapsed().as_secs_f64();
        println!("pieces of {} KiB: {rate:.0} MB/s (sum {sum})", piece >> 10);
    }
}
