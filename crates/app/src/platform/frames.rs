//! How smooth the page stays: the time between its frames, while something else computes.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use leptos::prelude::{
    WindowListenerHandle, request_animation_frame, window_event_listener_untyped,
};

use super::page::{clock, document};

/// Watches the frames that the browser gives the page, until it is dropped.
pub(crate) struct Frames {
    watch: Rc<RefCell<Watch>>,
    visibility: Option<WindowListenerHandle>,
}

impl Frames {
    /// Begins. `draw` gets the number of each frame and must change something in view: a
    /// frame that draws nothing is given without waiting for the GPU.
    pub(crate) fn watch(draw: impl Fn(usize) + 'static) -> Self {
        let watch = Rc::new(RefCell::new(Watch::default()));
        watch.borrow_mut().seen(!document().hidden(), clock());
        let of_listener = Rc::downgrade(&watch);
        // A page that nobody sees gets no frames.
        let visibility = window_event_listener_untyped("visibilitychange", move |_| {
            if let Some(watch) = of_listener.upgrade() {
                watch.borrow_mut().seen(!document().hidden(), clock());
            }
        });
        next(Rc::downgrade(&watch), draw);
        Self {
            watch,
            visibility: Some(visibility),
        }
    }

    /// Ends; returns the milliseconds between frames, none if the page was hidden all the time.
    pub(crate) fn end(self) -> Vec<f64> {
        self.watch.borrow_mut().end(clock())
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if let Some(visibility) = self.visibility.take() {
            visibility.remove();
        }
    }
}

fn next(watch: Weak<RefCell<Watch>>, draw: impl Fn(usize) + 'static) {
    request_animation_frame(move || {
        let Some(strong) = watch.upgrade() else {
            return;
        };
        let number = strong.borrow_mut().frame(clock());
        drop(strong);
        draw(number);
        next(watch, draw);
    });
}

/// Times between frames, of a page that may be hidden in between.
#[derive(Default)]
struct Watch {
    /// The last frame, or since when the page is seen; none while it is hidden.
    last: Option<f64>,
    apart: Vec<f64>,
}

impl Watch {
    fn seen(&mut self, seen: bool, now: f64) {
        self.last = seen.then_some(now);
    }

    /// Returns the frame's number, from 1.
    fn frame(&mut self, now: f64) -> usize {
        if let Some(last) = self.last.replace(now) {
            self.apart.push(now - last);
        }
        self.apart.len()
    }

    /// The frame that has not come yet counts if it is later than all others: it may be what
    /// everybody waits for.
    fn end(&mut self, now: f64) -> Vec<f64> {
        let open = self.last.take().map(|last| now - last);
        let mut apart = std::mem::take(&mut self.apart);
        apart.extend(open.filter(|open| apart.iter().all(|ms| ms < open)));
        apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_the_first_frame_counts_and_a_shorter_one_at_the_end_does_not() {
        let mut watch = Watch::default();
        watch.seen(true, 100.0);
        assert_eq!(watch.frame(400.0), 1);
        assert_eq!(watch.frame(416.0), 2);
        assert_eq!(watch.end(500.0), [300.0, 16.0]);
    }

    #[test]
    fn a_frame_that_never_came_counts() {
        let mut watch = Watch::default();
        watch.seen(true, 100.0);
        assert_eq!(watch.end(2100.0), [2000.0]);

        watch.seen(true, 0.0);
        watch.frame(16.0);
        assert_eq!(watch.end(916.0), [16.0, 900.0]);
    }

    #[test]
    fn nothing_counts_while_the_page_is_hidden() {
        let mut watch = Watch::default();
        watch.seen(false, 0.0);
        assert!(watch.end(5000.0).is_empty());

        watch.seen(true, 0.0);
        watch.frame(16.0);
        watch.seen(false, 20.0);
        watch.seen(true, 9000.0);
        watch.frame(9010.0);
        assert_eq!(watch.end(9012.0), [16.0, 10.0]);
    }
}
