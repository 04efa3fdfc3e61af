//! What one run of one engine measured, and what many say together.

use serde_json::Value;

use crate::options::Engine;

/// One run. Times are in milliseconds, memory in bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) load: f64,
    /// From question to first token, in a fresh process.
    pub(crate) first: f64,
    /// The same again, on another copy of the picture; none where only one answer was asked for.
    pub(crate) again: Option<f64>,
    /// Between two tokens, on average over the last answer.
    pub(crate) token: f64,
    /// Largest resident sets by kind of process.
    pub(crate) peaks: Vec<(String, u64)>,
    /// Of the last answer.
    pub(crate) ids: Vec<u64>,
}

impl Sample {
    /// From `load_ms` and `answers`, each with `token_ms` and `ids`.
    ///
    /// # Errors
    /// If something of that is missing.
    pub(crate) fn read(outcome: &Value) -> Result<Self, String> {
        let missing = |what: &str| format!("{what} is missing in {outcome}");
        let load = outcome["load_ms"].as_f64();
        let answers = outcome["answers"].as_array();
        let answers = answers.ok_or_else(|| missing("answers"))?;
        let (mut firsts, mut token, mut ids) = (Vec::new(), None, Vec::new());
        for answer in answers {
            let times = answer["token_ms"].as_array().into_iter().flatten();
            let times: Vec<f64> = times.filter_map(Value::as_f64).collect();
            let [first, .., last] = times.as_slice() else {
                return Err(missing("the time of a second token"));
            };
            firsts.push(*first);
            token = Some((last - first) / (times.len() - 1) as f64);
            let given = answer["ids"].as_array().into_iter().flatten();
            ids = given.filter_map(Value::as_u64).collect();
        }
        Ok(Self {
            load: load.ok_or_else(|| missing("load_ms"))?,
            first: *firsts.first().ok_or_else(|| missing("an answer"))?,
            again: firsts.get(1).copied(),
            token: token.ok_or_else(|| missing("an answer"))?,
            peaks: Vec::new(),
            ids,
        })
    }
}

/// All runs of one engine.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) engine: Engine,
    /// Versions, threads, whatever else an engine says of itself.
    pub(crate) about: String,
    pub(crate) samples: Vec<Sample>,
    /// Why there are no more samples.
    pub(crate) failures: Vec<String>,
}

impl Side {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            about: String::new(),
            samples: Vec::new(),
            failures: Vec::new(),
        }
    }
}

/// What was measured, and on what.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Rows of the conditions: name and value.
    pub(crate) conditions: Vec<(&'static str, String)>,
    pub(crate) sides: Vec<Side>,
}

/// Median and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of at least one number.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let (least, most) = (*numbers.first()?, *numbers.last()?);
        let (below, above) = ((numbers.len() - 1) / 2, numbers.len() / 2);
        let median = (numbers[below] + numbers[above]) / 2.0;
        Some(Self {
            median,
            least,
            most,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_median_lies_between_the_two_in_the_middle() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        let median = |numbers: &[f64]| spread(numbers).map(|spread| spread.median);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 8.0]), Some(3.0));
        assert_eq!(median(&[]), None);
        let spread = spread(&[5.0, 1.0]).expect("two numbers");
        assert_eq!((spread.least, spread.most), (1.0, 5.0));
    }

    #[test]
    fn the_first_token_is_not_among_the_later_ones() {
        let outcome = json!({"load_ms": 5.0, "answers": [
            {"token_ms": [100.0, 120.0, 130.0], "ids": [7, 8, 9]},
            {"token_ms": [50.0, 54.0, 60.0], "ids": [7, 8, 9]},
        ]});
        let sample = Sample::read(&outcome).expect("a sample");
        assert_eq!(
            (sample.load, sample.first, sample.again),
            (5.0, 100.0, Some(50.0))
        );
        assert_eq!((sample.token, sample.ids), (5.0, vec![7, 8, 9]));
    }

    #[test]
    fn a_single_token_says_nothing_of_decoding() {
        let outcome = json!({"load_ms": 5.0, "answers": [{"token_ms": [100.0], "ids": [7]}]});
        assert!(Sample::read(&outcome).is_err());
    }
}
