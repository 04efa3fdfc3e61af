//! Dropping and pasting, anywhere on the page.

use leptos::ev;
use leptos::prelude::*;
use paligemma_browser::protocol::{Problem, ProblemKind};
use web_sys::DataTransfer;

use crate::icon::{Glyph, Icon};
use crate::session::{Session, picture_files};

/// Listens on the window; covers the page while a file is over it.
#[component]
pub(crate) fn DropAnywhere(
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    // Entering a child fires before leaving its parent: only the difference says whether a file
    // is still over the page.
    let depth = RwSignal::new(0i32);
    let listeners = [
        window_event_listener(ev::dragenter, move |event| {
            if has_files(event.data_transfer()) {
                event.prevent_default();
                depth.update(|depth| *depth += 1);
            }
        }),
        window_event_listener(ev::dragover, move |event| {
            if has_files(event.data_transfer()) {
                event.prevent_default();
            }
        }),
        window_event_listener(ev::dragleave, move |event| {
            if has_files(event.data_transfer()) {
                depth.update(|depth| *depth = (*depth - 1).max(0));
            }
        }),
        window_event_listener(ev::drop, move |event| {
            depth.set(0);
            let data = event.data_transfer();
            if !has_files(data.clone()) {
                return;
            }
            // Without this the browser leaves the page for the file.
            event.prevent_default();
            let files = picture_files(data.and_then(|it| it.files()), "The dropped file");
            if files.is_empty() {
                session.refuse_offer(Problem {
                    kind: ProblemKind::Picture,
                    message: "What was dropped holds no file: drop a picture file from a folder."
                        .to_owned(),
                });
            }
            session.show_all(files);
        }),
        window_event_listener(ev::paste, move |event| {
            let pasted = event.clipboard_data().and_then(|data| data.files());
            let files = picture_files(pasted, "The pasted picture");
            if !files.is_empty() {
                event.prevent_default();
                session.show_all(files);
            }
        }),
    ];
    on_cleanup(move || listeners.into_iter().for_each(|listener| listener.remove()));
    view! {
        <div class="drop" class:away=move || depth.get() == 0 aria-hidden="true">
            <p>
                <Icon glyph=Glyph::Upload />
                "Drop the picture anywhere, or several for one question"
            </p>
        </div>
    }
}

fn has_files(data: Option<DataTransfer>) -> bool {
    data.is_some_and(|data| data.types().includes(&"Files".into(), 0))
}
