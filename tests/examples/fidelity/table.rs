//! The measurement as people read it.

use std::fmt::Write;

use crate::score::Scores;

/// Everything that the table says.
pub(crate) struct Report {
    /// Year, month and day, UTC.
    pub(crate) date: String,
    /// What computed.
    pub(crate) adapter: String,
    /// How many.
    pub(crate) scenes: u32,
    /// The first one's seed.
    pub(crate) first_seed: u32,
    /// The reference first.
    pub(crate) rows: Vec<Row>,
}

/// A recipe and what it scored.
pub(crate) struct Row {
    pub(crate) recipe: &'static str,
    pub(crate) scores: Scores,
}

/// What a recipe is meant to keep: overlap with the reference's boxes, and how many points of a
/// hundred a score may fall.
struct Goal {
    recipe: &'static str,
    reference_iou: f64,
    points: f64,
}

const GOALS: [Goal; 2] = [
    Goal {
        recipe: "q8",
        reference_iou: 0.99,
        points: 1.0,
    },
    Goal {
        recipe: "q4",
        reference_iou: 0.95,
        points: 3.0,
    },
];

/// The whole file.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = format!(
        "\
# Fidelity

What each recipe's rounding changes in the demo model's answers. Written by

```sh
cargo xtask fidelity --scenes {scenes}
```

| | |
|---|---|
| date | {date} |
| adapter | {adapter} |
| model | `web/demo/model` |
| scenes | {scenes}, composed from seeds {first} to {last}; none was trained on |
| prompts | three a scene: `detect` of all its kinds, `caption en`, how many there are of one kind |

| recipe | same ids | box IoU | recall@0.5 | mean IoU | count | caption |
|---|---:|---:|---:|---:|---:|---:|
",
        scenes = report.scenes,
        date = report.date,
        adapter = report.adapter,
        first = report.first_seed,
        last = report.first_seed + report.scenes.saturating_sub(1),
    );
    for Row { recipe, scores } in &report.rows {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let _ = writeln!(
            text,
            "| {recipe} | {} | {:.4} | {} | {:.4} | {} | {} |",
            percent(scores.same_ids),
            scores.reference_iou,
            percent(scores.recall),
            scores.truth_iou,
            percent(scores.count),
            percent(scores.caption),
        );
    }
    text += "
Against `as-stored`, which computes in f32 with the weights as they are published: the share of
prompts whose generated ids are all the same, and the mean intersection over union of boxes of the
same label, where a box that has no partner counts as 0, whichever side has it.

Against the truth: the share of things found under their name with an intersection over union of
at least 0.5; the mean intersection over union, where a thing without a box counts as 0; numbers
and captions that are right to the letter.

Behind a comma what is computed otherwise than usual: keys and values in bytes (`--kv-cache int8`),
and products of a picture's and a prompt's rows as 16-bit floats or bytes (the kernels `half` and
`dots`) or of a decoding step's one row as bytes (`bytes`), which an adapter gets if they are clearly
faster there.

| goal | box IoU | worst score against `as-stored` | |
|---|---|---|---|
";
    for goal in &GOALS {
        text += &verdict(goal, &report.rows);
    }
    text
}

fn verdict(goal: &Goal, rows: &[Row]) -> String {
    let row = rows.iter().find(|row| row.recipe == goal.recipe);
    let (Some(row), Some(reference)) = (row, rows.first()) else {
        return String::new();
    };
    let overlap = row.scores.reference_iou;
    let change = tasks(&row.scores)
        .into_iter()
        .zip(tasks(&reference.scores))
        .map(|(own, reference)| (own - reference) * 100.0)
        .fold(f64::INFINITY, f64::min);
    // A hair's breadth for sums that were rounded.
    let met = overlap >= goal.reference_iou && change >= -goal.points - 1e-9;
    format!(
        "| {} | {overlap:.4}, at least {} | {change:+.1} points, at most {} lost | {} |\n",
        goal.recipe,
        goal.reference_iou,
        goal.points,
        if met { "met" } else { "missed" }
    )
}

/// What is measured against the truth.
fn tasks(scores: &Scores) -> [f64; 4] {
    [
        scores.recall,
        scores.truth_iou,
        scores.count,
        scores.caption,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(recipe: &'static str, reference_iou: f64, count: f64) -> Row {
        Row {
            recipe,
            scores: Scores {
                same_ids: 0.5,
                reference_iou,
                recall: 0.98,
                truth_iou: 0.91,
                count,
                caption: 0.93,
            },
        }
    }

    fn report(rows: Vec<Row>) -> String {
        markdown(&Report {
            date: "2001-02-03".to_owned(),
            adapter: "some adapter".to_owned(),
            scenes: 60,
            first_seed: 10_000,
            rows,
        })
    }

    #[test]
    fn the_conditions_are_told() {
        let text = report(vec![row("as-stored", 1.0, 0.97)]);
        for part in [
            "2001-02-03",
            "some adapter",
            "--scenes 60",
            "10000 to 10059",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(
            text.contains("| as-stored | 50.0 % | 1.0000 | 98.0 % | 0.9100 | 97.0 % | 93.0 % |")
        );
    }

    #[test]
    fn a_goal_is_missed_by_overlap_or_by_any_score() {
        let of = |overlap, count| {
            let rows = vec![row("as-stored", 1.0, 0.97), row("q8", overlap, count)];
            let text = report(rows);
            assert_ne!(text.contains("| met |"), text.contains("| missed |"));
            text.contains("| met |")
        };
        assert!(of(0.99, 0.97) && of(0.995, 0.96) && of(1.0, 0.99));
        assert!(!of(0.9899, 0.97) && !of(1.0, 0.955));
    }
}
