//! How smooth the page stays: the time between frames, while something else computes.

use std::cell::RefCell;
use std::rc::Rc;

use leptos::prelude::{request_animation_frame, window_event_listener_untyped};

use super::page::clock;

/// Watches the frames that the browser gives the page.
#[derive(Clone)]
pub(crate) struct Frames(Rc<RefCell<Watch>>);

#[derive(Default)]
struct Watch {
    /// Differs for every watch, so that a frame asked for by an earlier one is not taken for this
    /// one's.
    round: u32,
    counts: bool,
    /// When the frame before was given, if the time since then counts.
    last: Option<f64>,
    apart: Vec<f64>,
}

impl Frames {
    pub(crate) fn new() -> Self {
        let watch = Rc::new(RefCell::new(Watch::default()));
        let of_listener = watch.clone();
        // A page that nobody sees gets no frames.
        window_event_listener_untyped("visibilitychange", move |_| {
            of_listener.borrow_mut().last = None;
        });
        Self(watch)
    }

    /// Begins to watch; nothing counts yet.
    pub(crate) fn begin(&self) {
        let round = {
            let mut watch = self.0.borrow_mut();
            *watch = Watch {
                round: watch.round.wrapping_add(1),
                ..Watch::default()
            };
            watch.round
        };
        next(self.0.clone(), round);
    }

    /// From now on frames count, or do not.
    pub(crate) fn count(&self, counts: bool) {
        let mut watch = self.0.borrow_mut();
        if watch.counts != counts {
            watch.counts = counts;
            watch.last = None;
        }
    }

    /// Ends; returns the milliseconds between frames that counted.
    pub(crate) fn end(&self) -> Vec<f64> {
        let mut watch = self.0.borrow_mut();
        watch.round = watch.round.wrapping_add(1);
        std::mem::take(&mut watch.apart)
    }
}

fn next(watch: Rc<RefCell<Watch>>, round: u32) {
    request_animation_frame(move || {
        {
            let mut watch = watch.borrow_mut();
            if watch.round != round {
                return;
            }
            let now = clock();
            if let (true, Some(last)) = (watch.counts, watch.last) {
                watch.apart.push(now - last);
            }
            watch.last = Some(now);
        }
        next(watch, round);
    });
}
