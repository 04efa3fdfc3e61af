//! The measurement as people read it.

use std::fmt::Write;

use crate::combination;
use crate::precision::{Found, average_precision, mean_average_precision};
use crate::scene::CONDITIONS;

/// Everything that the table says.
pub(crate) struct Report {
    /// Year, month and day, UTC.
    pub(crate) date: String,
    /// What computed.
    pub(crate) adapter: String,
    /// How many under each condition.
    pub(crate) scenes: u32,
    /// The first one's seed.
    pub(crate) first_seed: u32,
    /// Things that were asked for and are there, under each condition.
    pub(crate) expected: [usize; CONDITIONS.len()],
    pub(crate) found: Vec<Found>,
}

/// The whole file.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = format!(
        "\
# Scores

Whether the scores of detections order them usefully. Written by

```sh
cargo xtask scores --scenes {scenes}
```

| | |
|---|---|
| date | {date} |
| adapter | {adapter} |
| model | `web/demo/model`, weights as stored, greedy |
| scenes | {scenes} under each condition, composed from seeds {first} to {last}; none was trained on |
| prompt | `detect` of three kinds: at most two that are there, the others not |
| found | {found} objects where {expected} are |

Average precision: the area under precision over recall, all labels pooled, objects in falling
order of their score. At an intersection over union of 0.5, of 0.75, and the mean from 0.5 to 0.95
over all conditions; then that mean under each condition.

| order | AP@0.5 | AP@0.75 | AP |",
        scenes = report.scenes,
        date = report.date,
        adapter = report.adapter,
        first = report.first_seed,
        last = report.first_seed + report.scenes - 1,
        found = report.found.len(),
        expected = report.expected.iter().sum::<usize>(),
    );
    for condition in &CONDITIONS {
        let _ = write!(text, " {} |", condition.name);
    }
    let _ = write!(
        text,
        "\n|---|---:|---:|---:|{}",
        "---:|".repeat(CONDITIONS.len())
    );
    for combination in combination::all() {
        let _ = write!(
            text,
            "\n| {} |{}",
            combination.name,
            row(report, &combination.score)
        );
    }
    text.push_str(NOTES);
    text.push_str(&chosen(report));
    text
}

/// What the engine's score is better than, and by how much.
fn chosen(report: &Report) -> String {
    let all: Vec<&Found> = report.found.iter().collect();
    let expected = report.expected.iter().sum();
    let mut rows: Vec<(String, f64)> = combination::all()
        .into_iter()
        .map(|it| {
            let value = mean_average_precision(&all, expected, it.score);
            (it.name, value)
        })
        .collect();
    // The first is without scores, the last the engine's, which one of the others is by another
    // name.
    let (Some((_, ours)), Some(none)) = (rows.pop(), rows.first().map(|row| row.1)) else {
        return String::new();
    };
    let same = |row: &&(String, f64)| (row.1 - ours).abs() < 1e-6;
    let name = rows
        .iter()
        .find(same)
        .map_or("none of these", |row| row.0.as_str());
    let others = rows.iter().filter(|row| row.0 != name);
    let Some((best, value)) = others.max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return String::new();
    };
    let is_better = if ours > none { "met" } else { "missed" };
    format!(
        "
The score of answers is *{name}*.

Existence and label say whether there is such a thing, the places how well its box fits; their mean
keeps four places from outweighing the rest, and the radius from punishing a box for a probability
that lies one pixel further on.

| the score of answers | AP | |
|---|---:|---|
| against no scores | {:+.4} | {is_better} |
| against the best of the others, *{best}* | {:+.4} | |
",
        ours - none,
        ours - value
    )
}

fn row(report: &Report, score: &dyn Fn(&Found) -> f64) -> String {
    let all: Vec<&Found> = report.found.iter().collect();
    let expected = report.expected.iter().sum();
    let mut text = String::new();
    for value in [
        average_precision(&all, expected, 0.5, score),
        average_precision(&all, expected, 0.75, score),
        mean_average_precision(&all, expected, score),
    ] {
        let _ = write!(text, " {value:.4} |");
    }
    for (condition, expected) in report.expected.into_iter().enumerate() {
        let under: Vec<&Found> = all
            .iter()
            .copied()
            .filter(|found| found.condition == condition)
            .collect();
        let value = mean_average_precision(&under, expected, score);
        let _ = write!(text, " {value:.4} |");
    }
    text
}

const NOTES: &str = "

*Existence* is the probability that there is another object: of all location tokens together where
the object begins, times that of the separator before it. *Label* is the probability of the label's
tokens. *Places* are the four location tokens; *within r* counts the location tokens up to r
1024ths of the picture away, because the model spreads its probability over neighbours. *Mean* is
the geometric mean of the four.
";

#[cfg(test)]
mod tests {
    use paligemma_engine::Evidence;

    use super::*;

    #[test]
    fn the_choice_is_named_and_held_against_the_others() {
        let found = |near: f32, overlap: f32| {
            let evidence = Evidence {
                existence: 0.9,
                places: [near; 4],
                near: [[near; 4]; 4],
                label: 1.0,
                mask: None,
            };
            Found {
                scene: usize::from(overlap < 0.5),
                condition: 0,
                overlaps: vec![overlap],
                score: evidence.score(),
                evidence,
            }
        };
        let report = Report {
            date: "2001-02-03".to_owned(),
            adapter: "some adapter".to_owned(),
            scenes: 2,
            first_seed: 7,
            expected: [1, 0, 0, 0],
            found: vec![found(0.1, 0.1), found(0.8, 1.0)],
        };
        let text = markdown(&report);
        // In the order found the wrong one is first.
        for part in ["| against no scores | +0.5000 | met |", "seeds 7 to 8"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
