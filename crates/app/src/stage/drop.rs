//! Dropping and pasting, anywhere on the page.

use leptos::ev;
use leptos::prelude::*;
use paligemma_browser::protocol::{Problem, ProblemKind};
use web_sys::{DataTransfer, File};

use crate::icon::{Glyph, Icon};
use crate::session::{PictureFile, Session};

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
            match first_file(data) {
                Some(file) => show(session, file, "The dropped file"),
                None => session.refuse_offer(Problem {
                    kind: ProblemKind::Picture,
                    message: "What was dropped holds no file: drop a picture file from a folder."
                        .to_owned(),
                }),
            }
        }),
        window_event_listener(ev::paste, move |event| {
            if let Some(file) = first_file(event.clipboard_data()) {
                event.prevent_default();
                show(session, file, "The pasted picture");
            }
        }),
    ];
    on_cleanup(move || listeners.into_iter().for_each(|listener| listener.remove()));
    view! {
        <div class="drop" class:away=move || depth.get() == 0 aria-hidden="true">
            <p>
                <Icon glyph=Glyph::Upload />
                "Drop the picture anywhere"
            </p>
        </div>
    }
}

fn has_files(data: Option<DataTransfer>) -> bool {
    data.is_some_and(|data| data.types().includes(&"Files".into(), 0))
}

fn first_file(data: Option<DataTransfer>) -> Option<File> {
    data?.files()?.get(0)
}

fn show(session: Session, file: File, unnamed: &str) {
    let name = Some(file.name()).filter(|name| !name.is_empty());
    session.show(PictureFile {
        name: name.unwrap_or_else(|| unnamed.to_owned()),
        blob: file.into(),
        truth: None,
    });
}
