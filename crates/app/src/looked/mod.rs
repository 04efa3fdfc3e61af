//! Where the model looked when it chose a token: a heat map over the pictures.

mod heat;
mod panel;

use leptos::prelude::*;
use paligemma_browser::protocol::{AttentionMap, Look, Problem};

pub(crate) use self::heat::Heat;
pub(crate) use self::panel::WhereItLooked;

/// What is shown of the attention; a handle that is cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Looked {
    /// The panel is open, and the map is over the picture.
    pub(crate) open: RwSignal<bool>,
    /// Which token of the answer, from 0.
    pub(crate) token: RwSignal<u32>,
    /// One layer; none: the mean of all.
    pub(crate) layer: RwSignal<Option<u32>>,
    /// One head; none: the mean of all.
    pub(crate) head: RwSignal<Option<u32>>,
    /// The latest map.
    pub(crate) map: RwSignal<Option<AttentionMap>>,
    /// Why there is none.
    pub(crate) problem: RwSignal<Option<Problem>>,
}

impl Looked {
    /// Nothing was looked at.
    pub(crate) fn new() -> Self {
        Self {
            open: RwSignal::new(false),
            token: RwSignal::new(0),
            layer: RwSignal::new(None),
            head: RwSignal::new(None),
            map: RwSignal::new(None),
            problem: RwSignal::new(None),
        }
    }

    /// The answer that the map was of is gone. Layer and head stay, to compare answers by.
    pub(crate) fn clear(self) {
        self.token.set(0);
        self.map.set(None);
        self.problem.set(None);
    }

    /// The question that the present choice is.
    pub(crate) fn question(self, prompt: String, token_ids: Vec<u32>) -> Look {
        Look {
            prompt,
            token_ids,
            token: self.token.get_untracked(),
            layer: self.layer.get_untracked(),
            head: self.head.get_untracked(),
        }
    }
}
