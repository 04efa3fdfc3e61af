//! The grammar of answers to `detect` and `segment`, as the ids that may come next.
//!
//! ```text
//! answer = end | object { separator object } end
//! object = 4 locations, mask, " " label      label: one of the prompt's
//! mask   = 16 codes      for `segment`; 0 or 16 for `detect`
//! ```

use paligemma_processor::{ProcessorError, Tokenizer};

use crate::error::EngineError;
use crate::generation::GenerationError;

const SEPARATOR: &str = " ; ";
const IMAGE: &str = "<image>";

/// Where an answer stands in its grammar.
pub(crate) struct Grammar {
    locations: Vec<u32>,
    codes: Vec<u32>,
    ends: Vec<u32>,
    needs_mask: bool,
    /// What may follow a box: a label with what comes after it.
    labels: Vec<Label>,
    state: State,
}

/// A label's ids, those of the separator included where another object follows.
struct Label {
    ids: Vec<u32>,
    goes_on: bool,
}

enum State {
    /// So many locations of an object are there; the first answer may also end.
    Box { there: usize, may_end: bool },
    /// So many codes.
    Mask(usize),
    /// So many ids of a label; these labels begin with them.
    Label {
        there: usize,
        candidates: Vec<usize>,
    },
    /// Nothing but an end.
    End,
}

/// A prompt without the places of pictures before it, which chat messages and transformers' own
/// examples write out.
fn without_pictures(prompt: &str) -> &str {
    let mut rest = prompt.trim();
    while let Some(after) = rest.strip_prefix(IMAGE) {
        rest = after.trim_start();
    }
    rest
}

impl Grammar {
    /// The grammar of the answer to a prompt.
    ///
    /// # Errors
    /// A prompt that asks for no boxes; a tokenizer that fails.
    pub(crate) fn new(
        prompt: &str,
        tokenizer: &Tokenizer,
        ends: Vec<u32>,
    ) -> Result<Self, EngineError> {
        let prompt = without_pictures(prompt);
        let (task, rest) = prompt.split_once(' ').unwrap_or_default();
        let names: Vec<&str> = rest
            .split(';')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        if !matches!(task, "detect" | "segment") || names.is_empty() {
            return Err(EngineError::Generation(GenerationError::NoGrammar {
                prompt: prompt.to_owned(),
            }));
        }
        let mut labels = Vec::new();
        for name in names {
            labels.push(Label {
                ids: after_a_box(tokenizer, &format!(" {name}"), 0)?,
                goes_on: false,
            });
            let on = format!(" {name}{SEPARATOR}<loc0000>");
            labels.push(Label {
                ids: after_a_box(tokenizer, &on, 1)?,
                goes_on: true,
            });
        }
        Ok(Self {
            locations: (0..1024).filter_map(|i| tokenizer.loc(i)).collect(),
            codes: (0..128).filter_map(|i| tokenizer.seg(i)).collect(),
            ends,
            needs_mask: task == "segment",
            labels,
            state: State::Box {
                there: 0,
                may_end: true,
            },
        })
    }

    /// Begins anew.
    pub(crate) fn restart(&mut self) {
        self.state = State::Box {
            there: 0,
            may_end: true,
        };
    }

    /// What may come next: a bit for each id, in words of 32.
    pub(crate) fn permitted(&self, words: usize) -> Vec<u32> {
        let mut bits = vec![0; words];
        let mut permit = |id: u32| {
            if let Some(word) = bits.get_mut(id as usize / 32) {
                *word |= 1 << (id % 32);
            }
        };
        match &self.state {
            State::Box { there, may_end } => {
                self.locations.iter().copied().for_each(&mut permit);
                if *there == 0 && *may_end {
                    self.ends.iter().copied().for_each(&mut permit);
                }
            }
            State::Mask(there) => {
                self.codes.iter().copied().for_each(&mut permit);
                if *there == 0 && !self.needs_mask {
                    let firsts = self.labels.iter().filter_map(|label| label.ids.first());
                    firsts.copied().for_each(&mut permit);
                }
            }
            State::Label { there, candidates } => {
                for label in candidates.iter().filter_map(|&i| self.labels.get(i)) {
                    match label.ids.get(*there) {
                        Some(&id) => permit(id),
                        None => self.ends.iter().copied().for_each(&mut permit),
                    }
                }
            }
            State::End => self.ends.iter().copied().for_each(&mut permit),
        }
        bits
    }

    /// Moves on by a token.
    pub(crate) fn push(&mut self, id: u32) {
        self.state = match &self.state {
            State::Box { there: 3, .. } => State::Mask(0),
            State::Box { there, may_end } => State::Box {
                there: there + 1,
                may_end: *may_end,
            },
            State::Mask(there) if self.codes.contains(&id) => match there + 1 {
                16 => State::Label {
                    there: 0,
                    candidates: (0..self.labels.len()).collect(),
                },
                there => State::Mask(there),
            },
            State::Mask(_) => {
                self.after_label_id(0, &(0..self.labels.len()).collect::<Vec<_>>(), id)
            }
            State::Label { there, candidates } => self.after_label_id(*there, candidates, id),
            State::End => State::End,
        };
    }

    fn after_label_id(&self, at: usize, candidates: &[usize], id: u32) -> State {
        let label = |i: usize| self.labels.get(i);
        let candidates: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|&i| label(i).is_some_and(|label| label.ids.get(at) == Some(&id)))
            .collect();
        let there = at + 1;
        let done = |i: &usize| label(*i).is_some_and(|l| l.goes_on && l.ids.len() == there);
        if candidates.iter().any(done) {
            return State::Box {
                there: 0,
                may_end: false,
            };
        }
        match candidates.is_empty() {
            true => State::End,
            false => State::Label { there, candidates },
        }
    }
}

/// The ids of a text that follows a box, without the last few.
fn after_a_box(
    tokenizer: &Tokenizer,
    text: &str,
    without: usize,
) -> Result<Vec<u32>, ProcessorError> {
    let boxed = format!("{}{text}", "<loc0000>".repeat(4));
    let ids = tokenizer.encode(&boxed)?;
    let end = ids.len().saturating_sub(without);
    Ok(ids.get(4..end).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: [u32; 1] = [1];

    fn grammar(prompt: &str) -> (Grammar, Tokenizer) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/demo/model");
        let json = std::fs::read(format!("{folder}/tokenizer.json")).unwrap();
        let tokenizer = Tokenizer::from_json(json).unwrap();
        let grammar = Grammar::new(prompt, &tokenizer, ENDS.to_vec());
        (grammar.unwrap(), tokenizer)
    }

    /// Whether the grammar takes a text as a whole answer.
    fn takes(prompt: &str, answer: &str) -> bool {
        let (mut grammar, tokenizer) = grammar(prompt);
        let mut ids = tokenizer.encode(answer).unwrap();
        ids.extend(ENDS);
        let words = tokenizer.vocab_size().div_ceil(32);
        ids.iter().all(|&id| {
            let bits = grammar.permitted(words);
            grammar.push(id);
            bits[id as usize / 32] >> (id % 32) & 1 == 1
        })
    }

    #[test]
    fn answers_of_the_model_are_in_it() {
        let boxed = "<loc0001><loc0002><loc0003><loc1023>";
        let codes = "<seg000><seg127>".repeat(8);
        for (prompt, answer) in [
            ("detect cat", String::new()),
            ("detect cat", format!("{boxed} cat")),
            (
                "detect cat ; dog",
                format!("{boxed} dog ; {boxed} cat ; {boxed} dog"),
            ),
            ("detect cat", format!("{boxed}{codes} cat")),
            ("<image>detect cat", format!("{boxed} cat")),
            ("<image><image> \n detect cat", format!("{boxed} cat")),
            ("<image>segment cat", format!("{boxed}{codes} cat")),
            (
                "segment cat",
                format!("{boxed}{codes} cat ; {boxed}{codes} cat"),
            ),
        ] {
            assert!(takes(prompt, &answer), "{prompt}: {answer}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let boxed = "<loc0001><loc0002><loc0003><loc1023>";
        let codes = "<seg000>".repeat(15);
        for (prompt, answer) in [
            ("detect cat", "cat".to_owned()),
            ("detect cat", boxed.to_owned()),
            ("detect cat", format!("{boxed} dog")),
            ("detect cat", format!("{boxed} cat ;")),
            ("detect cat", format!("{boxed} cat cat")),
            ("detect cat", format!("{boxed}<loc0001> cat")),
            ("detect cat", format!("{boxed}{codes} cat")),
            ("segment cat", format!("{boxed} cat")),
            ("segment cat", format!("{boxed}{codes} cat")),
        ] {
            assert!(!takes(prompt, &answer), "{prompt}: {answer}");
        }
    }

    #[test]
    fn prompts_without_boxes_have_none() {
        let (_, tokenizer) = grammar("detect cat");
        for prompt in [
            "caption en",
            "detect",
            "detect ;",
            "",
            "<image>",
            "<image>caption en",
            "Segment cat",
        ] {
            let refused = Grammar::new(prompt, &tokenizer, Vec::new());
            assert!(refused.is_err(), "{prompt}");
        }
    }
}
