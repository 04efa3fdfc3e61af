//! The mask decoder, where a model came without: a file to choose.

use leptos::prelude::*;
use leptos::task::spawn_local;
use paligemma_browser::protocol::{Event, Problem};
use wasm_bindgen::JsCast;
use web_sys::{File, HtmlInputElement};

use super::state::Models;
use crate::platform::file;
use crate::state::{EngineState, Page};
use crate::wording;

/// The chooser; nothing while no model is there, or one that has what it needs.
#[component]
pub(crate) fn MaskChooser(
    /// The page's state.
    page: Page,
    /// The models.
    models: Models,
) -> impl IntoView {
    let problem = RwSignal::new(None::<Problem>);
    let is_wanting = move || {
        page.engine.with(|engine| match engine {
            EngineState::Ready(loaded) => !loaded.model.gives_masks,
            _ => false,
        })
    };
    let choose = move |event: web_sys::Event| {
        let Some(input) = event
            .target()
            .and_then(|it| it.dyn_into::<HtmlInputElement>().ok())
        else {
            return;
        };
        if let Some(file) = input.files().and_then(|files| files.get(0)) {
            problem.set(None);
            models.take_mask_decoder(file, problem);
        }
        // So that choosing the same file again is a change, too.
        input.set_value("");
    };
    let trouble = move || {
        let problem = problem.get()?;
        Some(view! {
            <p class="hint failed" id="mask-decoder-error" role="alert">
                {wording::explain(&problem)}
            </p>
        })
    };
    view! {
        <Show when=is_wanting>
            <section class="get" aria-labelledby="masks-title">
                <h3 id="masks-title">"Masks"</h3>
                <p class="small">
                    "Masks need vae-oid.npz, the mask decoder that Google publishes once for all PaliGemma "
                    "models (8 MB): without it this model gives boxes. Choose the file, or one in safetensors "
                    "with the same names. It stays on this machine, with a kept model for good."
                </p>
                <div class="file">
                    <input
                        class="visually-hidden"
                        id="mask-decoder"
                        type="file"
                        accept=".npz,.safetensors"
                        on:change=choose
                    />
                    <label class="button" for="mask-decoder">
                        "Choose vae-oid.npz…"
                    </label>
                </div>
                {trouble}
            </section>
        </Show>
    }
}

impl Models {
    /// Hands a mask decoder to the worker; `problem` hears why it is none.
    fn take_mask_decoder(self, file: File, problem: RwSignal<Option<Problem>>) {
        let Some(client) = self.session.client() else {
            return;
        };
        spawn_local(async move {
            let name = file.name();
            let Ok(bytes) = file::bytes(&file).await else {
                problem.set(Some(Problem {
                    kind: paligemma_browser::protocol::ProblemKind::Network,
                    message: format!(
                        "{name} could not be read: it may have been moved since it was chosen. \
                         Choose it again."
                    ),
                }));
                return;
            };
            client.mask_decoder(&name, bytes, move |event| match event {
                Event::MaskDecoder { .. } => self.page.engine.update(|engine| {
                    if let EngineState::Ready(loaded) = engine {
                        loaded.model.gives_masks = true;
                    }
                }),
                Event::Failed { problem: why, .. } => problem.set(Some(why)),
                _ => {}
            });
        });
    }
}
