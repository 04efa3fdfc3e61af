//! The prompt: tasks, things, the raw text, and running it.

pub(crate) mod kind;
mod mask;
mod panel;
pub(crate) mod preset;
pub(crate) mod settings;
mod templates;

use leptos::ev::{KeyboardEvent, SubmitEvent};
use leptos::prelude::*;
use paligemma_scenes::{KINDS, Kind};

use self::mask::MaskPanel;
use self::panel::GenerationPanel;
use self::preset::Task;
use self::templates::Templates;
use crate::models::Models;
use crate::session::Session;
use crate::state::Page;
use crate::status::Status;

/// Composes a prompt, shows it, runs it.
#[component]
pub(crate) fn PromptPanel(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
    /// The models: not all know the same things.
    models: Models,
) -> impl IntoView {
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        session.run();
    };
    Effect::new(move |_| {
        let known = models.templates();
        if page.templates.get_untracked() == known {
            return;
        }
        page.templates.set(known);
        let prompt = page.prompt.get_untracked();
        let welcome = templates::welcome(&prompt, known);
        if let Some(welcome) = welcome.filter(|_| !page.prompt_typed.get_untracked()) {
            page.suggest(welcome);
        }
    });
    let knows_templates = move || page.templates.with(|known| !known.is_empty());
    // Enter asks; with Shift it ends a line, which some models' prompts have.
    let asks = move |event: KeyboardEvent| {
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            session.run();
        }
    };
    let rows = move || page.prompt.with(|prompt| prompt.matches('\n').count() + 1);
    let typed = move |event| {
        page.prompt_typed.set(true);
        page.prompt.set(event_target_value(&event));
    };
    view! {
        <section class="card prompt" aria-label="Prompt">
            <Show when=knows_templates fallback=move || view! { <Tasks page /> }>
                <Templates page />
            </Show>
            <form class="ask" on:submit=submit>
                <label class="visually-hidden" for="prompt">"Prompt"</label>
                <textarea
                    id="prompt"
                    rows=rows
                    autocomplete="off"
                    autocapitalize="none"
                    spellcheck="false"
                    enterkeyhint="go"
                    placeholder="detect cat ; dog"
                    prop:value=move || page.prompt.get()
                    on:input=typed
                    on:keydown=asks
                ></textarea>
                <button class="primary" id="run" type="submit" disabled=move || !page.can_run()>
                    "Run"
                </button>
            </form>
            <Things page models />
            <GenerationPanel page />
            <MaskPanel page session />
            <Status page session />
        </section>
    }
}

/// One button a task.
#[component]
fn Tasks(page: Page) -> impl IntoView {
    let current = Memo::new(move |_| {
        page.prompt
            .with(|prompt| preset::read(prompt).map(|(task, _)| task))
    });
    let choose = move |task| {
        let truth = page.truth().get_untracked();
        let fallback = truth
            .as_ref()
            .map(|truth| truth.labels())
            .unwrap_or_default();
        page.suggest(preset::switch_task(
            &page.prompt.get_untracked(),
            task,
            &fallback,
        ));
    };
    view! {
        <div class="tasks" role="group" aria-label="Task">
            {Task::ALL
                .map(|task| {
                    view! {
                        <button
                            type="button"
                            aria-pressed=move || (current.get() == Some(task)).to_string()
                            on:click=move |_| choose(task)
                        >
                            {task.title()}
                        </button>
                    }
                })
                .collect_view()}
        </div>
    }
}

/// The things that the demo model knows; a click puts one into the prompt.
#[component]
fn Things(page: Page, models: Models) -> impl IntoView {
    let summary = move || {
        if models.shows_demo() {
            format!("The {} things that the demo model knows", KINDS.len())
        } else {
            "Things to ask for".to_owned()
        }
    };
    let chosen = Memo::new(move |_| {
        page.prompt.with(|prompt| {
            preset::read(prompt)
                .map(|(_, things)| things)
                .unwrap_or_default()
        })
    });
    view! {
        <details class="things">
            <summary>{summary}</summary>
            <ul>
                {KINDS.iter().map(|kind| view! { <li><Thing page chosen kind /></li> }).collect_view()}
            </ul>
        </details>
    }
}

#[component]
fn Thing(page: Page, chosen: Memo<Vec<String>>, kind: &'static Kind) -> impl IntoView {
    let is_chosen = move || chosen.with(|things| things.iter().any(|thing| thing == kind.name));
    let toggle = move |_| {
        page.suggest(preset::toggle_thing(
            &page.prompt.get_untracked(),
            kind.name,
        ));
    };
    view! {
        <button type="button" aria-pressed=move || is_chosen().to_string() on:click=toggle>
            <img
                src=format!("demo/sprites/{}_0.png", kind.name)
                alt=""
                width="20"
                height="20"
                loading="lazy"
                draggable="false"
            />
            {kind.name}
        </button>
    }
}
