//! What a picture really shows, and how much of it was found.

use paligemma_browser::protocol::Detection;
use serde::Serialize;

/// What is known to be in a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Truth {
    /// The seed that composed it, if it was composed here.
    pub(crate) seed: Option<u32>,
    /// Pixels.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
    /// The things in it.
    pub(crate) objects: Vec<TruthObject>,
}

/// A thing that is known to be in a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TruthObject {
    /// What it is.
    pub(crate) label: String,
    /// `[x0, y0, x1, y1]` in pixels of the picture.
    #[serde(rename = "box")]
    pub(crate) bbox: [f32; 4],
}

impl Truth {
    /// The different labels, in alphabetical order.
    pub(crate) fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = self.objects.iter().map(|o| o.label.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    /// Reads what a sample picture's JSON says about it: `objects[].{label, box_yxyx}`, boxes as
    /// fractions of the picture. None when it says something else.
    pub(crate) fn of_sample(json: &str, width: u32, height: u32) -> Option<Self> {
        let sample: serde_json::Value = serde_json::from_str(json).ok()?;
        let objects = sample.get("objects")?.as_array()?.iter().map(|object| {
            let [y0, x0, y1, x1] =
                serde_json::from_value::<[f32; 4]>(object.get("box_yxyx")?.clone()).ok()?;
            let (width, height) = (width as f32, height as f32);
            Some(TruthObject {
                label: object.get("label")?.as_str()?.to_owned(),
                bbox: [x0 * width, y0 * height, x1 * width, y1 * height],
            })
        });
        Some(Self {
            seed: None,
            width,
            height,
            objects: objects.collect::<Option<_>>()?,
        })
    }
}

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

/// Intersection over union of two boxes; 0 when either is empty.
pub(crate) fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |r: [f32; 4]| (r[2] - r[0]).max(0.0) * (r[3] - r[1]).max(0.0);
    let shared = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
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
            })
            .collect()
    }

    #[test]
    fn overlap_is_a_share_of_the_union() {
        assert_eq!(iou([0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]), 1.0);
        assert_eq!(
            iou([0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0]),
            50.0 / 150.0
        );
        assert_eq!(iou([0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0]), 0.0);
        assert_eq!(iou([5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0]), 0.0);
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

    #[test]
    fn samples_are_read_as_they_are_published() {
        let json = include_str!("../../../web/demo/samples/scene03.json");
        let truth = Truth::of_sample(json, 448, 448).unwrap();
        assert_eq!(truth.labels(), ["banana", "cat", "flower"]);
        assert_eq!(truth.objects.len(), 4);
        let [x0, y0, x1, y1] = truth.objects[1].bbox.map(f32::round);
        assert_eq!([x0, y0, x1, y1], [252.0, 89.0, 376.0, 228.0]);
        assert_eq!(
            Truth::of_sample("{\"objects\": [{\"label\": 3}]}", 1, 1),
            None
        );
        assert_eq!(Truth::of_sample("not json", 1, 1), None);
    }
}
