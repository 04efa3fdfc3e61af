//! How much of what a picture really shows was found.

use paligemma_browser::protocol::Detection;
use paligemma_scenes::{Truth, TruthObject, iou};

/// How well an answer met the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    /// Things that were asked for, are there and were found.
    pub(crate) found: usize,
    /// Things that were asked for and are there.
    pub(crate) expected: usize,
    /// Boxes where nothing of that kind is, or a second box for the same thing.
    pub(crate) wrong: usize,
    /// Mean intersection over union of what was found; 0 when nothing was.
    pub(crate) mean_iou: f32,
}

/// Intersection over union from which a box counts as found.
pub(crate) const FOUND_IOU: f32 = 0.5;

/// Compares the boxes with those things of the truth that were asked for. Pairs of the same label
/// are matched, best overlap first, each thing and each box at most once.
pub(crate) fn score(truth: &Truth, detections: &[Detection], asked: &[String]) -> Score {
    let expected: Vec<&TruthObject> = truth
        .objects
        .iter()
        .filter(|object| asked.contains(&object.label))
        .collect();
    let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
    for (t, object) in expected.iter().enumerate() {
        for (d, detection) in detections.iter().enumerate() {
            let overlap = iou(object.bbox, detection.bbox);
            if object.label == detection.label && overlap >= FOUND_IOU {
                pairs.push((overlap, t, d));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut used_truth, mut used_box) =
        (vec![false; expected.len()], vec![false; detections.len()]);
    let (mut found, mut sum) = (0, 0.0);
    for (overlap, t, d) in pairs {
        if !used_truth[t] && !used_box[d] {
            (used_truth[t], used_box[d]) = (true, true);
            found += 1;
            sum += overlap;
        }
    }
    Score {
        found,
        expected: expected.len(),
        wrong: detections.len() - found,
        mean_iou: if found == 0 { 0.0 } else { sum / found as f32 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(objects: &[(&str, [f32; 4])]) -> Truth {
        let objects = objects
            .iter()
            .map(|(label, bbox)| TruthObject {
                label: (*label).to_owned(),
                bbox: *bbox,
            })
            .collect();
        Truth {
            seed: None,
            width: 100,
            height: 100,
            objects,
        }
    }

    fn boxes(detections: &[(&str, [f32; 4])]) -> Vec<Detection> {
        detections
            .iter()
            .map(|(label, bbox)| Detection {
                label: (*label).to_owned(),
                bbox: *bbox,
                score: None,
            })
            .collect()
    }

    #[test]
    fn a_thing_is_found_once_and_only_under_its_own_name() {
        let truth = truth(&[
            ("cat", [0.0, 0.0, 10.0, 10.0]),
            ("cat", [50.0, 0.0, 60.0, 10.0]),
        ]);
        let asked = ["cat".to_owned()];
        let found = boxes(&[
            ("cat", [0.0, 0.0, 10.0, 8.0]),
            ("cat", [0.0, 0.0, 10.0, 10.0]),
            ("dog", [50.0, 0.0, 60.0, 10.0]),
        ]);
        let score = score(&truth, &found, &asked);
        assert_eq!((score.found, score.expected, score.wrong), (1, 2, 2));
        assert_eq!(score.mean_iou, 1.0);
    }

    #[test]
    fn only_what_was_asked_for_is_expected() {
        let truth = truth(&[
            ("cat", [0.0, 0.0, 10.0, 10.0]),
            ("dog", [50.0, 0.0, 60.0, 10.0]),
        ]);
        let score = score(&truth, &[], &["bus".to_owned()]);
        assert_eq!(
            score,
            Score {
                found: 0,
                expected: 0,
                wrong: 0,
                mean_iou: 0.0
            }
        );
    }
}
