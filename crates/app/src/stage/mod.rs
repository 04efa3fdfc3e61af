//! The picture, what is drawn over it, and the ways in which a picture gets here.

mod drop;
mod masks;
mod overlay;

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Event, HtmlInputElement};

pub(crate) use self::drop::DropAnywhere;
use self::overlay::Overlay;
use crate::film::{AddButton, Film};
use crate::icon::{Glyph, Icon};
use crate::looked::Heat;
use crate::notice::Notice;
use crate::session::{Session, picture_files};
use crate::state::Page;

/// The picture with its boxes, and the controls under it.
#[component]
pub(crate) fn Picture(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    let size = Memo::new(move |_| {
        page.picture
            .with(|it| it.as_ref().map_or((1, 1), |it| (it.width, it.height)))
    });
    view! {
        <section class="card stage" aria-label="Picture">
            <div class="mat">
                <div
                    class="frame"
                    style=("--width", move || size.get().0.max(1).to_string())
                    style=("--height", move || size.get().1.max(1).to_string())
                >
                    {move || {
                        page.picture
                            .with(|it| it.as_ref().map(|it| (it.url.clone(), it.name.clone())))
                            .map(|(url, name)| {
                                view! {
                                    <img class="picture" src=url.as_str().to_owned() alt=name draggable="false" />
                                }
                            })
                    }}
                    <Show when=move || page.picture.with(Option::is_none)>
                        <p class="empty">"Drop a picture here"</p>
                    </Show>
                    <Heat looked=page.looked picture=0 />
                    <Overlay page />
                </div>
                <PictureNotice page />
            </div>
            <Film page session />
            <div class="stage-foot">
                <FileButton session />
                <AddButton session />
                <p class="picture-name">
                    {move || page.picture.with(|it| it.as_ref().map(|it| it.name.clone()))}
                    <small>
                        {move || {
                            page.picture
                                .with(|it| it.as_ref().map(|it| format!("{} × {}", it.width, it.height)))
                        }}
                    </small>
                </p>
                <TruthSwitch page />
            </div>
            <GroundTruth page />
        </section>
    }
}

/// Chooses a file; the words stand for the browser's own button.
#[component]
fn FileButton(session: Session) -> impl IntoView {
    let choose = move |event: Event| {
        let Some(input) = event
            .target()
            .and_then(|it| it.dyn_into::<HtmlInputElement>().ok())
        else {
            return;
        };
        session.show_all(picture_files(input.files(), "The chosen picture"));
        // So that choosing the same file again is a change, too.
        input.set_value("");
    };
    view! {
        <div class="file">
            <input
                class="visually-hidden"
                id="file"
                type="file"
                multiple
                accept="image/png,image/jpeg,image/webp,image/gif,image/bmp"
                on:change=choose
            />
            <label class="button" for="file">
                <Icon glyph=Glyph::Upload />
                "Choose a picture"
            </label>
        </div>
    }
}

/// Draws the truth over the picture, where it is known.
#[component]
fn TruthSwitch(page: Page) -> impl IntoView {
    let truth = page.truth();
    view! {
        <label class="switch" class:away=move || truth.with(Option::is_none)>
            <input
                id="show-truth"
                type="checkbox"
                role="switch"
                prop:checked=move || page.show_truth.get()
                disabled=move || truth.with(Option::is_none)
                on:change=move |event| page.show_truth.set(event_target_checked(&event))
            />
            "Ground truth"
        </label>
    }
}

/// Why the last file is not on the stage; lies over the picture, so that nothing moves.
#[component]
fn PictureNotice(page: Page) -> impl IntoView {
    move || {
        let problem = page.picture_problem.get()?;
        Some(view! {
            <div class="over-picture">
                <Notice problem>
                    <button
                        class="quiet round dismiss"
                        type="button"
                        aria-label="Dismiss"
                        on:click=move |_| page.picture_problem.set(None)
                    >
                        <Icon glyph=Glyph::Close />
                    </button>
                </Notice>
            </div>
        })
    }
}

/// The truth as data, for whoever reads the page by machine: `null` where it is not known.
#[component]
fn GroundTruth(page: Page) -> impl IntoView {
    let truth = page.truth();
    let json = move || {
        truth.with(|truth| serde_json::to_string(truth).unwrap_or_else(|_| "null".to_owned()))
    };
    view! {
        <script type="application/json" id="ground-truth">
            {json}
        </script>
    }
}
