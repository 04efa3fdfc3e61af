//! Who attends to whom in the present prompt, drawn by the worker from its tokens.

use leptos::ev::Event as ToggleEvent;
use leptos::prelude::*;
use paligemma_browser::protocol::Event;
use wasm_bindgen::JsCast;
use web_sys::Element;

use crate::session::Session;
use crate::state::{EngineState, Page};

/// What the panel shows.
#[derive(Clone, PartialEq)]
enum Drawing {
    /// The SVG, and what it shows in words.
    Mask(String, String),
    /// Why there is none.
    Problem(String),
}

/// The attention mask; nothing is asked of the worker while the panel is closed.
#[component]
pub(super) fn MaskPanel(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    let is_open = RwSignal::new(false);
    let drawing = RwSignal::new(None);
    let turn = StoredValue::new(0_u32);
    let toggled = move |event: ToggleEvent| {
        let details = event.target().and_then(|it| it.dyn_into::<Element>().ok());
        is_open.set(details.is_some_and(|it| it.has_attribute("open")));
    };
    // The answer belongs to the picture where it answers the prompt that is shown.
    let asked = Memo::new(move |_| {
        let prompt = page.prompt.with(|prompt| prompt.trim().to_owned());
        let answer = page.reply.with(|reply| {
            let reply = reply.as_ref().filter(|reply| reply.prompt == prompt)?;
            reply.answer.as_ref().map(|answer| answer.text.clone())
        });
        (prompt, answer.unwrap_or_default())
    });
    let is_ready = Memo::new(move |_| {
        page.engine
            .with(|engine| matches!(engine, EngineState::Ready(_)))
    });
    Effect::new(move |_| {
        if !is_open.get() || !is_ready.get() {
            return;
        }
        let (prompt, answer) = asked.get();
        let Some(client) = session.client() else {
            return;
        };
        let this = turn.try_update_value(|turn| {
            *turn += 1;
            *turn
        });
        client.mask(&prompt, &answer, move |event| {
            let news = match event {
                Event::Mask {
                    svg, description, ..
                } => Drawing::Mask(svg, description),
                Event::Failed { problem, .. } => Drawing::Problem(problem.message),
                _ => return,
            };
            if turn.try_get_value() == this {
                drawing.set(Some(news));
            }
        });
    });
    let shown = move || {
        drawing.get().map(|drawing| match drawing {
            // The worker is a part of this page, and escapes what comes from a prompt or a file.
            Drawing::Mask(svg, description) => view! {
                <div class="mask-drawing" id="mask" inner_html=svg></div>
                <p class="small">{description}</p>
            }
            .into_any(),
            Drawing::Problem(message) => view! { <p class="hint failed">{message}</p> }.into_any(),
        })
    };
    view! {
        <details class="mask-panel" id="mask-panel" on:toggle=toggled>
            <summary>"Who attends to whom"</summary>
            <p class="small">
                "Each row is a token, each column one that it may attend to. A picture is five tokens "
                "here."
            </p>
            {shown}
        </details>
    }
}
