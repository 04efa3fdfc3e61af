//! An entry of `benches/RESULTS.md`.

use std::fmt::Write as _;

use crate::options::{Engine, Options, Where, name_of};
use crate::prepare::{PROMPT, Prepared};
use crate::sample::{Measured, Sample, Side, Spread};

/// What begins an entry, and nothing else in the file.
const HEADING: &str = "\n## ";

/// How a number is written.
#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Bytes,
}

/// The results with a new entry before all others.
pub(crate) fn prepended(before: &str, entry: &str) -> String {
    let at = before.find(HEADING).unwrap_or(before.len());
    let (head, rest) = before.split_at(at);
    let text = format!("{}\n\n{entry}{rest}", head.trim_end());
    text.trim_start().to_owned()
}

/// The entry, as Markdown.
pub(crate) fn entry(
    date: &str,
    options: &Options,
    prepared: &Prepared,
    load: &str,
    measured: &Measured,
) -> String {
    let (command, place) = match options.place {
        Where::Browser => ("browser", "in a browser"),
        Where::Native => ("native", "natively"),
    };
    let precision = if options.q4 { "q4" } else { "f32" };
    let model = match &options.model {
        Some(folder) => name_of(folder),
        None => options.shape.clone(),
    };
    let mut text = format!("## {date}, {place}: {model}, {precision}\n\n```sh\n");
    let given = options.given.join(" ");
    let _ = writeln!(
        text,
        "{}",
        format!("cargo xtask compare {command} {given}").trim_end()
    );
    text.push_str("```\n\n| | |\n|---|---|\n");
    for (name, value) in &measured.conditions {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    for side in &measured.sides {
        let _ = writeln!(text, "| {} | {} |", side.engine.title(), side.about);
        if let Some(failure) = side.failures.first() {
            let line = failure.lines().next().unwrap_or_default();
            let line = line.replace('|', "/");
            let (count, runs) = (side.failures.len(), options.runs);
            let _ = writeln!(
                text,
                "| | {count} of its {runs} runs failed, the first with: {line} |"
            );
        }
    }
    let _ = writeln!(
        text,
        "| question | `{PROMPT}`, a picture of the model's size, {} new tokens |",
        options.tokens
    );
    let _ = writeln!(
        text,
        "| runs | {} of each, in turns, each in a fresh {}; load average before: {load} |",
        options.runs,
        if options.place == Where::Browser {
            "browser"
        } else {
            "process"
        }
    );
    if let Some(apart) = prepared.onnx_apart {
        let _ = writeln!(
            text,
            "| export in f32 | logits at most {apart:.1e} from transformers', of the best two \
             logits the narrowest gap is {:.3} |",
            prepared.gap
        );
    }
    text.push('\n');
    text.push_str(&table(options, prepared, &measured.sides));
    text
}

fn table(options: &Options, prepared: &Prepared, sides: &[Side]) -> String {
    let mut text = String::from("| |");
    for side in sides {
        let _ = write!(text, " {} |", side.engine.title());
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(sides.len()));
    text.push('\n');
    let ours = sides.iter().find(|side| side.engine == Engine::Ours);
    let mut row = |name: &str, unit: Unit, value: &dyn Fn(&Sample) -> Option<f64>| {
        let spread = |side: &Side| Spread::of(side.samples.iter().filter_map(value));
        if sides.iter().all(|side| spread(side).is_none()) {
            return;
        }
        let base = ours.and_then(spread).map(|spread| spread.median);
        let _ = write!(text, "| {name} |");
        for side in sides {
            let own = side.engine == Engine::Ours;
            let cell = spread(side).map(|spread| {
                let ratio = base.filter(|_| !own).map(|base| spread.median / base);
                cell(spread, unit, ratio)
            });
            let _ = write!(text, " {} |", cell.unwrap_or_default());
        }
        text.push('\n');
    };
    row("load", Unit::Milliseconds, &|sample| Some(sample.load));
    row("first token, first answer", Unit::Milliseconds, &|sample| {
        Some(sample.first)
    });
    row(
        "first token, second answer",
        Unit::Milliseconds,
        &|sample| sample.again,
    );
    row("each later token", Unit::Milliseconds, &|sample| {
        Some(sample.token)
    });
    for (name, kind) in [
        ("renderer's peak", "renderer"),
        ("GPU process's peak", "gpu-process"),
    ] {
        row(name, Unit::Bytes, &|sample| {
            let peak = sample.peaks.iter().find(|peak| peak.0 == kind);
            peak.map(|peak| peak.1 as f64)
        });
    }
    if !options.q4 {
        let _ = write!(text, "| ids as transformers' in f32 |");
        for side in sides {
            let _ = write!(text, " {} |", agreement(side, &prepared.ids));
        }
        text.push('\n');
    }
    text.push_str("\nMedian (least to most); after it, how many times ours it is.");
    if options.q4 {
        text.push_str(" Each side rounds weights to 4 bits in its own way: ids are not compared.");
    }
    if options.place == Where::Native {
        text.push_str(
            " Ours answers once a process; later tokens of the others are of their second answer.",
        );
    }
    text.push('\n');
    text
}

fn cell(spread: Spread, unit: Unit, ratio: Option<f64>) -> String {
    let write = |number: f64| match unit {
        Unit::Milliseconds if spread.median >= 10_000.0 => format!("{:.1} s", number / 1e3),
        Unit::Milliseconds if spread.median >= 1000.0 => format!("{:.2} s", number / 1e3),
        Unit::Milliseconds if spread.median >= 100.0 => format!("{number:.0} ms"),
        Unit::Milliseconds => format!("{number:.1} ms"),
        Unit::Bytes => format!("{:.0} MB", number / 1e6),
    };
    let bare = |number| {
        write(number)
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let ratio = match ratio {
        Some(ratio) if ratio >= 10.0 => format!(", {ratio:.0}×"),
        Some(ratio) => format!(", {ratio:.2}×"),
        None => String::new(),
    };
    let (median, least, most) = (write(spread.median), bare(spread.least), bare(spread.most));
    format!("{median} ({least} to {most}){ratio}")
}

/// How many ids of an answer are those expected, up to the first that is not.
fn agreement(side: &Side, expected: &[u64]) -> String {
    let same = |sample: &Sample| {
        let pairs = sample.ids.iter().zip(expected);
        pairs.take_while(|(a, b)| a == b).count()
    };
    let Some(least) = side.samples.iter().map(same).min() else {
        return String::new();
    };
    if least == expected.len() {
        "all".to_owned()
    } else {
        format!("the first {least} of {}", expected.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_entry_stands_before_the_others() {
        let before = "# Results\n\nWords.\n\n## old\n\nx\n";
        let after = prepended(before, "## new\n\ny\n");
        assert_eq!(after, "# Results\n\nWords.\n\n## new\n\ny\n\n## old\n\nx\n");
        assert_eq!(
            prepended("# Results\n", "## new\n"),
            "# Results\n\n## new\n"
        );
    }

    #[test]
    fn the_first_entry_of_a_file_begins_it() {
        assert_eq!(prepended("", "## new\n"), "## new\n");
    }

    #[test]
    fn a_cell_has_one_unit_and_says_how_many_times() {
        let spread = Spread {
            median: 1500.0,
            least: 900.0,
            most: 2000.0,
        };
        let text = cell(spread, Unit::Milliseconds, Some(2.0));
        assert_eq!(text, "1.50 s (0.90 to 2.00), 2.00×");
        assert_eq!(
            cell(spread, Unit::Milliseconds, None),
            "1.50 s (0.90 to 2.00)"
        );
    }

    #[test]
    fn ids_agree_up_to_the_first_that_does_not() {
        let sample = |ids: &[u64]| Sample {
            ids: ids.to_vec(),
            ..Sample::default()
        };
        let mut side = Side::new(Engine::Wasm);
        assert_eq!(agreement(&side, &[1]), "");
        side.samples = vec![sample(&[1, 2, 3]), sample(&[1, 5, 3])];
        assert_eq!(agreement(&side, &[1, 2, 3]), "the first 1 of 3");
        assert_eq!(agreement(&side, &[1]), "all");
    }
}
