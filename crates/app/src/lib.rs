//! The page: drop a picture, type a prompt, see boxes.
//!
//! A client of the worker that hosts the engine: it turns what the person does into requests and
//! the worker's events into what is on the screen. It computes no inference. What is plain
//! arithmetic (scores, colours, prompts) is kept apart from the browser and tested
//! natively.

#![expect(unreachable_pub, reason = "the macro of components writes `pub`")]

mod cache;
mod film;
mod header;
mod icon;
mod looked;
mod masks;
mod models;
mod notice;
mod page;
mod palette;
mod platform;
mod prompt;
mod results;
mod samples;
mod session;
mod speed;
mod stage;
mod state;
mod status;
mod theme;
mod truth;
mod tuned;
mod update;
mod wording;

use leptos::prelude::mount_to_body;

/// Puts the page into the document, in place of what stood there while it was on its way.
pub fn mount() {
    console_error_panic_hook::set_once();
    if let Some(waiting) = platform::page::document().get_element_by_id("starting") {
        waiting.remove();
    }
    mount_to_body(page::App);
}
