//! The strip of further pictures under the one on the stage.

use std::sync::Arc;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlInputElement};

use crate::icon::{Glyph, Icon};
use crate::looked::Heat;
use crate::platform::file::ObjectUrl;
use crate::session::{Session, picture_files};
use crate::state::Page;

/// Most pictures of one question, the one on the stage among them.
pub(crate) const MOST: usize = 8;

/// A further picture.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Identifies it.
    pub(crate) id: u32,
    /// Where the browser finds its bytes.
    pub(crate) url: Arc<ObjectUrl>,
    /// Its file name, or what stands for it.
    pub(crate) name: String,
    /// Pixels, as a person sees it.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
}

/// Adds pictures to the question; the words stand for the browser's own button.
#[component]
pub(crate) fn AddButton(
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    let add = move |event: Event| {
        let input = event
            .target()
            .and_then(|it| it.dyn_into::<HtmlInputElement>().ok());
        let Some(input) = input else { return };
        session.add(picture_files(input.files(), "The added picture"));
        // So that choosing the same file again is a change, too.
        input.set_value("");
    };
    view! {
        <div class="file">
            <input
                class="visually-hidden"
                id="add-file"
                type="file"
                multiple
                accept="image/png,image/jpeg,image/webp,image/gif,image/bmp"
                on:change=add
            />
            <label class="button" for="add-file" title="For a question about several pictures">
                "Add another"
            </label>
        </div>
    }
}

/// The strip; nothing while the picture on the stage is alone.
#[component]
pub(crate) fn Film(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    view! {
        <Show when=move || !page.film.with(Vec::is_empty)>
            <ol id="film" class="film" aria-label="Further pictures, in the order of the prompt">
                <For each=move || page.film.get() key=|frame| frame.id let:frame>
                    <Picture page session frame />
                </For>
            </ol>
        </Show>
    }
}

/// One picture of the strip: its number in the prompt, and a button that takes it away.
#[component]
fn Picture(page: Page, session: Session, frame: Frame) -> impl IntoView {
    let id = frame.id;
    // The picture on the stage is the first.
    let place = Memo::new(move |_| {
        let at = page
            .film
            .with(|film| film.iter().position(|frame| frame.id == id));
        at.map_or(0, |at| at + 1)
    });
    let number = move || (place.get() + 1).to_string();
    let name = frame.name.clone();
    let title = format!("{}, {} × {}", frame.name, frame.width, frame.height);
    view! {
        <li title=title>
            <img src=frame.url.as_str().to_owned() alt=frame.name draggable="false" />
            <Heat looked=page.looked picture=place />
            <span class="film-number" aria-hidden="true">{number}</span>
            <button
                class="quiet round"
                type="button"
                aria-label=format!("Take {name} away")
                on:click=move |_| session.take_away(id)
            >
                <Icon glyph=Glyph::Close />
            </button>
        </li>
    }
}
