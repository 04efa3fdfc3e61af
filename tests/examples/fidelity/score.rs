//! How near answers are to the reference's, and to the truth. Plain arithmetic.

use paligemma_engine::Detection;
use paligemma_scenes::{Truth, iou};

use crate::record::{Answers, Reply};

/// Intersection over union from which a thing counts as found.
const FOUND_IOU: f32 = 0.5;

/// A mean that grows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// 1 where there was nothing to get wrong.
    fn value(self) -> f64 {
        if self.count == 0 {
            1.0
        } else {
            self.sum / self.count as f64
        }
    }
}

/// What the scenes of one recipe add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    same_ids: Mean,
    reference_iou: Mean,
    found: Mean,
    truth_iou: Mean,
    count: Mean,
    caption: Mean,
}

/// Means over scenes, each in `0..=1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scores {
    /// Prompts whose generated ids are the reference's.
    pub(crate) same_ids: f64,
    /// Intersection over union with the reference's boxes; a box on either side without a
    /// partner of its label on the other counts as 0.
    pub(crate) reference_iou: f64,
    /// Things found under their name at an intersection over union of at least one half.
    pub(crate) recall: f64,
    /// Intersection over union with the things' true boxes; a thing without a box counts as 0.
    pub(crate) truth_iou: f64,
    /// Numbers that are right.
    pub(crate) count: f64,
    /// Captions that are right to the letter.
    pub(crate) caption: f64,
}

impl Totals {
    /// Adds the answers about one scene; `counted` is the label whose number was asked for.
    pub(crate) fn add(
        &mut self,
        answers: &Answers,
        reference: &Answers,
        truth: &Truth,
        counted: &str,
    ) {
        let replies = |a: &Answers| [&a.detect, &a.caption, &a.count].map(Reply::clone);
        for (own, other) in replies(answers).iter().zip(&replies(reference)) {
            self.same_ids.add(f64::from(own.ids == other.ids));
        }

        let own = boxes(&answers.detect.detections);
        let other = boxes(&reference.detect.detections);
        let pairs = partners(&own, &other);
        for overlap in &pairs {
            self.reference_iou.add(f64::from(*overlap));
        }
        for _ in 0..own.len() + other.len() - 2 * pairs.len() {
            self.reference_iou.add(0.0);
        }

        let things: Vec<Labelled<'_>> = truth
            .objects
            .iter()
            .map(|object| (object.label.as_str(), object.bbox))
            .collect();
        let pairs = partners(&own, &things);
        for thing in 0..things.len() {
            let overlap = pairs.get(thing).copied().unwrap_or(0.0);
            self.truth_iou.add(f64::from(overlap));
            self.found.add(f64::from(overlap >= FOUND_IOU));
        }

        let number = truth.count(counted).to_string();
        self.count
            .add(f64::from(answers.count.text.trim() == number));
        self.caption
            .add(f64::from(answers.caption.text.trim() == truth.caption()));
    }

    /// The means so far.
    pub(crate) fn scores(&self) -> Scores {
        Scores {
            same_ids: self.same_ids.value(),
            reference_iou: self.reference_iou.value(),
            recall: self.found.value(),
            truth_iou: self.truth_iou.value(),
            count: self.count.value(),
            caption: self.caption.value(),
        }
    }
}

type Labelled<'a> = (&'a str, [f32; 4]);

fn boxes(detections: &[Detection]) -> Vec<Labelled<'_>> {
    detections
        .iter()
        .map(|detection| (detection.label.as_str(), detection.bbox))
        .collect()
}

/// Intersection over union of each pair of boxes of one label, best overlap first, each box at
/// most once. As many pairs as there can be, those that do not touch included.
fn partners(a: &[Labelled<'_>], b: &[Labelled<'_>]) -> Vec<f32> {
    let mut candidates = Vec::new();
    for (i, (label, bbox)) in a.iter().enumerate() {
        for (j, (other_label, other_bbox)) in b.iter().enumerate() {
            if label == other_label {
                candidates.push((iou(*bbox, *other_bbox), i, j));
            }
        }
    }
    candidates.sort_by(|x, y| y.0.total_cmp(&x.0));
    let (mut used_a, mut used_b) = (vec![false; a.len()], vec![false; b.len()]);
    let mut pairs = Vec::new();
    for (overlap, i, j) in candidates {
        if !used_a[i] && !used_b[j] {
            (used_a[i], used_b[j]) = (true, true);
            pairs.push(overlap);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use paligemma_scenes::TruthObject;

    const LEFT: [f32; 4] = [0.0, 0.0, 10.0, 10.0];
    const RIGHT: [f32; 4] = [50.0, 0.0, 60.0, 10.0];
    /// Overlaps `LEFT` by four fifths.
    const SHORT: [f32; 4] = [0.0, 0.0, 10.0, 8.0];
    /// Overlaps `LEFT` by two fifths.
    const FLAT: [f32; 4] = [0.0, 0.0, 10.0, 4.0];

    fn truth(objects: &[Labelled<'_>]) -> Truth {
        let object = |(label, bbox): &Labelled<'_>| TruthObject {
            label: (*label).to_owned(),
            bbox: *bbox,
        };
        Truth {
            seed: None,
            width: 100,
            height: 100,
            objects: objects.iter().map(object).collect(),
        }
    }

    fn reply(ids: &[u32], text: &str, boxes: &[Labelled<'_>]) -> Reply {
        let detection = |(label, bbox): &Labelled<'_>| Detection {
            label: (*label).to_owned(),
            bbox: *bbox,
            ..Detection::default()
        };
        Reply {
            ids: ids.to_vec(),
            text: text.to_owned(),
            detections: boxes.iter().map(detection).collect(),
        }
    }

    fn answers(boxes: &[Labelled<'_>], caption: &str, count: &str) -> Answers {
        let ids: Vec<u32> = boxes.iter().map(|b| b.1[3] as u32).collect();
        Answers {
            seed: 0,
            detect: reply(&ids, "", boxes),
            caption: reply(&[1], caption, &[]),
            count: reply(&[2], count, &[]),
        }
    }

    fn scores(own: &Answers, reference: &Answers, truth: &Truth) -> Scores {
        let mut totals = Totals::default();
        totals.add(own, reference, truth, "cat");
        totals.scores()
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-6
    }

    #[test]
    fn a_perfect_answer_scores_one_everywhere() {
        let truth = truth(&[("cat", LEFT), ("cat", RIGHT)]);
        let right = answers(&[("cat", RIGHT), ("cat", LEFT)], "two cats", "2");
        let all = Scores {
            same_ids: 1.0,
            reference_iou: 1.0,
            recall: 1.0,
            truth_iou: 1.0,
            count: 1.0,
            caption: 1.0,
        };
        assert_eq!(scores(&right, &right, &truth), all);
    }

    #[test]
    fn a_box_without_a_partner_counts_as_nothing_on_either_side() {
        let truth = truth(&[("cat", LEFT)]);
        let one = answers(&[("cat", LEFT)], "a cat", "1");
        let two = answers(&[("cat", SHORT), ("dog", RIGHT)], "a cat", "1");
        assert!(near(scores(&two, &one, &truth).reference_iou, 0.8 / 2.0));
        assert!(near(scores(&one, &two, &truth).reference_iou, 0.8 / 2.0));
        let none = answers(&[], "a cat", "1");
        assert!(near(scores(&none, &one, &truth).reference_iou, 0.0));
        assert!(near(scores(&one, &none, &truth).reference_iou, 0.0));
        assert!(near(scores(&none, &none, &truth).reference_iou, 1.0));
        // Another label is no partner, however well it lies.
        let dog = answers(&[("dog", LEFT)], "a cat", "1");
        assert!(near(scores(&dog, &one, &truth).reference_iou, 0.0));
    }

    #[test]
    fn the_best_partners_find_each_other_whatever_their_order() {
        let pairs = partners(
            &[("cat", SHORT), ("cat", LEFT), ("cat", RIGHT)],
            &[("cat", LEFT), ("cat", FLAT)],
        );
        // LEFT takes LEFT; SHORT is left with FLAT; RIGHT with nobody.
        assert_eq!(pairs, [1.0, 0.5]);
    }

    #[test]
    fn what_is_in_the_scene_is_found_from_one_half_on() {
        let truth = truth(&[("cat", LEFT), ("cat", RIGHT)]);
        let scored = |own| scores(&own, &own, &truth);
        let missed = scored(answers(&[("cat", FLAT), ("cat", RIGHT)], "", ""));
        assert!(near(missed.recall, 0.5) && near(missed.truth_iou, 0.7));
        // A box too many costs neither recall nor overlap with the truth.
        let more = scored(answers(
            &[("cat", LEFT), ("cat", RIGHT), ("cat", SHORT)],
            "",
            "",
        ));
        assert!(near(more.recall, 1.0) && near(more.truth_iou, 1.0));
        let absent = scored(answers(&[("cat", LEFT)], "", ""));
        assert!(near(absent.recall, 0.5) && near(absent.truth_iou, 0.5));
    }

    #[test]
    fn words_and_numbers_are_right_or_wrong() {
        let truth = truth(&[("cat", LEFT), ("dog", RIGHT)]);
        let wrong = answers(&[], "a cat and a hog", "2");
        let right = answers(&[], "a cat and a dog", "1");
        let mut totals = Totals::default();
        totals.add(&wrong, &right, &truth, "cat");
        totals.add(&right, &right, &truth, "cat");
        let scores = totals.scores();
        assert!(near(scores.caption, 0.5) && near(scores.count, 0.5));
    }

    #[test]
    fn ids_are_compared_prompt_by_prompt() {
        let truth = truth(&[("cat", LEFT)]);
        let one = answers(&[("cat", LEFT)], "", "");
        let other = answers(&[("cat", SHORT)], "", "");
        assert!(near(scores(&one, &other, &truth).same_ids, 2.0 / 3.0));
    }
}
