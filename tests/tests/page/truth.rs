//! Boxes the page shows against boxes that are true.

use serde_json::Value;

use crate::browser::Page;

#[derive(Clone, Debug)]
pub(crate) struct Labelled {
    pub(crate) label: String,
    pub(crate) bbox: [f64; 4], // x0, y0, x1, y1
}

impl Page {
    /// The list of detections, as a person reads it.
    pub(crate) async fn detections(&self) -> Vec<Labelled> {
        let list = self
            .script(
                "return [...document.querySelectorAll('#detections li[data-box]')].map(li => \
                 ({ label: li.dataset.label, box: li.dataset.box.split(',').map(Number) }))",
            )
            .await;
        labelled(&list)
    }

    /// What is known to be in the picture.
    pub(crate) async fn truth(&self) -> Vec<Labelled> {
        let truth = self
            .script(
                "return JSON.parse(document.querySelector('#ground-truth').textContent).objects",
            )
            .await;
        labelled(&truth)
    }
}

fn labelled(list: &Value) -> Vec<Labelled> {
    let all = list.as_array().unwrap().iter();
    all.map(|one| Labelled {
        label: one["label"].as_str().unwrap().to_owned(),
        bbox: serde_json::from_value(one["box"].clone()).unwrap(),
    })
    .collect()
}

/// How many true boxes have a found box of the same label with at least this intersection over
/// union; each found box counts once.
pub(crate) fn recalled(truth: &[Labelled], found: &[Labelled], iou: f64) -> usize {
    let mut free: Vec<&Labelled> = found.iter().collect();
    let mut count = 0;
    for object in truth {
        let fits = |it: &&Labelled| it.label == object.label && overlap(it, object) >= iou;
        if let Some(at) = free.iter().position(fits) {
            free.swap_remove(at);
            count += 1;
        }
    }
    count
}

fn overlap(a: &Labelled, b: &Labelled) -> f64 {
    let area = |[x0, y0, x1, y1]: [f64; 4]| (x1 - x0).max(0.0) * (y1 - y0).max(0.0);
    let ([ax0, ay0, ax1, ay1], [bx0, by0, bx1, by1]) = (a.bbox, b.bbox);
    let both = area([ax0.max(bx0), ay0.max(by0), ax1.min(bx1), ay1.min(by1)]);
    both / (area(a.bbox) + area(b.bbox) - both)
}

#[test]
fn overlap_is_intersection_over_union() {
    let of = |bbox| Labelled {
        label: "cat".into(),
        bbox,
    };
    let (a, b) = (of([0.0, 0.0, 2.0, 2.0]), of([1.0, 0.0, 3.0, 2.0]));
    assert!((overlap(&a, &b) - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(recalled(&[a.clone(), a.clone()], &[a.clone()], 0.7), 1);
    assert_eq!(recalled(&[a], &[b], 0.7), 0);
}
