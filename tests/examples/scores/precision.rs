//! Average precision. Plain arithmetic.

use std::collections::HashSet;

use paligemma_engine::Evidence;
use serde::Serialize;

/// An object of an answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    /// Counts scenes under all conditions.
    pub(crate) scene: usize,
    /// Which condition it was found under.
    pub(crate) condition: usize,
    /// Intersection over union with each thing of the scene that has its label.
    pub(crate) overlaps: Vec<f32>,
    pub(crate) evidence: Evidence,
    /// The engine's.
    pub(crate) score: f32,
}

/// COCO's thresholds of intersection over union, 0.5 to 0.95.
pub(crate) fn thresholds() -> impl Iterator<Item = f32> {
    (0..10).map(|i| 0.5 + 0.05 * i as f32)
}

/// Mean of the average precision over [`thresholds`].
pub(crate) fn mean_average_precision(
    found: &[&Found],
    expected: usize,
    score: impl Fn(&Found) -> f64,
) -> f64 {
    let all: Vec<f64> = thresholds()
        .map(|overlap| average_precision(found, expected, overlap, &score))
        .collect();
    all.iter().sum::<f64>() / all.len() as f64
}

/// The area under the curve of precision over recall, precision being the best at that recall or
/// beyond: all labels pooled, objects in falling order of their score (equal ones in the order in
/// which they were found), each thing found once.
pub(crate) fn average_precision(
    found: &[&Found],
    expected: usize,
    overlap: f32,
    score: impl Fn(&Found) -> f64,
) -> f64 {
    let mut order: Vec<(f64, &Found)> = found.iter().map(|f| (score(f), *f)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut taken: HashSet<(usize, usize)> = HashSet::new();
    let mut curve = Vec::with_capacity(order.len());
    let mut right = 0;
    for (rank, (_, object)) in order.into_iter().enumerate() {
        let best = object
            .overlaps
            .iter()
            .enumerate()
            .filter(|(thing, _)| !taken.contains(&(object.scene, *thing)))
            .max_by(|a, b| a.1.total_cmp(b.1));
        if let Some((thing, _)) = best.filter(|(_, iou)| **iou >= overlap) {
            taken.insert((object.scene, thing));
            right += 1;
        }
        curve.push((right, right as f64 / (rank + 1) as f64));
    }
    let mut area = 0.0;
    let mut best = 0.0f64;
    for index in (0..curve.len()).rev() {
        let (right, precision) = curve[index];
        best = best.max(precision);
        let before = if index == 0 { 0 } else { curve[index - 1].0 };
        area += best * f64::from(right - before);
    }
    area / expected.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(scene: usize, overlaps: &[f32], score: f32) -> Found {
        Found {
            scene,
            condition: 0,
            overlaps: overlaps.to_vec(),
            evidence: Evidence {
                existence: 1.0,
                places: [1.0; 4],
                near: [[1.0; 4]; 4],
                label: 1.0,
                mask: None,
            },
            score,
        }
    }

    fn precision(found: &[Found], expected: usize) -> f64 {
        let found: Vec<&Found> = found.iter().collect();
        average_precision(&found, expected, 0.5, |f| f64::from(f.score))
    }

    #[test]
    fn right_ones_first_is_perfect_and_last_is_not() {
        let right = |score| found(0, &[0.9], score);
        let wrong = |score| found(1, &[0.2], score);
        assert_eq!(precision(&[right(0.9), wrong(0.1)], 1), 1.0);
        assert_eq!(precision(&[right(0.1), wrong(0.9)], 1), 0.5);
        // Equal scores keep their order.
        assert_eq!(precision(&[wrong(0.5), right(0.5)], 1), 0.5);
    }

    #[test]
    fn what_is_not_found_and_what_is_found_twice_counts_against_it() {
        let one = found(0, &[0.9, 0.0], 0.9);
        assert_eq!(precision(std::slice::from_ref(&one), 2), 0.5);
        let doubled = [one.clone(), one, found(0, &[0.0, 0.8], 0.1)];
        assert!((precision(&doubled, 2) - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-9);
        assert_eq!(precision(&[], 3), 0.0);
    }

    #[test]
    fn the_mean_is_over_ten_thresholds() {
        assert_eq!(thresholds().count(), 10);
        let half = found(0, &[0.72], 0.5);
        let mean = mean_average_precision(&[&half], 1, |_| 1.0);
        assert!((mean - 0.5).abs() < 1e-9, "{mean}");
    }
}
