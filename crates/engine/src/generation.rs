use paligemma_model as model;
use thiserror::Error;

/// How an answer is generated. The default is greedy: the most probable token, again and again.
///
/// Logits are treated in the order of transformers: repetition penalty, temperature, top-k, top-p,
/// softmax, draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// Draw tokens at random; none: take the most probable ones.
    pub sampling: Option<Sampling>,
    /// Logits of ids that the prompt or the answer has already are divided by this if they are
    /// positive and multiplied with it if not. 1: none of that.
    pub repetition_penalty: f32,
    /// Generate so many answers and return the one whose tokens, the end token included, have the
    /// highest summed log-probability. More than one needs `sampling`.
    pub best_of: usize,
    /// Follow so many answers at once and return the most probable one that ends, as big_vision
    /// searches: no length penalty, and every answer so far also counts as if it ended there. More
    /// than one goes with none of the other options but `stop_ids` and `dedupe`.
    pub num_beams: usize,
    /// Ids that end the answer, beside the model's own end tokens.
    pub stop_ids: Vec<u32>,
    /// Hold the answer to the grammar of `detect` and `segment`: see the README.
    pub constrained: bool,
    /// Of objects of one label whose boxes overlap by more than this (intersection over union)
    /// keep only the one with the highest score.
    pub dedupe: Option<f32>,
}

/// What tokens are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this: below 1 bolder, above 1 more various.
    pub temperature: f32,
    /// Draw from so many of the most probable tokens only, and from those just as probable as the
    /// last of them. (transformers takes 50 when nothing is said; here it is all.)
    pub top_k: Option<usize>,
    /// Draw from the fewest most probable tokens whose probabilities sum to more than this; 1: all.
    pub top_p: f32,
    /// Names the sequence of random numbers: the same seed draws the same answer.
    pub seed: u64,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            sampling: None,
            repetition_penalty: 1.0,
            best_of: 1,
            num_beams: 1,
            stop_ids: Vec::new(),
            constrained: false,
            dedupe: None,
        }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            seed: 0,
        }
    }
}

/// Most answers of `best_of`.
const MOST_ATTEMPTS: usize = 1024;
/// Most beams: each has a cache of its own.
const MOST_BEAMS: usize = 32;

/// Least temperature. A logit that the largest penalty multiplied and this divided stays a number
/// of f32, below 3.4e38, up to a logit of 1e17: no model has such. The most probable token is the
/// only one that is drawn long before.
const LEAST_TEMPERATURE: f32 = 1e-15;
/// Least and largest penalty of repetition: it divides logits above 0 and multiplies the others.
const LEAST_PENALTY: f32 = 1e-6;
const MOST_PENALTY: f32 = 1e6;

/// What is wrong with a [`Generation`].
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GenerationError {
    /// A number outside of its range.
    #[error("{name} is {value}, and it has to be {wanted}")]
    OutOfRange {
        /// The option.
        name: &'static str,
        /// What it was given.
        value: String,
        /// What it takes, and what to do instead.
        wanted: &'static str,
    },
    /// Options that exclude each other, or that need another.
    #[error("{one} does not go {with}; {instead}")]
    Together {
        /// The option.
        one: &'static str,
        /// What it does not go with.
        with: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// A stop id outside the vocabulary.
    #[error(
        "stop id {id} is outside the model's vocabulary of {vocabulary}; use ids of this model's tokenizer"
    )]
    StopId {
        /// The id.
        id: u32,
        /// Ids there are.
        vocabulary: usize,
    },
    /// A constrained answer to a prompt that has no grammar.
    #[error(
        "the answer to `{prompt}` has no grammar to hold it to; begin the prompt with `detect` or \
         `segment` and name what to look for, or leave `constrained` out"
    )]
    NoGrammar {
        /// The prompt.
        prompt: String,
    },
}

impl Generation {
    /// Whether every value is in its range and the options go together.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self, vocabulary: usize) -> Result<(), GenerationError> {
        let range = |fits: bool, name, value: String, wanted| match fits {
            true => Ok(()),
            false => Err(GenerationError::OutOfRange {
                name,
                value,
                wanted,
            }),
        };
        let penalty = self.repetition_penalty;
        range(
            (LEAST_PENALTY..=MOST_PENALTY).contains(&penalty),
            "repetition_penalty",
            penalty.to_string(),
            "a number above 0, from 1e-6 to 1e6; 1 is no penalty",
        )?;
        if let Some(sampling) = self.sampling {
            range(
                sampling.temperature.is_finite() && sampling.temperature >= LEAST_TEMPERATURE,
                "temperature",
                sampling.temperature.to_string(),
                "a number above 0, of at least 1e-15; leave sampling out for the most probable tokens",
            )?;
            range(
                sampling.top_k != Some(0),
                "top_k",
                "0".to_owned(),
                "at least 1; leave it out for all tokens",
            )?;
            range(
                (0.0..=1.0).contains(&sampling.top_p),
                "top_p",
                sampling.top_p.to_string(),
                "a number from 0 to 1; 1 is all tokens",
            )?;
        }
        range(
            (1..=MOST_ATTEMPTS).contains(&self.best_of),
            "best_of",
            self.best_of.to_string(),
            "a number from 1 to 1024",
        )?;
        range(
            (1..=MOST_BEAMS).contains(&self.num_beams),
            "num_beams",
            self.num_beams.to_string(),
            "a number from 1 to 32",
        )?;
        if let Some(overlap) = self.dedupe {
            range(
                (0.0..=1.0).contains(&overlap),
                "dedupe",
                overlap.to_string(),
                "an overlap from 0 to 1",
            )?;
        }
        if let Some(&id) = self.stop_ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(GenerationError::StopId { id, vocabulary });
        }
        self.check_together()
    }

    fn check_together(&self) -> Result<(), GenerationError> {
        let apart = |one, with, instead| Err(GenerationError::Together { one, with, instead });
        if self.best_of > 1 && self.sampling.is_none() {
            return apart(
                "best_of",
                "without sampling, as every answer would be the same",
                "set a temperature, top_k or top_p",
            );
        }
        let steered = self.sampling.is_some() || self.repetition_penalty != 1.0 || self.constrained;
        if self.num_beams > 1 && steered {
            return apart(
                "num_beams",
                "with sampling, repetition_penalty or constrained",
                "choose one or the other",
            );
        }
        Ok(())
    }

    /// The model's part of it.
    pub(crate) fn picking(&self, near: model::Neighbours) -> model::Picking {
        model::Picking::One(model::PickOne {
            repetition_penalty: self.repetition_penalty,
            sampling: self.sampling.map(|sampling| model::Sampling {
                temperature: sampling.temperature,
                top_k: sampling.top_k,
                top_p: sampling.top_p,
            }),
            constrained: self.constrained,
            near,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(generation: &Generation) -> String {
        generation
            .check(100)
            .expect_err("it is refused")
            .to_string()
    }

    #[test]
    fn every_range_is_kept_and_named() {
        let sampled = |sampling| Generation {
            sampling: Some(sampling),
            ..Generation::default()
        };
        let plain = Sampling::default();
        for temperature in [0.0, -1.0, 1e-40, 9e-16, f32::NAN, f32::INFINITY] {
            let sampling = Sampling {
                temperature,
                ..plain
            };
            assert!(refused(&sampled(sampling)).starts_with("temperature is"));
        }
        for top_p in [-0.1, 1.1, f32::NAN] {
            let sampling = Sampling { top_p, ..plain };
            assert!(refused(&sampled(sampling)).starts_with("top_p is"));
        }
        let top_k = Some(0);
        assert!(refused(&sampled(Sampling { top_k, ..plain })).starts_with("top_k is 0"));
        for (generation, named) in [
            (
                Generation {
                    repetition_penalty: 0.0,
                    ..Generation::default()
                },
                "repetition_penalty",
            ),
            (
                Generation {
                    best_of: 0,
                    ..Generation::default()
                },
                "best_of",
            ),
            (
                Generation {
                    num_beams: 33,
                    ..Generation::default()
                },
                "num_beams",
            ),
            (
                Generation {
                    dedupe: Some(1.5),
                    ..Generation::default()
                },
                "dedupe",
            ),
            (
                Generation {
                    stop_ids: vec![5, 100],
                    ..Generation::default()
                },
                "stop id 100",
            ),
        ] {
            let sentence = refused(&generation);
            assert!(sentence.starts_with(named), "{sentence}");
        }
        assert_eq!(Generation::default().check(100), Ok(()));
        assert_eq!(sampled(plain).check(100), Ok(()));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let best = Generation {
            best_of: 3,
            ..Generation::default()
        };
        assert!(refused(&best).contains("without sampling"));
        let drawn = Generation {
            sampling: Some(Sampling::default()),
            ..best
        };
        assert_eq!(drawn.check(100), Ok(()));
        for steered in [
            drawn,
            Generation {
                constrained: true,
                ..Generation::default()
            },
            Generation {
                repetition_penalty: 1.2,
                ..Generation::default()
            },
        ] {
            let both = Generation {
                num_beams: 2,
                ..steered
            };
            assert!(refused(&both).starts_with("num_beams does not go"));
        }
    }
}
