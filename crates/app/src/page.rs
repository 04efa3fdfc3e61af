//! The whole page, and what it listens to everywhere.

use leptos::ev;
use leptos::prelude::*;

use crate::header::Header;
use crate::notice::EngineNotice;
use crate::platform::page as address;
use crate::prompt::PromptPanel;
use crate::results::Results;
use crate::samples::{Samples, show_new_scene, show_sample};
use crate::session::Session;
use crate::stage::{DropAnywhere, Picture};
use crate::state::Page;

/// The sample that is on the stage when the page opens: four things of three kinds.
const FIRST_SAMPLE: usize = 3;

/// The page.
#[component]
pub(crate) fn App() -> impl IntoView {
    let page = Page::new();
    let session = Session::new(page);
    session.connect();
    match address::seed_in_address() {
        Some(seed) => show_new_scene(page, session, seed),
        None => show_sample(session, FIRST_SAMPLE),
    }
    let keys = window_event_listener(ev::keydown, move |event| {
        if event.key() == "Escape" {
            session.stop();
            page.pinned.set(None);
        }
    });
    on_cleanup(move || keys.remove());
    view! {
        <DropAnywhere session />
        <div class="page">
            <Header page />
            <EngineNotice page session />
            <main class="columns">
                <div class="column">
                    <Picture page session />
                    <Samples page session />
                </div>
                <div class="column">
                    <PromptPanel page session />
                    <Results page />
                    <About />
                </div>
            </main>
        </div>
    }
}

/// What the model is, said once.
#[component]
fn About() -> impl IntoView {
    view! {
        <footer class="about">
            <p>
                "The model here is a demo: a PaliGemma 2 of 5 million parameters, trained from scratch "
                "on scenes of emoji. It knows its 32 kinds of things, not photographs; real "
                "checkpoints come next."
            </p>
            <p>
                "Emoji: Noto Color Emoji, "
                <a href="demo/sprites/FONT_LICENSE.txt">"SIL Open Font License 1.1"</a> "."
            </p>
        </footer>
    }
}
