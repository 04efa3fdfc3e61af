//! What the model's probabilities say about each object of an answer, and its score.

use paligemma_model::{Neighbours, Scored};
use paligemma_processor::{Detection, LOC_TOKENS, SEG_TOKENS, Tokenizer};
use serde::Serialize;

/// Location tokens this far away count as near.
pub const RADII: [u32; 4] = [4, 16, 64, 1023];

/// Codes of a mask.
const MASK_CODES: usize = 16;

/// What the model's probabilities say about one object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// Probability that there is another object here: of all location tokens together where the
    /// object begins, times those of what separates it from the object before.
    pub existence: f32,
    /// Probability of each of the four location tokens.
    pub places: [f32; 4],
    /// For each of them and each of [`RADII`] the probability of the location tokens no further
    /// away.
    pub near: [[f32; 4]; 4],
    /// Probability of the label's tokens after the box; 1 where there are none yet.
    pub label: f32,
    /// Geometric mean of the probabilities of the mask's codes.
    pub mask: Option<f32>,
}

impl Evidence {
    /// The score.
    #[must_use]
    pub fn score(&self) -> f32 {
        let near: f32 = self.near.iter().map(|near| near[1]).product();
        let score = self.existence * self.label * near.powf(0.25);
        score.clamp(0.0, 1.0)
    }
}

/// The tokens of one object.
struct Group<'t> {
    before: &'t [Scored],
    places: &'t [Scored],
    codes: &'t [Scored],
    label: &'t [Scored],
}

/// The location tokens as neighbours; none where the tokenizer does not number them one after the
/// other.
pub(crate) fn places(tokenizer: &Tokenizer) -> Neighbours {
    let range = tokenizer.loc(0).zip(tokenizer.loc(1023));
    match range.filter(|(first, last)| last.checked_sub(*first) == Some(1023)) {
        Some((first, last)) => Neighbours {
            first,
            end: last + 1,
            radii: RADII,
        },
        None => Neighbours::default(),
    }
}

/// The evidence for each of the detections that were read from the text of these tokens, for a
/// picture of this many pixels. There is none for an object that is no run of tokens of its own.
pub(crate) fn evidence(
    tokens: &[Scored],
    tokenizer: &Tokenizer,
    detections: &[Detection],
    (width, height): (u32, u32),
) -> Vec<Option<Evidence>> {
    let value = |token: &Scored| index_of(token.id, LOC_TOKENS, |i| tokenizer.loc(i));
    let places: Vec<Option<usize>> = tokens.iter().map(value).collect();
    let mut groups = groups(tokens, &places, tokenizer).into_iter();
    detections
        .iter()
        .map(|detection| {
            // In order; a group whose box is another was not read as an object.
            groups
                .find(|(corners, _)| bbox(*corners, width, height) == detection.bbox)
                .map(|(_, group)| group.evidence())
        })
        .collect()
}

/// As the answer's reader does it: 1024ths of the picture, corners in order.
fn bbox([y0, x0, y1, x1]: [usize; 4], width: u32, height: u32) -> [f32; 4] {
    let pixels = |v: usize, side: u32| (v as f64 * f64::from(side) / 1024.0) as f32;
    [
        pixels(x0.min(x1), width),
        pixels(y0.min(y1), height),
        pixels(x0.max(x1), width),
        pixels(y0.max(y1), height),
    ]
}

/// Which of `count` tokens an id is; `of` has their ids, which as a rule follow one another.
fn index_of(id: u32, count: usize, of: impl Fn(usize) -> Option<u32>) -> Option<usize> {
    let (first, last) = of(0).zip(of(count - 1))?;
    if last.checked_sub(first) == Some(count as u32 - 1) {
        let index = id.checked_sub(first)? as usize;
        return (index < count).then_some(index);
    }
    (0..count).find(|&i| of(i) == Some(id))
}

/// Runs of four location tokens, with what belongs to each.
fn groups<'t>(
    tokens: &'t [Scored],
    places: &[Option<usize>],
    tokenizer: &Tokenizer,
) -> Vec<([usize; 4], Group<'t>)> {
    let is_code = |id: u32| index_of(id, SEG_TOKENS, |i| tokenizer.seg(i)).is_some();
    let separates = |id: u32| {
        let text = tokenizer.decode(&[id], true);
        text.is_ok_and(|text| text.contains(';'))
    };
    let mut found = Vec::new();
    let mut before = 0; // where the tokens before the next object begin
    let mut at = 0;
    while at < tokens.len() {
        let corners = places
            .get(at..at + 4)
            .map(|run| [run[0], run[1], run[2], run[3]]);
        let Some([Some(y0), Some(x0), Some(y1), Some(x1)]) = corners else {
            at += 1;
            continue;
        };
        let codes = at + 4;
        let is_mask = tokens
            .get(codes..codes + MASK_CODES)
            .is_some_and(|run| run.iter().all(|token| is_code(token.id)));
        let label = codes + if is_mask { MASK_CODES } else { 0 };
        let ends = |i: &usize| places[*i].is_some() || separates(tokens[*i].id);
        let end = (label..tokens.len()).find(ends).unwrap_or(tokens.len());
        let group = Group {
            before: &tokens[before..at],
            places: &tokens[at..codes],
            codes: &tokens[codes..label],
            label: &tokens[label..end],
        };
        found.push(([y0, x0, y1, x1], group));
        before = end;
        at = end.max(label);
    }
    found
}

fn product(tokens: &[Scored]) -> f32 {
    let sum: f32 = tokens.iter().map(|token| token.log_prob).sum();
    sum.exp()
}

impl Group<'_> {
    fn evidence(&self) -> Evidence {
        let each = |i: usize| self.places.get(i).copied().unwrap_or(NOTHING);
        let each = [0, 1, 2, 3].map(each);
        Evidence {
            existence: product(self.before) * each[0].near[3],
            places: each.map(|token| token.log_prob.exp()),
            near: each.map(|token| token.near),
            label: product(self.label),
            mask: (!self.codes.is_empty())
                .then(|| product(self.codes).powf(1.0 / self.codes.len() as f32)),
        }
    }
}

/// A group has four places; this stands for one that it has not.
const NOTHING: Scored = Scored {
    id: 0,
    log_prob: f32::MIN,
    near: [0.0; 4],
};

/// Of detections of one label whose boxes overlap by more than `overlap` only the one with the
/// highest score stays (of equal ones the first); what stays is in its order. Indices.
pub(crate) fn distinct(detections: &[Detection], scores: &[f32], overlap: f32) -> Vec<usize> {
    let score = |i: usize| scores.get(i).copied().unwrap_or(0.0);
    let mut order: Vec<usize> = (0..detections.len()).collect();
    order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    let mut kept: Vec<usize> = Vec::new();
    for candidate in order {
        let doubled = kept.iter().any(|&other| {
            let (a, b) = (&detections[candidate], &detections[other]);
            a.label == b.label && iou(a.bbox, b.bbox) > overlap
        });
        if !doubled {
            kept.push(candidate);
        }
    }
    kept.sort_unstable();
    kept
}

/// Intersection over union; 0 when either is empty.
fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |r: [f32; 4]| (r[2] - r[0]).max(0.0) * (r[3] - r[1]).max(0.0);
    let [x0, y0] = [a[0].max(b[0]), a[1].max(b[1])];
    let [x1, y1] = [a[2].min(b[2]), a[3].min(b[3])];
    let shared = area([x0, y0, x1, y1]);
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(label: &str, bbox: [f32; 4]) -> Detection {
        Detection {
            label: label.to_owned(),
            bbox,
            mask_codes: None,
            locations: [0; 4],
            mask: None,
        }
    }

    #[test]
    fn of_doubles_the_best_stays() {
        let all = [
            detection("cat", [0.0, 0.0, 10.0, 10.0]),
            detection("cat", [0.0, 0.0, 10.0, 9.0]),
            detection("dog", [0.0, 0.0, 10.0, 10.0]),
            detection("cat", [20.0, 0.0, 30.0, 10.0]),
        ];
        assert_eq!(distinct(&all, &[0.5, 0.9, 0.1, 0.2], 0.5), [1, 2, 3]);
        assert_eq!(distinct(&all, &[0.9, 0.5, 0.1, 0.2], 0.5), [0, 2, 3]);
        assert_eq!(distinct(&all, &[0.5; 4], 0.5), [0, 2, 3]);
        // They overlap by exactly nine tenths.
        assert_eq!(distinct(&all, &[0.5; 4], 0.9), [0, 1, 2, 3]);
        assert_eq!(distinct(&all, &[], 0.5), [0, 2, 3]);
    }
}
