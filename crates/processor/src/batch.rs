//! Several texts at once, with what training needs: padding, truncation, suffixes and labels, as
//! transformers' `PaliGemmaProcessor` makes them.

use crate::error::ProcessorError;
use crate::processor::Processor;
use crate::tokenizer::{BOS, EOS, IMAGE};
use crate::warning::ProcessorWarning;

/// The label of a token that no loss is taken of.
pub const IGNORED: i64 = -100;

/// Texts for [`Processor::batch`].
#[derive(Debug, Clone, Default)]
pub struct BatchRequest<'a> {
    /// Prompts; none: one empty prompt for each picture or list of pictures.
    pub texts: Option<&'a [&'a str]>,
    /// Answers to learn from, one for each text.
    pub suffixes: Option<&'a [&'a str]>,
    /// Whether rows are made equally long.
    pub padding: Padding,
    /// Most tokens of a row, pictures, prompt and suffix together.
    pub max_length: Option<usize>,
}

/// How short rows are filled up, always on the left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Padding {
    /// Not at all.
    #[default]
    Off,
    /// To the longest row.
    Longest,
    /// To this many tokens; longer rows stay.
    To(usize),
}

/// How many pictures there are for the texts.
#[derive(Debug, Clone, Copy)]
pub enum ImageCounts<'a> {
    /// This many in a row: one for each text, or as the `<image>`s of the texts take them.
    Flat(usize),
    /// So many for each text.
    Nested(&'a [usize]),
}

/// What the model is given for several texts. Rows are equally long if they were padded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids: `[texts, tokens]`.
    pub input_ids: Vec<Vec<u32>>,
    /// 1 for tokens, 0 for padding: `[texts, tokens]`.
    pub attention_mask: Vec<Vec<u32>>,
    /// 0 for the prefix and for padding, 1 for the suffix: `[texts, tokens]`.
    pub token_type_ids: Vec<Vec<u32>>,
    /// The ids of the suffix, [`IGNORED`] elsewhere: `[texts, tokens]`.
    pub labels: Vec<Vec<i64>>,
    /// Pictures of each text, in the order of all pictures: `[texts]`.
    pub num_images: Vec<usize>,
    /// What is probably not meant.
    pub warnings: Vec<ProcessorWarning>,
}

impl Processor {
    /// The ids of several prompts, and of the suffixes that answer them.
    ///
    /// If no text has an `<image>`, each gets its pictures in front; if any has, all are taken as
    /// they are. A suffix is followed by `<eos>`. Nothing is trimmed.
    ///
    /// # Errors
    /// No pictures or no texts, pictures or suffixes that are not as many as the texts or their
    /// `<image>`s, or image tokens that `max_length` cuts off.
    pub fn batch(
        &self,
        request: &BatchRequest<'_>,
        images: ImageCounts<'_>,
    ) -> Result<Batch, ProcessorError> {
        let mut batch = Batch {
            warnings: self.warnings().to_vec(),
            ..Batch::default()
        };
        let total = match images {
            ImageCounts::Flat(count) => count,
            ImageCounts::Nested(counts) => counts.iter().sum(),
        };
        self.check_images(total)?;
        let lists = match images {
            ImageCounts::Flat(count) => count,
            ImageCounts::Nested(counts) => counts.len(),
        };
        let captions;
        let texts = match request.texts {
            Some(texts) => texts,
            None => {
                batch.warnings.push(ProcessorWarning::NoText);
                captions = vec![""; lists];
                &captions
            }
        };
        if texts.is_empty() {
            return Err(ProcessorError::NoTexts);
        }
        if let Some(suffixes) = request.suffixes
            && suffixes.len() != texts.len()
        {
            return Err(ProcessorError::SuffixCount {
                suffixes: suffixes.len(),
                texts: texts.len(),
            });
        }
        let written: Vec<usize> = texts
            .iter()
            .map(|text| text.matches(IMAGE).count())
            .collect();
        let inferred = written.iter().all(|&count| count == 0);
        if inferred {
            batch.warnings.push(ProcessorWarning::ImagesInferred);
        }
        batch.num_images = shares(images, &written, inferred)?;
        for (index, text) in texts.iter().enumerate() {
            batch.warn_of(text);
            let suffix = request.suffixes.map(|all| all[index]);
            let images = if inferred { batch.num_images[index] } else { 0 };
            self.append(&mut batch, text, images, suffix, request.max_length)?;
        }
        batch.pad(request.padding, self.tokenizer().pad());
        Ok(batch)
    }

    /// The ids of an answer to learn from: the text and `<eos>`.
    ///
    /// # Errors
    /// [`ProcessorError::Encode`] if the library fails.
    pub fn suffix_ids(&self, suffix: &str) -> Result<Vec<u32>, ProcessorError> {
        self.tokenizer().encode(&format!("{suffix}{EOS}"))
    }

    /// Appends a row to a batch that is not padded yet. `images` are put in front of the text.
    fn append(
        &self,
        batch: &mut Batch,
        text: &str,
        images: usize,
        suffix: Option<&str>,
        max_length: Option<usize>,
    ) -> Result<(), ProcessorError> {
        let before = IMAGE.repeat(images * self.image_tokens());
        let text = self.expanded(text);
        let after = text.rfind(IMAGE).map_or(0, |last| last + IMAGE.len());
        let (head, tail) = text.split_at(after);
        let mut prefix = self
            .tokenizer()
            .encode(&format!("{before}{head}{BOS}{tail}\n"))?;
        let mut answer = match suffix {
            Some(suffix) => self.suffix_ids(suffix)?,
            None => Vec::new(),
        };
        if let Some(most) = max_length {
            let (kept, answered) = longest_first(prefix.len(), answer.len(), most);
            prefix.truncate(kept);
            answer.truncate(answered);
        }
        let row = batch.input_ids.len();
        let image = self.tokenizer().image();
        let found = prefix.iter().chain(&answer).filter(|&&id| id == image);
        let (found, expected) = (found.count(), batch.num_images[row] * self.image_tokens());
        if found != expected {
            return Err(ProcessorError::ImageTokenCount {
                found,
                expected,
                per_image: self.image_tokens(),
            });
        }
        let (prompt, suffix) = (prefix.len(), answer.len());
        let labels = std::iter::repeat_n(IGNORED, prompt);
        batch.labels.push(
            labels
                .chain(answer.iter().map(|&id| i64::from(id)))
                .collect(),
        );
        batch
            .token_type_ids
            .push([vec![0; prompt], vec![1; suffix]].concat());
        batch.attention_mask.push(vec![1; prompt + suffix]);
        prefix.append(&mut answer);
        batch.input_ids.push(prefix);
        Ok(())
    }

    /// Each `<image>` as often as a picture has tokens.
    fn expanded(&self, text: &str) -> String {
        text.replace(IMAGE, &IMAGE.repeat(self.image_tokens()))
    }
}

impl Batch {
    fn warn_of(&mut self, text: &str) {
        for warning in ProcessorWarning::of_text(text) {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    fn pad(&mut self, padding: Padding, pad: u32) {
        let longest = self.input_ids.iter().map(Vec::len).max().unwrap_or(0);
        let length = match padding {
            Padding::Off => return,
            Padding::Longest => longest,
            Padding::To(length) => length.min(MOST_PADDED),
        };
        fill(&mut self.input_ids, length, pad);
        fill(&mut self.attention_mask, length, 0);
        fill(&mut self.token_type_ids, length, 0);
        fill(&mut self.labels, length, IGNORED);
    }
}

/// Longest row that padding makes, far beyond every context.
const MOST_PADDED: usize = 1 << 20;

fn fill<T: Copy>(rows: &mut [Vec<T>], length: usize, with: T) {
    for row in rows {
        let missing = length.saturating_sub(row.len());
        row.splice(0..0, std::iter::repeat_n(with, missing));
    }
}

/// How many pictures each text has; `written` are its `<image>`s.
fn shares(
    images: ImageCounts<'_>,
    written: &[usize],
    inferred: bool,
) -> Result<Vec<usize>, ProcessorError> {
    let texts = written.len();
    match images {
        ImageCounts::Flat(count) if inferred => match count == texts {
            true => Ok(vec![1; texts]),
            false => Err(ProcessorError::TextCount {
                images: count,
                texts,
            }),
        },
        ImageCounts::Flat(count) => {
            let in_all = written.iter().sum();
            match count == in_all {
                true => Ok(written.to_vec()),
                false => Err(ProcessorError::ImageCount {
                    written: in_all,
                    images: count,
                }),
            }
        }
        ImageCounts::Nested(counts) => {
            if counts.len() != texts {
                return Err(ProcessorError::TextCount {
                    images: counts.len(),
                    texts,
                });
            }
            let wrong = written.iter().zip(counts).find(|(a, b)| a != b);
            match wrong.filter(|_| !inferred) {
                Some((&written, &images)) => Err(ProcessorError::ImageCount { written, images }),
                None => Ok(counts.to_vec()),
            }
        }
    }
}

/// How much of two segments stays when they may have `most` tokens together: the longer one gives
/// first, as in the `tokenizers` library.
fn longest_first(first: usize, second: usize, most: usize) -> (usize, usize) {
    if first + second <= most {
        return (first, second);
    }
    if second == 0 {
        return (first.min(most), 0);
    }
    let mut short = first.min(second);
    let mut long = if short > most {
        short
    } else {
        short.max(most - short)
    };
    if short + long > most {
        short = most / 2;
        long = short + most % 2;
    }
    if first <= second {
        (short, long)
    } else {
        (long, short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_segment_gives_first() {
        assert_eq!(longest_first(10, 5, 15), (10, 5));
        assert_eq!(longest_first(10, 5, 12), (7, 5));
        assert_eq!(longest_first(5, 10, 12), (5, 7));
        assert_eq!(longest_first(10, 10, 7), (3, 4));
        assert_eq!(longest_first(10, 0, 7), (7, 0));
        assert_eq!(longest_first(3, 3, 0), (0, 0));
    }

    #[test]
    fn padding_goes_to_the_left() {
        let mut rows = vec![vec![1, 2], vec![3]];
        fill(&mut rows, 2, 0);
        assert_eq!(rows, [vec![1, 2], vec![0, 3]]);
        fill(&mut rows, 1, 9);
        assert_eq!(rows, [vec![1, 2], vec![0, 3]]);
    }
}
