//! What went wrong, and what to do about it.

use leptos::prelude::*;
use leptos::task::spawn_local;
use paligemma_browser::protocol::{PROTOCOL_VERSION, Problem, ProblemKind};

use crate::icon::{Glyph, Icon};
use crate::models::Models;
use crate::platform::{clipboard, page as browser};
use crate::state::{EngineState, Page};
use crate::wording;

/// Why the model cannot answer, with what can be done about it.
#[component]
pub(crate) fn EngineNotice(
    /// The page's state.
    page: Page,
    /// The models, of which another may do.
    models: Models,
) -> impl IntoView {
    let problem = Memo::new(move |_| {
        page.engine.with(|engine| match engine {
            EngineState::Failed(problem) => Some(problem.clone()),
            _ => None,
        })
    });
    move || {
        let problem = problem.get()?;
        let retry = can_retry(problem.kind);
        let other = another_may_do(problem.kind);
        let damaged = problem.kind == ProblemKind::Damaged;
        let diagnostics = diagnostics(&problem);
        let opened = RwSignal::new(false);
        Some(view! {
            <Notice problem=problem.clone()>
                <div class="actions">
                    <Show when=move || damaged && models.can_repair()>
                        <button class="primary" id="repair" type="button" on:click=move |_| models.repair_present()>
                            "Repair"
                        </button>
                    </Show>
                    <Show when=move || retry>
                        <button class="primary" id="retry" type="button" on:click=move |_| models.try_again()>
                            "Try again"
                        </button>
                    </Show>
                    <Show when=move || other>
                        <button type="button" on:click=move |_| models.open()>
                            "Choose another model"
                        </button>
                    </Show>
                    <CopyButton
                        label="Copy diagnostics"
                        text=diagnostics.clone()
                        on_refused=move |()| opened.set(true)
                    />
                </div>
                <details prop:open=move || opened.get()>
                    <summary>"Diagnostics"</summary>
                    <pre id="diagnostics">{diagnostics.clone()}</pre>
                </details>
            </Notice>
        })
    }
}

/// A message with an icon; what is inside stands below it.
#[component]
pub(crate) fn Notice(
    /// What happened.
    problem: Problem,
    /// Buttons, more to read.
    children: Children,
) -> impl IntoView {
    view! {
        <div class="notice" role="alert" data-kind=kind_name(problem.kind)>
            <Icon glyph=glyph(problem.kind) />
            <div>
                <h2>{wording::title(problem.kind)}</h2>
                <p>{wording::explain(&problem)}</p>
                {children()}
            </div>
        </div>
    }
}

/// Copies a text and says so.
#[component]
pub(crate) fn CopyButton(
    /// What it says.
    label: &'static str,
    /// What it copies.
    #[prop(into)]
    text: Signal<String>,
    /// Called when the browser does not copy.
    #[prop(optional, into)]
    on_refused: Option<Callback<()>>,
) -> impl IntoView {
    let copied = RwSignal::new(None);
    let copy = move |_| {
        spawn_local(async move {
            let done = clipboard::copy(&text.get_untracked()).await;
            copied.set(Some(done));
            if let Some(on_refused) = on_refused.filter(|_| !done) {
                on_refused.run(());
            }
            set_timeout(move || copied.set(None), std::time::Duration::from_secs(2));
        });
    };
    let words = move || match copied.get() {
        None => label,
        Some(true) => "Copied",
        Some(false) => "Copy it by hand",
    };
    let glyph = move || {
        if copied.get() == Some(true) {
            Glyph::Tick
        } else {
            Glyph::Copy
        }
    };
    view! {
        <button class="quiet" type="button" on:click=copy>
            {move || view! { <Icon glyph=glyph() /> }}
            <span aria-live="polite">{words}</span>
        </button>
    }
}

/// Whether the same thing may well work a second time.
fn can_retry(kind: ProblemKind) -> bool {
    !matches!(
        kind,
        ProblemKind::InsecureContext
            | ProblemKind::NoWebGpu
            | ProblemKind::LimitsTooSmall
            | ProblemKind::Damaged
    )
}

/// Whether it is the model that is at fault, or its size.
fn another_may_do(kind: ProblemKind) -> bool {
    matches!(
        kind,
        ProblemKind::LimitsTooSmall
            | ProblemKind::OutOfMemory
            | ProblemKind::DeviceLost
            | ProblemKind::Network
            | ProblemKind::Storage
            | ProblemKind::Damaged
            | ProblemKind::Checkpoint
            | ProblemKind::Changed
            | ProblemKind::Token
            | ProblemKind::Cancelled
    )
}

fn glyph(kind: ProblemKind) -> Glyph {
    match kind {
        ProblemKind::InsecureContext => Glyph::Lock,
        ProblemKind::NoWebGpu
        | ProblemKind::NoAdapter
        | ProblemKind::LimitsTooSmall
        | ProblemKind::OutOfMemory
        | ProblemKind::DeviceLost => Glyph::Chip,
        ProblemKind::Picture => Glyph::Picture,
        ProblemKind::Token => Glyph::Lock,
        ProblemKind::Network => Glyph::Offline,
        ProblemKind::Changed
        | ProblemKind::Storage
        | ProblemKind::Damaged
        | ProblemKind::Cancelled
        | ProblemKind::Checkpoint
        | ProblemKind::Prompt
        | ProblemKind::Worker
        | ProblemKind::Internal => Glyph::Warning,
    }
}

/// The case as the protocol spells it.
pub(crate) fn kind_name(kind: ProblemKind) -> String {
    serde_json::to_value(kind)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn diagnostics(problem: &Problem) -> String {
    let mut lines = vec![
        format!("Problem: {} – {}", kind_name(problem.kind), problem.message),
        format!(
            "Page: {} {}, protocol {PROTOCOL_VERSION}",
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION")
        ),
    ];
    lines.extend(
        browser::facts()
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_spelled_as_in_the_protocol() {
        assert_eq!(kind_name(ProblemKind::InsecureContext), "insecure-context");
        assert_eq!(kind_name(ProblemKind::NoWebGpu), "no-web-gpu");
    }
}
