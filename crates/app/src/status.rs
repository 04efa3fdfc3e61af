//! One line that says what is going on, with a bar under it, and the same for those who listen.

use leptos::prelude::*;
use paligemma_browser::protocol::Stopped;

use crate::session::Session;
use crate::state::{EngineState, Leg, Page, Reply, Stage, Underway};
use crate::wording;

/// The line, the bar and the stop button.
#[component]
pub(crate) fn Status(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    let is_running = move || page.running.with(Option::is_some);
    view! {
        <div class="status">
            <p id="status" data-state=move || state(page)>
                {move || words(page)}
            </p>
            <button
                class="quiet"
                class:away=move || !is_running()
                id="stop"
                type="button"
                disabled=move || !is_running()
                on:click=move |_| session.stop()
            >
                "Stop"
                <kbd>"Esc"</kbd>
            </button>
        </div>
        <Bar page />
        <p class="visually-hidden" role="status">{move || announcement(page)}</p>
    }
}

/// How far loading is; in motion while an answer is computed; otherwise empty, but in its place.
#[component]
fn Bar(page: Page) -> impl IntoView {
    let share = move || {
        page.engine.with(|engine| match engine {
            EngineState::Loading(way) if way.total > 0 => {
                Some((way.done as f64 / way.total as f64).min(1.0))
            }
            _ => None,
        })
    };
    let is_busy = move || {
        let loading = page
            .engine
            .with(|engine| matches!(engine, EngineState::Loading(_)));
        page.running.with(Option::is_some) || (loading && share().is_none())
    };
    let percent = move || share().map(|share| (share * 100.0).round().to_string());
    view! {
        <div
            class="bar"
            class:busy=is_busy
            class:idle=move || share().is_none() && !is_busy()
            role="progressbar"
            aria-label="Progress"
            aria-valuemin="0"
            aria-valuemax="100"
            aria-valuenow=percent
            aria-hidden=move || (share().is_none() && !is_busy()).then_some("true")
        >
            <div style=("--share", move || share().unwrap_or(0.0).to_string())></div>
        </div>
    }
}

/// `loading`, `ready`, `running`, `done` or `error`.
fn state(page: Page) -> &'static str {
    if page.running.with(Option::is_some) {
        return "running";
    }
    let reply = page.reply.with(|reply| {
        reply.as_ref().map(|reply| {
            if reply.problem.is_some() {
                "error"
            } else {
                "done"
            }
        })
    });
    page.engine.with(|engine| match engine {
        EngineState::Loading(_) => "loading",
        EngineState::Failed(_) => "error",
        EngineState::Ready(_) => reply.unwrap_or("ready"),
    })
}

fn words(page: Page) -> String {
    if let Some(stage) = page.running.get() {
        return match stage {
            Stage::Asked => "Asking…".to_owned(),
            Stage::Encoding => "Looking at the picture…".to_owned(),
            Stage::Prefill(tokens) => format!("Reading the prompt ({tokens} tokens)…"),
            Stage::Writing(1) => "Writing (1 token)…".to_owned(),
            Stage::Writing(count) => format!("Writing ({count} tokens)…"),
            Stage::Stopping => "Stopping…".to_owned(),
        };
    }
    page.engine.with(|engine| match engine {
        EngineState::Loading(way) => underway(way),
        EngineState::Failed(problem) => wording::title(problem.kind).to_owned(),
        EngineState::Ready(_) => page
            .reply
            .with(|reply| reply.as_ref().map(outcome))
            .unwrap_or_else(|| "Ready".to_owned()),
    })
}

/// Where a model on its way is.
pub(crate) fn underway(way: &Underway) -> String {
    let doing = match way.leg {
        Leg::Starting => return "Starting…".to_owned(),
        Leg::Fetching => "Fetching",
        Leg::Checking => "Checking",
        Leg::Loading => "Loading",
    };
    if way.total == 0 {
        format!("{doing} {}…", way.title)
    } else {
        let part = wording::part_of(way.done, way.total);
        format!("{doing} {}: {part}", way.title)
    }
}

/// How a run ended.
fn outcome(reply: &Reply) -> String {
    let Some(answer) = &reply.answer else {
        return reply
            .problem
            .as_ref()
            .map_or("", |it| wording::title(it.kind))
            .to_owned();
    };
    let timings = answer.timings;
    let time = wording::duration(timings.vision_ms + timings.prefill_ms + timings.decode_ms);
    match answer.stopped {
        Stopped::Eos => format!("Answered in {time}"),
        Stopped::Length => format!("Stopped at the longest answer allowed, after {time}"),
        Stopped::Cancelled => format!("Stopped after {time}"),
    }
}

/// The result in a sentence, once it is complete: tokens are not read out one by one.
fn announcement(page: Page) -> String {
    if page.running.with(Option::is_some) {
        return String::new();
    }
    page.reply.with(|reply| match reply {
        Some(Reply {
            answer: Some(_),
            detections,
            ..
        }) if !detections.is_empty() => {
            format!("Found {}", wording::inventory(detections))
        }
        Some(
            reply @ Reply {
                answer: Some(_), ..
            },
        ) if reply.asks_for_boxes() => "Nothing found".to_owned(),
        Some(Reply {
            answer: Some(answer),
            ..
        }) => format!("Answer: {}", answer.text),
        _ => page.engine.with(|engine| match engine {
            EngineState::Ready(_) => "The model is ready".to_owned(),
            _ => String::new(),
        }),
    })
}
