//! How far rounding moves the logits of the small checkpoints that are compared with transformers.

use std::fmt::Write as _;
use std::path::Path;

use paligemma_engine::{Engine, Picture, Prompt, Recipe, RunRequest, TraceOptions};

use crate::{Case, Outcome, load};

/// The checkpoints in `tests/fixtures`.
const FIXTURES: [&str; 5] = ["pg1_mqa", "pg1_gqa_bf16", "pg2_gqa", "pg2_odd", "pg2_q128"];

/// For each recipe but the first, which is the reference, and each fixture: the root mean square
/// of what the logits moved by, as a share of their own spread.
pub(crate) fn section(root: &Path) -> Outcome<String> {
    let mut text = "
## Logits

How far rounding moves the logits of the last token of a prompt, on the checkpoints with random
weights that are compared with transformers: the root mean square of the difference from
`as-stored`, in percent of the logits' own standard deviation. Random weights have no slack to
lose, and their rows are short, so this says how sensitive a network is and nothing about answers.

| recipe |"
        .to_owned();
    for fixture in FIXTURES {
        let _ = write!(text, " {fixture} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(FIXTURES.len()));
    text.push('\n');
    let references = logits_of_all(root, &Recipe::AS_STORED)?;
    for recipe in &Recipe::ALL[1..] {
        let _ = write!(text, "| {recipe} |");
        for (reference, moved) in references.iter().zip(logits_of_all(root, recipe)?) {
            let _ = write!(text, " {:.2} % |", 100.0 * drift(reference, &moved));
        }
        text.push('\n');
    }
    Ok(text)
}

fn logits_of_all(root: &Path, recipe: &Recipe) -> Outcome<Vec<Vec<f32>>> {
    FIXTURES
        .iter()
        .map(|fixture| {
            let folder = root.join("tests/fixtures").join(fixture);
            let picture = std::fs::read(folder.join("images/image_a.png"))?;
            let mut engine = load(&folder.join("model"), &Case::of(recipe.clone()))?;
            logits(&mut engine, &Picture::decode(&picture)?)
        })
        .collect()
}

/// Those of the last token.
fn logits(engine: &mut Engine, picture: &Picture) -> Outcome<Vec<f32>> {
    let request = RunRequest {
        pictures: std::slice::from_ref(picture),
        prompt: Prompt::Text("caption en"),
        max_new_tokens: 1,
    };
    let options = TraceOptions::default();
    let tensors = pollster::block_on(engine.trace(&request, &options))?.tensors;
    let mut tensors = tensors.into_iter();
    let logits = tensors.find(|tensor| tensor.name == "logits");
    let logits = logits.ok_or("a forward pass without logits")?;
    let vocabulary = *logits.shape.last().ok_or("logits without a shape")?;
    let start = logits.values.len() - vocabulary;
    Ok(logits.values[start..].to_vec())
}

/// Root mean square difference over standard deviation.
fn drift(reference: &[f32], moved: &[f32]) -> f64 {
    let numbers = || reference.iter().map(|&x| f64::from(x));
    let mean = numbers().sum::<f64>() / reference.len() as f64;
    let spread: f64 = numbers().map(|x| (x - mean).powi(2)).sum();
    let moved = moved.iter().map(|&x| f64::from(x));
    let error: f64 = numbers().zip(moved).map(|(a, b)| (a - b).powi(2)).sum();
    (error / spread).sqrt()
}

#[cfg(test)]
mod tests {
    use super::drift;

    #[test]
    fn drift_is_relative_to_the_spread_and_not_to_the_size() {
        let reference = [99.0, 101.0];
        assert_eq!(drift(&reference, &reference), 0.0);
        // The spread is 1 about a mean of 100.
        assert!((drift(&reference, &[99.5, 101.5]) - 0.5).abs() < 1e-12);
    }
}
