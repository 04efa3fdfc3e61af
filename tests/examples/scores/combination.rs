//! Ways to make one number of what the probabilities say about an object.

use paligemma_engine::{Evidence, RADII};

use crate::precision::Found;

/// A way, and what it is called in the table.
pub(crate) struct Combination {
    pub(crate) name: String,
    pub(crate) score: Box<dyn Fn(&Found) -> f64>,
}

fn product(numbers: &[f32]) -> f64 {
    numbers.iter().map(|&number| f64::from(number)).product()
}

/// All that are compared; the first has no scores, the last is what the engine gives.
pub(crate) fn all() -> Vec<Combination> {
    let mut all = Vec::new();
    let mut add = |name: String, score: Box<dyn Fn(&Found) -> f64>| {
        all.push(Combination { name, score });
    };
    add("none: in the order found".to_owned(), Box::new(|_| 0.0));
    let of = |f: fn(&Evidence) -> f64| Box::new(move |found: &Found| f(&found.evidence));
    add("existence".to_owned(), of(|e| f64::from(e.existence)));
    add("label".to_owned(), of(|e| f64::from(e.label)));
    add(
        "existence · label".to_owned(),
        of(|e| f64::from(e.existence * e.label)),
    );
    add(
        "product of the places".to_owned(),
        of(|e| product(&e.places)),
    );
    for (index, radius) in RADII.into_iter().enumerate().take(3) {
        let near = move |e: &Evidence| product(&e.near.map(|near| near[index]));
        add(
            format!("product of what is within {radius}"),
            Box::new(move |found| near(&found.evidence)),
        );
        add(
            format!("existence · label · mean within {radius}"),
            Box::new(move |found| {
                let e = &found.evidence;
                f64::from(e.existence * e.label) * near(e).powf(0.25)
            }),
        );
        add(
            format!("existence · label · product within {radius}"),
            Box::new(move |found| {
                let e = &found.evidence;
                f64::from(e.existence * e.label) * near(e)
            }),
        );
    }
    add(
        "the score of answers".to_owned(),
        Box::new(|found| f64::from(found.score)),
    );
    all
}
