//! The whole page, and what it listens to everywhere.

use leptos::ev;
use leptos::prelude::*;

use crate::header::Header;
use crate::models::{ModelDialog, Models, Remarks};
use crate::notice::EngineNotice;
use crate::platform::page as address;
use crate::prompt::PromptPanel;
use crate::results::Results;
use crate::samples::{Samples, show_new_scene, show_sample};
use crate::session::Session;
use crate::speed::Speed;
use crate::stage::{DropAnywhere, Picture};
use crate::state::Page;
use crate::update::Update;

/// The sample that is on the stage when the page opens: four things of three kinds.
const FIRST_SAMPLE: usize = 3;

/// The page.
#[component]
pub(crate) fn App() -> impl IntoView {
    let page = Page::new();
    let session = Session::new(page);
    let models = Models::new(page, session);
    models.connect(None);
    models.read_address();
    models.watch_network();
    match address::seed_in_address() {
        Some(seed) => show_new_scene(page, session, seed),
        None => show_sample(session, FIRST_SAMPLE),
    }
    let keys = window_event_listener(ev::keydown, move |event| {
        // There it closes the dialog.
        if event.key() == "Escape" && !models.is_open() {
            session.stop();
            page.pinned.set(None);
        }
    });
    on_cleanup(move || keys.remove());
    view! {
        <DropAnywhere session />
        <Update />
        <div class="page">
            <Header page models />
            <Remarks models />
            <EngineNotice page models />
            <main class="columns">
                <div class="column">
                    <Picture page session />
                    <Samples page session />
                </div>
                <div class="column">
                    <PromptPanel page session models />
                    <Results page session />
                    <Speed page session models />
                    <About models />
                </div>
            </main>
        </div>
        <ModelDialog page models />
    }
}

/// What the model is, said once.
#[component]
fn About(models: Models) -> impl IntoView {
    let about = move || {
        if models.shows_demo() {
            "The model here is a demo: a PaliGemma 2 of 5 million parameters, trained from scratch on \
             scenes of emoji. It knows its 32 kinds of things, not photographs. Under Model a real \
             checkpoint is fetched: about 6 GB once, 2 GB of which this browser keeps."
                .to_owned()
        } else {
            format!(
                "{} answers. The sample pictures and the new scenes were made for the demo model; drop \
                 a photograph of your own.",
                models.present_title()
            )
        }
    };
    view! {
        <footer class="about">
            <p>{about}</p>
            <p>
                "Emoji: Noto Color Emoji, "
                <a href="demo/sprites/FONT_LICENSE.txt">"SIL Open Font License 1.1"</a> "."
            </p>
        </footer>
    }
}
