//! The command line, read by hand: it is smaller than a parser's dependency.

use crate::compare::Where;
use crate::serve::Announcement;
use crate::steps::Step;
use std::path::PathBuf;

/// What `cargo xtask` answers when it is asked for help or not understood.
pub(crate) const USAGE: &str = "\
Usage: cargo xtask <command>

  serve [--port N] [--quick]   build the page and serve it on this machine
                               (--quick: unoptimised, shares its build with the tests)
  build                        build the page into dist/, ready to be hosted
  precache DIST                list the files of a built page in its service worker
                               again, after something in the folder was changed
  test [STEP...]               check everything, or only the named steps:
                               fmt clippy native wasm page
  fidelity [--scenes N] [--fresh]
                               measure what each recipe's rounding changes on N new
                               scenes (300) and write benches/FIDELITY.md; continues
                               where it was interrupted, unless --fresh
                               (--logits: only print how far logits move; --only TEXT:
                               only print recipes with this in their name)
  scores [--scenes N]          measure how usefully scores order what is detected on N
                               new scenes (100) and write benches/SCORES.md
  masks [--scenes N]           measure masks on N new scenes (200) against what is there
                               and against the mask decoder's PyTorch twin, and write
                               benches/MASKS.md (needs tests/oracle/setup.sh)
  quantizers                   measure how fast weights are packed, natively and in
                               headless Chromium
  full-size [page --shape NAME [--layers N] [--tokens N]]
                               take a checkpoint of the size of PaliGemma 2 3B, with
                               made-up weights, through the page, and those of other
                               sizes through the command; write benches/FULL_SIZE.md
                               (20 GB of disk; half an hour where there is no GPU).
                               With `page` only one of that shape through the page
  compare browser|native [--shape NAME] [--runs N] [--tokens N] [--precision f32|q4]
                         [--engines A,B] [--model DIR] [--quick] [--out FILE]
                               measure our engine and its peers with one model and one
                               question, in turns: Transformers.js in headless Chromium,
                               transformers and candle natively; adds an entry to
                               benches/RESULTS.md (needs tests/peers/setup.sh; --quick:
                               our side compiled as for the tests)

Tools that are missing are installed first, each with a word on what it is for.
Tools and compiled dependencies live in ~/.cache/paligemma-web (or below
$XDG_CACHE_HOME), so that every clone shares them; delete it to start afresh.";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Help,
    Serve {
        port: Option<u16>,
        quick: bool,
    },
    Build,
    /// The folder of a built page; trunk names it to its hooks in another way.
    Precache(Option<PathBuf>),
    Test(Vec<Step>),
    /// With the options that the measurement itself reads.
    Fidelity(Vec<String>),
    /// With the options that the measurement itself reads.
    Scores(Vec<String>),
    Masks(Vec<String>),
    /// With the options that the measurement itself reads.
    FullSize(Vec<String>),
    Quantizers,
    /// With the options that the measurement itself reads.
    Compare(Where, Vec<String>),
    Announce(Announcement),
}

/// Reads the arguments that follow `cargo xtask`.
///
/// # Errors
/// A sentence that names the argument which was not understood.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Request, String> {
    let mut args = args.into_iter();
    let Some(command) = args.next() else {
        return Ok(Request::Help);
    };
    let rest: Vec<String> = args.collect();
    match command.as_str() {
        "help" | "--help" | "-h" => Ok(Request::Help),
        "serve" => serve(&rest),
        "build" if rest.is_empty() => Ok(Request::Build),
        "precache" if rest.len() < 2 => Ok(Request::Precache(rest.first().map(PathBuf::from))),
        "test" => steps(&rest).map(Request::Test),
        "fidelity" => {
            scenes("fidelity", &["--fresh", "--logits", "--only"], rest).map(Request::Fidelity)
        }
        "scores" => Ok(Request::Scores(rest)),
        "masks" => scenes("masks", &[], rest).map(Request::Masks),
        "quantizers" if rest.is_empty() => Ok(Request::Quantizers),
        "full-size" => Ok(Request::FullSize(rest)),
        "compare" => compare(rest),
        "announce" => Announcement::from_args(&rest).map(Request::Announce),
        other => Err(format!(
            "`{}` is not a command of cargo xtask.",
            [&[other.to_owned()], rest.as_slice()].concat().join(" ")
        )),
    }
}

fn serve(args: &[String]) -> Result<Request, String> {
    let (mut port, mut quick) = (None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => quick = true,
            "--port" => {
                let value = args.next().ok_or("`--port` needs a number after it.")?;
                port = match value.parse() {
                    Ok(number) if number > 0 => Some(number),
                    _ => {
                        return Err(format!(
                            "`{value}` is not a port: give a number from 1 to 65535."
                        ));
                    }
                };
            }
            other => return Err(format!("`serve` does not know `{other}`.")),
        }
    }
    Ok(Request::Serve { port, quick })
}

/// The options of a measurement over scenes: how many, and those without a value.
fn scenes(command: &str, flags: &[&str], args: Vec<String>) -> Result<Vec<String>, String> {
    let mut values = args.iter();
    while let Some(arg) = values.next() {
        match arg.as_str() {
            "--only" if flags.contains(&"--only") => {
                values
                    .next()
                    .ok_or("`--only` needs a part of a name after it.")?;
            }
            flag if flags.contains(&flag) => {}
            "--scenes" => {
                let value = values.next().ok_or("`--scenes` needs a number after it.")?;
                if !value.parse::<u32>().is_ok_and(|number| number > 0) {
                    return Err(format!("`{value}` is no number of scenes."));
                }
            }
            other => return Err(format!("`{command}` does not know `{other}`.")),
        }
    }
    Ok(args)
}

/// Where, and the options that the measurement itself reads.
fn compare(mut args: Vec<String>) -> Result<Request, String> {
    let place = match args.first().map(String::as_str) {
        Some("browser") => Where::Browser,
        Some("native") => Where::Native,
        _ => return Err("say `compare browser` or `compare native`.".to_owned()),
    };
    args.remove(0);
    Ok(Request::Compare(place, args))
}

fn steps(names: &[String]) -> Result<Vec<Step>, String> {
    if names.is_empty() {
        return Ok(Step::ALL.to_vec());
    }
    for name in names {
        if !Step::ALL.iter().any(|step| step.name() == name) {
            return Err(format!("`{name}` is not a step of `test`."));
        }
    }
    // In the order of `ALL`, whatever the order they were named in: quick ones first.
    Ok(Step::ALL
        .into_iter()
        .filter(|step| names.iter().any(|name| name == step.name()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_two_commands_of_the_readme_need_no_options() {
        let serve = Request::Serve {
            port: None,
            quick: false,
        };
        assert_eq!(parsed("serve"), Ok(serve));
        assert_eq!(parsed("test"), Ok(Request::Test(Step::ALL.to_vec())));
    }

    #[test]
    fn options_are_read() {
        let serve = Request::Serve {
            port: Some(9000),
            quick: true,
        };
        assert_eq!(parsed("serve --quick --port 9000"), Ok(serve));
        assert_eq!(
            parsed("test wasm fmt"),
            Ok(Request::Test(vec![Step::Fmt, Step::Wasm]))
        );
        assert_eq!(
            parsed("precache dist"),
            Ok(Request::Precache(Some("dist".into())))
        );
        let options = ["--scenes", "60", "--fresh"].map(str::to_owned).to_vec();
        assert_eq!(
            parsed("fidelity --scenes 60 --fresh"),
            Ok(Request::Fidelity(options))
        );
        let options = ["--runs", "5"].map(str::to_owned).to_vec();
        assert_eq!(
            parsed("compare native --runs 5"),
            Ok(Request::Compare(Where::Native, options))
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [
            ("sevre", "sevre"),
            ("build now", "now"),
            ("precache dist twice", "twice"),
            ("serve --prot 1", "--prot"),
            ("serve --port", "--port"),
            ("serve --port 70000", "70000"),
            ("serve --port 0", "0"),
            ("test natvie", "natvie"),
            ("fidelity --scenes", "--scenes"),
            ("fidelity --scenes none", "none"),
            ("fidelity 300", "300"),
            ("masks --fresh", "--fresh"),
            ("masks --scenes 0", "0"),
            ("compare --runs 5", "`compare browser`"),
        ] {
            let problem = parsed(line).expect_err(line);
            assert!(problem.contains(named), "{line}: {problem}");
        }
    }
}
