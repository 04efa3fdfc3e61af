//! How fast this machine is: measured by the worker, on the model that is loaded or on a made-up
//! one of a published size.

mod frames;
mod table;

use leptos::prelude::*;
use paligemma_browser::protocol::{Event, Measured, Problem, ProblemKind};

use self::frames::Smoothness;
use self::table::Report;
use crate::models::{Models, shapes};
use crate::platform::frames::Frames;
use crate::platform::page::{is_in_view, reveal};
use crate::session::Session;
use crate::state::{EngineState, Page};
use crate::wording;

/// Where a measurement stands.
#[derive(Clone, PartialEq)]
enum Measuring {
    /// Never begun, or forgotten.
    Nothing,
    /// Under way: its request, what is being measured, stages before it and in all.
    Underway(u32, String, [u32; 2]),
    /// Done.
    Done(Measured),
    /// Why there is none.
    Failed(Problem),
}

/// Dropped with who waits for the measurement: if the worker is gone by then, it is forgotten.
struct Underway(RwSignal<Measuring>);

impl Underway {
    /// By a method, so that a closure that calls it owns all of this and not a copy of the signal.
    fn set(&self, state: Measuring) {
        self.0.set(state);
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let is_underway = |state: &Measuring| matches!(state, Measuring::Underway(..));
        if self.0.try_with_untracked(is_underway) == Some(true) {
            self.0.try_set(Measuring::Nothing);
        }
    }
}

/// A button that measures, and what came out.
#[component]
pub(crate) fn Speed(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
    /// The models, of which one is loaded.
    models: Models,
) -> impl IntoView {
    let state = RwSignal::new(Measuring::Nothing);
    let chosen = RwSignal::new(String::new());
    let frame = RwSignal::new(0);
    let is_ready = Memo::new(move |_| {
        page.engine
            .with(|engine| matches!(engine, EngineState::Ready(_)))
    });
    let underway = Memo::new(move |_| {
        state.with(|state| match state {
            Measuring::Underway(id, stage, part) => Some((*id, stage.clone(), *part)),
            _ => None,
        })
    });
    let cannot = move || {
        let of_a_shape = chosen.with(|name| !name.is_empty());
        underway.with(Option::is_some) || !(is_ready.get() || of_a_shape)
    };
    let measure = move |_| {
        let Some(client) = session.client() else {
            return;
        };
        let shape = Some(chosen.get_untracked()).filter(|name| !name.is_empty());
        let of_a_shape = shape.is_some();
        let name = models.present_title();
        let underway_here = Underway(state);
        let mut frames = None;
        frame.set(0);
        let id = client.bench(&name, shape, move |event| match event {
            Event::Measuring {
                id,
                stage,
                part,
                answering,
            } => {
                // What is out of view is not drawn, and says nothing.
                let watched = answering && is_in_view("speed-stage");
                frames = watched.then(|| Frames::watch(move |number| frame.set(number)));
                underway_here.set(Measuring::Underway(id, stage, part));
            }
            Event::Measured {
                mut measured,
                tuned,
                ..
            } => {
                let apart = frames.take().map(Frames::end).unwrap_or_default();
                frames::add(Smoothness::of(apart), &mut measured);
                session.keep_tuned(tuned);
                state.set(Measuring::Done(measured));
            }
            Event::Failed { problem, .. } if problem.kind == ProblemKind::Cancelled => {
                state.set(Measuring::Nothing);
            }
            Event::Failed { problem, .. } => {
                state.set(Measuring::Failed(problem.clone()));
                if problem.kind == ProblemKind::DeviceLost && !of_a_shape {
                    session.engine_failed(problem);
                }
            }
            _ => {}
        });
        state.set(Measuring::Underway(id, "its turn".to_owned(), [0, 0]));
        // Once it is there.
        request_animation_frame(|| reveal("stop-measuring"));
    };
    let stop = move |id| {
        if let Some(client) = session.client() {
            client.cancel(id);
        }
    };
    let progress = move || {
        underway.get().map(|(id, stage, part)| {
            view! {
                <div class="speed-stage">
                    <p id="speed-stage" role="status">{words(&stage, part)}</p>
                    <small aria-hidden="true">
                        {move || Some(frame.get()).filter(|&number| number > 0)}
                    </small>
                    <button class="quiet" id="stop-measuring" type="button" on:click=move |_| stop(id)>
                        "Stop"
                    </button>
                </div>
            }
        })
    };
    let outcome = move || match state.get() {
        Measuring::Done(measured) => Some(view! { <Report measured /> }.into_any()),
        Measuring::Failed(problem) => {
            let why = wording::explain(&problem);
            Some(view! { <p id="speed-problem" class="hint failed">{why}</p> }.into_any())
        }
        Measuring::Nothing | Measuring::Underway(..) => None,
    };
    view! {
        <section class="card speed" aria-label="Speed">
            <div class="speed-head">
                <button id="measure" type="button" disabled=cannot on:click=measure>
                    "How fast is this machine?"
                </button>
                <label for="speed-what">"with"</label>
                <select id="speed-what" on:change=move |event| chosen.set(event_target_value(&event))>
                    <option value="">{move || models.present_title()}</option>
                    <optgroup label="Made-up weights, q4">
                        {shapes()
                            .map(|(name, title)| view! { <option value=name>{title}</option> })
                            .collect_view()}
                    </optgroup>
                </select>
            </div>
            {progress}
            {outcome}
        </section>
    }
}

/// What is being measured, and how far that is.
fn words(stage: &str, [done, of]: [u32; 2]) -> String {
    match of {
        0 | 1 => format!("Measuring: {stage} …"),
        of => format!("Measuring, {} of {of}: {stage} …", done + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_from_one() {
        assert_eq!(words("its turn", [0, 0]), "Measuring: its turn …");
        let at = words("tokens after 300", [2, 5]);
        assert_eq!(at, "Measuring, 3 of 5: tokens after 300 …");
    }
}
