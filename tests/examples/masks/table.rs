//! The measurement as people read it.

use std::fmt::Write as _;

/// How far ours may be below the twin's.
const TOLERANCE: f64 = 0.005;

/// Everything that the table says.
pub(crate) struct Report {
    /// Year, month and day, UTC.
    pub(crate) date: String,
    /// What computed.
    pub(crate) adapter: String,
    /// What the twin ran on.
    pub(crate) torch: String,
    /// How many.
    pub(crate) scenes: u32,
    /// The first one's seed.
    pub(crate) first_seed: u32,
    /// For each thing that was asked for, the overlap of its mask; 0 where it has none.
    pub(crate) ours: Vec<f64>,
    /// The same of the twin.
    pub(crate) twin: Vec<f64>,
}

/// The whole file.
pub(crate) fn markdown(report: &Report) -> String {
    let (ours, twin) = (mean(&report.ours), mean(&report.twin));
    let pairs = report.ours.iter().zip(&report.twin);
    let furthest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let mut text = format!(
        "\
# Masks

How well the demo model's masks cover what scenes show, by this project and by the mask decoder's
PyTorch twin (`tests/oracle/oracle/masks.py`) from the same codes and boxes. Written by

```sh
cargo xtask masks --scenes {scenes}
```

| | |
|---|---|
| date | {date} |
| adapter | {adapter} |
| twin | torch {torch} on the CPU, f32, Pillow |
| model | `web/demo/model` |
| scenes | {scenes}, composed from seeds {first} to {last}; none was trained on |
| prompts | one a scene: `segment` of one of its kinds; {things} things in all |

| | mask mIoU | at least 0.5 |
|---|---:|---:|
",
        scenes = report.scenes,
        date = report.date,
        adapter = report.adapter,
        torch = report.torch,
        first = report.first_seed,
        last = report.first_seed + report.scenes.saturating_sub(1),
        things = report.ours.len(),
    );
    for (name, overlaps) in [
        ("this project", &report.ours),
        ("PyTorch twin", &report.twin),
    ] {
        let good = overlaps.iter().filter(|&&overlap| overlap >= 0.5).count();
        let share = 100.0 * good as f64 / overlaps.len().max(1) as f64;
        let _ = writeln!(text, "| {name} | {:.4} | {share:.1} % |", mean(overlaps));
    }
    let met = if ours >= twin - TOLERANCE {
        "met"
    } else {
        "missed"
    };
    let _ = write!(
        text,
        "
Masks are pasted as big_vision's evaluator does it, at the picture's own size. A thing that was not
found, or has no mask, counts as 0. The largest difference between the two on one thing is
{furthest:.5}.

| goal | difference | |
|---|---|---|
| no more than {TOLERANCE} below the twin | {:+.5} | {met} |
",
        ours - twin
    );
    text
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ours: &[f64], twin: &[f64]) -> String {
        markdown(&Report {
            date: "2001-02-03".to_owned(),
            adapter: "some adapter".to_owned(),
            torch: "9.9".to_owned(),
            scenes: 2,
            first_seed: 40_000,
            ours: ours.to_vec(),
            twin: twin.to_vec(),
        })
    }

    #[test]
    fn the_goal_is_met_down_to_the_tolerance() {
        let text = report(&[0.9, 0.4], &[0.9, 0.409]);
        for part in [
            "40000 to 40001",
            "| this project | 0.6500 | 50.0 % |",
            "| met |",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(report(&[0.9, 0.4], &[0.9, 0.411]).contains("| missed |"));
        assert!(report(&[0.9, 0.5], &[0.9, 0.411]).contains("| met |"));
    }
}
