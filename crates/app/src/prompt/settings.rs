//! How answers are generated: what the person chose, and what the worker is asked for.

use std::fmt;

use paligemma_browser::protocol::Generation;

/// A field of the panel that takes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Temperature,
    TopK,
    TopP,
    Seed,
    BestOf,
    NumBeams,
    RepetitionPenalty,
    StopIds,
    Dedupe,
    MaxNewTokens,
}

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Number,
    Count,
    Seed,
    Ids,
}

impl Field {
    /// Of use only while tokens are drawn.
    pub(super) const DRAWING: [Self; 4] = [Self::Temperature, Self::TopK, Self::TopP, Self::Seed];
    /// The others.
    pub(super) const MORE: [Self; 6] = [
        Self::NumBeams,
        Self::BestOf,
        Self::RepetitionPenalty,
        Self::Dedupe,
        Self::StopIds,
        Self::MaxNewTokens,
    ];
    const COUNT: usize = Self::DRAWING.len() + Self::MORE.len();

    /// In the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::TopK => "top-k",
            Self::TopP => "top-p",
            Self::Seed => "seed",
            Self::BestOf => "best-of",
            Self::NumBeams => "num-beams",
            Self::RepetitionPenalty => "repetition-penalty",
            Self::StopIds => "stop-ids",
            Self::Dedupe => "dedupe",
            Self::MaxNewTokens => "max-new-tokens",
        }
    }

    /// On the page.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Temperature => "Temperature",
            Self::TopK => "Top k",
            Self::TopP => "Top p",
            Self::Seed => "Seed",
            Self::BestOf => "Best of",
            Self::NumBeams => "Beams",
            Self::RepetitionPenalty => "Repetition penalty",
            Self::StopIds => "Stop ids",
            Self::Dedupe => "Dedupe above",
            Self::MaxNewTokens => "Max new tokens",
        }
    }

    /// What it does, in a sentence.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Temperature => "Logits are divided by this: below 1 bolder, above 1 more various",
            Self::TopK => "Draw from so many of the most probable tokens",
            Self::TopP => "Draw from the fewest tokens whose probabilities sum to more than this",
            Self::Seed => "The same seed draws the same answer",
            Self::BestOf => "Draw so many answers and keep the most probable",
            Self::NumBeams => "Follow so many answers at once and keep the most probable",
            Self::RepetitionPenalty => {
                "Above 1 makes tokens of the prompt and the answer less probable"
            }
            Self::StopIds => "Ids of tokens that end the answer, too",
            Self::Dedupe => {
                "Of boxes of one label that overlap by more than this (intersection over union), \
                 keep the one with the highest score"
            }
            Self::MaxNewTokens => "Where an answer that has no end is cut",
        }
    }

    /// What an empty field stands for.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Temperature | Self::TopP => "1",
            Self::BestOf | Self::NumBeams | Self::RepetitionPenalty => "1",
            Self::TopK => "all",
            Self::Seed => "0",
            Self::StopIds => "none",
            Self::Dedupe => "off",
            Self::MaxNewTokens => "auto",
        }
    }

    pub(super) fn takes(self) -> Takes {
        match self {
            Self::Temperature | Self::TopP | Self::RepetitionPenalty | Self::Dedupe => {
                Takes::Number
            }
            Self::TopK | Self::BestOf | Self::NumBeams | Self::MaxNewTokens => Takes::Count,
            Self::Seed => Takes::Seed,
            Self::StopIds => Takes::Ids,
        }
    }
}

impl Takes {
    /// What to write.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Number => "Write a number, such as 0.7.",
            Self::Count => "Write a whole number below 4294967296, in digits only.",
            Self::Seed => "Write a whole number below 18446744073709551616, in digits only.",
            Self::Ids => "Write ids, such as 1 108: whole numbers with spaces between.",
        }
    }
}

/// What the person has chosen. Fields hold what was typed; an empty one leaves its option out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Draw tokens at random.
    pub(crate) draws: bool,
    /// Hold answers to the grammar of boxes where the prompt asks for boxes.
    pub(crate) constrained: bool,
    /// By field, in the order in which they are declared.
    typed: [String; Field::COUNT],
}

/// What is asked of the worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// How tokens are picked.
    pub(crate) generation: Generation,
    /// Most tokens to generate, where the person said so.
    pub(crate) max_new_tokens: Option<u32>,
}

/// A field that holds something else than it takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unreadable {
    field: Field,
    typed: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, typed } = self;
        let advice = field.takes().advice();
        write!(
            f,
            "{} is “{typed}” under Generation, which cannot be read. {advice}",
            field.title()
        )
    }
}

impl Settings {
    /// Takes what was typed into a field.
    pub(crate) fn set(&mut self, field: Field, typed: String) {
        self.typed[field as usize] = typed;
    }

    /// Whether a field is of use now.
    pub(super) fn uses(&self, field: Field) -> bool {
        self.draws || !Field::DRAWING.contains(&field)
    }

    /// Whether a field holds something that cannot be read, and is of use.
    pub(super) fn is_wrong(&self, field: Field) -> bool {
        let read = match field.takes() {
            Takes::Number => self.read(field, number).err(),
            Takes::Count => self.read(field, whole::<u32>).err(),
            Takes::Seed => self.read(field, whole::<u64>).err(),
            Takes::Ids => self.read(field, ids).err(),
        };
        read.is_some()
    }

    fn read<T>(&self, field: Field, parse: fn(&str) -> Option<T>) -> Result<Option<T>, Unreadable> {
        let typed = self.typed[field as usize].trim();
        if typed.is_empty() || !self.uses(field) {
            return Ok(None);
        }
        let unreadable = || Unreadable {
            field,
            typed: typed.to_owned(),
        };
        parse(typed).ok_or_else(unreadable).map(Some)
    }

    /// As the worker takes it; `has_boxes`: the prompt asks for boxes.
    ///
    /// # Errors
    /// The first field that cannot be read: nothing else is asked for in its place.
    pub(crate) fn asked(&self, has_boxes: bool) -> Result<Asked, Unreadable> {
        let seed = self.read(Field::Seed, whole)?;
        Ok(Asked {
            generation: Generation {
                temperature: self.read(Field::Temperature, number)?,
                top_k: self.read(Field::TopK, whole)?,
                top_p: self.read(Field::TopP, number)?,
                // Always there, so that drawing is on whatever else is left empty.
                seed: self.draws.then(|| seed.unwrap_or_default()),
                repetition_penalty: self.read(Field::RepetitionPenalty, number)?,
                best_of: self.read(Field::BestOf, whole)?,
                num_beams: self.read(Field::NumBeams, whole)?,
                stop_ids: self.read(Field::StopIds, ids)?.unwrap_or_default(),
                constrained: self.constrained && has_boxes,
                dedupe: self.read(Field::Dedupe, number)?,
            },
            max_new_tokens: self.read(Field::MaxNewTokens, whole)?,
        })
    }

    /// `greedy`, `drawn, seed 7, best of 3`
    pub(super) fn summary(&self) -> String {
        let asked = match self.asked(true) {
            Ok(asked) => asked,
            Err(wrong) => return format!("{} cannot be read", wrong.field.title()),
        };
        let it = asked.generation;
        let several = |count: Option<u32>| count.filter(|&count| count != 1);
        let ids = it.stop_ids.len();
        let mut words: Vec<String> = [
            it.seed.map(|seed| format!("drawn, seed {seed}")),
            several(it.num_beams).map(|count| format!("{count} beams")),
            several(it.best_of).map(|count| format!("best of {count}")),
            it.repetition_penalty
                .map(|penalty| format!("repetition penalty {penalty}")),
            it.constrained.then(|| "constrained".to_owned()),
            it.dedupe.map(|overlap| format!("dedupe above {overlap}")),
            (ids > 0).then(|| format!("stop ids {ids}")),
            asked.max_new_tokens.map(|most| format!("at most {most}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if it.seed.is_none() && several(it.num_beams).is_none() {
            words.insert(0, "greedy".to_owned());
        }
        words.join(", ")
    }
}

/// Keyboards of many languages have a comma and no point.
fn number(typed: &str) -> Option<f32> {
    let number: f32 = typed.replace(',', ".").parse().ok()?;
    number.is_finite().then_some(number)
}

/// Without a comma, which might part thousands as well as tenths.
fn whole<T: std::str::FromStr>(typed: &str) -> Option<T> {
    typed.parse().ok()
}

fn ids(typed: &str) -> Option<Vec<u32>> {
    let between = |c: char| c.is_whitespace() || c == ',' || c == ';';
    let ids = typed.split(between).filter(|id| !id.is_empty());
    ids.map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(draws: bool, typed: &[(Field, &str)]) -> Settings {
        let mut settings = Settings {
            draws,
            ..Settings::default()
        };
        for (field, typed) in typed {
            settings.set(*field, (*typed).to_owned());
        }
        settings
    }

    #[test]
    fn greedy_until_drawing_is_asked_for() {
        let typed = [(Field::Temperature, "0.7"), (Field::Seed, "9")];
        let greedy = with(false, &typed);
        assert_eq!(greedy.asked(true).unwrap(), Asked::default());
        assert_eq!(greedy.summary(), "greedy");
        let drawn = with(true, &typed);
        let it = drawn.asked(true).unwrap().generation;
        assert_eq!((it.temperature, it.seed), (Some(0.7), Some(9)));
        assert_eq!((it.top_k, it.top_p), (None, None));
        assert_eq!(drawn.summary(), "drawn, seed 9");
        let it = with(true, &[]).asked(true).unwrap().generation;
        assert_eq!((it.temperature, it.seed), (None, Some(0)));
    }

    #[test]
    fn every_option_is_asked_for() {
        let mut settings = with(
            true,
            &[
                (Field::Temperature, " 0,7 "),
                (Field::TopK, "40"),
                (Field::TopP, ".9"),
                (Field::Seed, "18446744073709551615"),
                (Field::BestOf, "3"),
                (Field::NumBeams, "2"),
                (Field::RepetitionPenalty, "1,25"),
                (Field::StopIds, "1, 108;257151 7"),
                (Field::Dedupe, "0.5"),
                (Field::MaxNewTokens, "64"),
            ],
        );
        settings.constrained = true;
        let generation = Generation {
            temperature: Some(0.7),
            top_k: Some(40),
            top_p: Some(0.9),
            seed: Some(u64::MAX),
            repetition_penalty: Some(1.25),
            best_of: Some(3),
            num_beams: Some(2),
            stop_ids: vec![1, 108, 257_151, 7],
            constrained: true,
            dedupe: Some(0.5),
        };
        let asked = settings.asked(true).unwrap();
        assert_eq!(asked.generation, generation);
        assert_eq!(asked.max_new_tokens, Some(64));
        assert_eq!(
            settings.summary(),
            "drawn, seed 18446744073709551615, 2 beams, best of 3, repetition penalty 1.25, \
             constrained, dedupe above 0.5, stop ids 4, at most 64"
        );
        // A grammar needs boxes.
        assert!(!settings.asked(false).unwrap().generation.constrained);
        let beams = with(false, &[(Field::NumBeams, "3"), (Field::BestOf, "1")]);
        assert_eq!(beams.summary(), "3 beams");
    }

    #[test]
    fn nothing_is_asked_for_in_place_of_what_cannot_be_read() {
        for (field, typed) in [
            (Field::Temperature, "warm"),
            (Field::Temperature, "1.000,5"),
            (Field::Temperature, "inf"),
            (Field::TopP, "NaN"),
            (Field::TopK, "many"),
            (Field::TopK, "1,5"),
            (Field::TopK, "4294967296"),
            (Field::Seed, "18446744073709551616"),
            (Field::Seed, "-1"),
            (Field::BestOf, "1.0"),
            (Field::NumBeams, "2 beams"),
            (Field::RepetitionPenalty, "1e99"),
            (Field::StopIds, "1 two"),
            (Field::StopIds, "-1"),
            (Field::Dedupe, "50%"),
            (Field::MaxNewTokens, "-5"),
        ] {
            let settings = with(true, &[(field, typed)]);
            let sentence = settings.asked(true).unwrap_err().to_string();
            let begin = format!("{} is “{typed}”", field.title());
            assert!(sentence.starts_with(&begin), "{sentence}");
            assert!(sentence.ends_with(field.takes().advice()), "{sentence}");
            assert!(settings.is_wrong(field));
            let summary = format!("{} cannot be read", field.title());
            assert_eq!(settings.summary(), summary);
            for other in [Field::DRAWING.as_slice(), &Field::MORE].concat() {
                assert_eq!(settings.is_wrong(other), other == field);
            }
        }
        // A field that is of no use now keeps nobody.
        let unused = with(false, &[(Field::Seed, "x")]);
        assert!(!unused.is_wrong(Field::Seed));
        assert_eq!(unused.asked(true).unwrap(), Asked::default());
    }
}
