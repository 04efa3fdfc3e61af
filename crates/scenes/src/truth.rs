//! What a picture really shows.

use serde::Serialize;

use crate::vocabulary::{KINDS, Kind};

/// What is known to be in a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Truth {
    /// The seed that composed it, if it was composed here.
    pub seed: Option<u32>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The things in it.
    pub objects: Vec<TruthObject>,
}

/// A thing that is known to be in a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TruthObject {
    /// What it is.
    pub label: String,
    /// `[x0, y0, x1, y1]` in pixels of the picture.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
}

impl Truth {
    /// The different labels, in alphabetical order.
    #[must_use]
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = self.objects.iter().map(|o| o.label.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    /// How many things of a kind there are.
    #[must_use]
    pub fn count(&self, label: &str) -> usize {
        self.objects.iter().filter(|o| o.label == label).count()
    }

    /// The caption that the demo model was trained to write: kinds in alphabetical order, numbers
    /// in words, `a banana, two cats and a flower`.
    #[must_use]
    pub fn caption(&self) -> String {
        let phrase = |kind: &Kind| {
            let number = match self.count(kind.name) {
                0 => return None,
                1 => return Some(kind.with_article()),
                2 => "two".to_owned(),
                3 => "three".to_owned(),
                4 => "four".to_owned(),
                more => more.to_string(),
            };
            Some(format!("{number} {}", kind.plural))
        };
        let phrases: Vec<String> = KINDS.iter().filter_map(phrase).collect();
        match phrases.split_last() {
            None => "nothing".to_owned(),
            Some((only, [])) => only.clone(),
            Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        }
    }

    /// Reads what a sample picture's JSON says about it: `objects[].{label, box_yxyx}`, boxes as
    /// fractions of the picture. None when it says something else.
    #[must_use]
    pub fn of_sample(json: &str, width: u32, height: u32) -> Option<Self> {
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

/// Intersection over union of two boxes; 0 when either is empty.
#[must_use]
pub fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
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
    fn captions_are_worded_as_in_training() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/demo/samples");
        for index in 0..12 {
            let json = std::fs::read_to_string(format!("{folder}/scene{index:02}.json")).unwrap();
            let sample: serde_json::Value = serde_json::from_str(&json).unwrap();
            let truth = Truth::of_sample(&json, 448, 448).unwrap();
            assert_eq!(sample["caption"], truth.caption());
        }
        let empty = Truth {
            seed: None,
            width: 1,
            height: 1,
            objects: Vec::new(),
        };
        assert_eq!(empty.caption(), "nothing");
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
