//! What the page knows about masks: which are there, which are shown, how strongly.

use std::collections::HashSet;
use std::sync::Arc;

use leptos::prelude::*;
use paligemma_browser::protocol::{Detection, Mask};

use crate::platform::file::{self, ObjectUrl};

/// How strongly masks are drawn at first, in percent.
const OPACITY: u32 = 50;

/// The masks of the latest answer; a handle that is cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Masks {
    /// Those that have come.
    pub(crate) shown: RwSignal<Vec<ShownMask>>,
    /// Percent.
    pub(crate) opacity: RwSignal<u32>,
    /// Detections whose masks are switched off.
    hidden: RwSignal<HashSet<usize>>,
    /// Labels whose masks are switched off.
    hidden_kinds: RwSignal<HashSet<String>>,
}

/// A mask that the browser can draw.
#[derive(Clone, Debug)]
pub(crate) struct ShownMask {
    /// Which detection's.
    pub(crate) index: usize,
    /// `[x0, y0, x1, y1]` in pixels of the picture.
    pub(crate) area: [u32; 4],
    /// Where the browser finds its PNG.
    pub(crate) url: Arc<ObjectUrl>,
}

impl Masks {
    /// No masks yet.
    pub(crate) fn new() -> Self {
        Self {
            shown: RwSignal::new(Vec::new()),
            opacity: RwSignal::new(OPACITY),
            hidden: RwSignal::default(),
            hidden_kinds: RwSignal::default(),
        }
    }

    /// Takes masks that have come.
    pub(crate) fn add(self, masks: Vec<Mask>) {
        // Where the browser has no room for a few kilobytes, a mask is missing and the box is not.
        let masks = masks.into_iter().filter_map(|mask| {
            Some(ShownMask {
                index: mask.index,
                area: mask.area,
                url: Arc::new(file::png_url(&mask.png.0)?),
            })
        });
        let masks: Vec<ShownMask> = masks.collect();
        self.shown.update(|shown| shown.extend(masks));
    }

    /// Forgets them, and what was switched off; the opacity stays.
    pub(crate) fn clear(self) {
        self.shown.set(Vec::new());
        self.hidden.set(HashSet::new());
        self.hidden_kinds.set(HashSet::new());
    }

    /// Whether an object has a mask.
    pub(crate) fn has(self, index: usize) -> bool {
        self.shown
            .with(|shown| shown.iter().any(|mask| mask.index == index))
    }

    /// Whether an object's mask is switched on by itself, whatever its kind is.
    pub(crate) fn is_on(self, index: usize) -> bool {
        self.hidden.with(|hidden| !hidden.contains(&index))
    }

    /// Whether a kind's masks are switched on.
    pub(crate) fn is_kind_on(self, label: &str) -> bool {
        self.hidden_kinds.with(|hidden| !hidden.contains(label))
    }

    /// Whether an object's mask is to be seen.
    pub(crate) fn is_visible(self, index: usize, label: &str) -> bool {
        self.is_on(index) && self.is_kind_on(label)
    }

    /// Switches an object's mask.
    pub(crate) fn switch(self, index: usize) {
        self.hidden.update(|hidden| toggle(hidden, index));
    }

    /// Switches the masks of a kind.
    pub(crate) fn switch_kind(self, label: &str) {
        self.hidden_kinds
            .update(|hidden| toggle(hidden, label.to_owned()));
    }

    /// The labels of the objects that have masks, and how many have each, in the order of the
    /// answer.
    pub(crate) fn kinds(self, detections: &[Detection]) -> Vec<(String, usize)> {
        self.shown.with(|shown| {
            let indices: HashSet<usize> = shown.iter().map(|mask| mask.index).collect();
            kinds(detections, &indices)
        })
    }
}

fn toggle<T: Eq + std::hash::Hash>(set: &mut HashSet<T>, value: T) {
    if !set.remove(&value) {
        set.insert(value);
    }
}

fn kinds(detections: &[Detection], with_masks: &HashSet<usize>) -> Vec<(String, usize)> {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    let labels = detections.iter().enumerate();
    for (_, found) in labels.filter(|(index, _)| with_masks.contains(index)) {
        match kinds.iter_mut().find(|(label, _)| *label == found.label) {
            Some((_, count)) => *count += 1,
            None => kinds.push((found.label.clone(), 1)),
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_in_the_order_of_the_answer() {
        let all = ["dog", "cat", "dog", "", "bus"].map(|label| Detection {
            score: Some(0.5),
            label: label.to_owned(),
            bbox: [0.0; 4],
        });
        let with_masks = HashSet::from([0, 1, 2, 3]);
        let expected = [("dog", 2), ("cat", 1), ("", 1)].map(|(l, n)| (l.to_owned(), n));
        assert_eq!(kinds(&all, &with_masks), expected);
    }

    #[test]
    fn what_is_switched_twice_is_as_before() {
        let mut set = HashSet::new();
        toggle(&mut set, 3);
        assert!(set.contains(&3));
        toggle(&mut set, 3);
        assert!(set.is_empty());
    }
}
