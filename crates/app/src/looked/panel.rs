//! Choosing a token, a layer and a head.

use leptos::prelude::*;

use super::Looked;
use crate::session::Session;
use crate::state::Page;
use crate::wording;

/// The panel under the answer; open, it draws its map over the picture.
#[component]
pub(crate) fn WhereItLooked(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    let looked = page.looked;
    let answered = Memo::new(move |_| {
        page.reply.with(|reply| {
            let answer = reply.as_ref().and_then(|reply| reply.answer.as_ref());
            answer.is_some_and(|answer| !answer.token_ids.is_empty())
        })
    });
    // A complete answer while the panel is open, or opening it.
    Effect::new(move |_| {
        if looked.open.get() && answered.get() && looked.map.with_untracked(Option::is_none) {
            session.look();
        }
    });
    let toggle = move |event: leptos::ev::Event| {
        let details = event_target::<web_sys::Element>(&event);
        looked.open.set(details.has_attribute("open"));
    };
    view! {
        <details class="looked" class:away=move || !answered.get() on:toggle=toggle>
            <summary>"Where it looked"</summary>
            <p class="hint">
                "Choose a token of the answer: the picture shows what the model attended to when it \
                 chose that token."
            </p>
            <Tokens looked session />
            <div class="looked-choice">
                <Choice
                    label="Layer"
                    id="looked-layer"
                    chosen=looked.layer
                    count=Signal::derive(move || looked.map.with(|map| map.as_ref().map_or(0, |it| it.layers)))
                    session
                />
                <Choice
                    label="Head"
                    id="looked-head"
                    chosen=looked.head
                    count=Signal::derive(move || looked.map.with(|map| map.as_ref().map_or(0, |it| it.heads)))
                    session
                />
                <Share looked />
            </div>
        </details>
    }
}

/// The tokens, one button each; arrows go from one to the next as Tab does.
#[component]
fn Tokens(looked: Looked, session: Session) -> impl IntoView {
    let tokens = Memo::new(move |_| {
        looked
            .map
            .with(|map| map.as_ref().map(|it| it.tokens.clone()).unwrap_or_default())
    });
    let choose = move |index: usize| {
        looked.token.set(index as u32);
        session.look();
    };
    view! {
        <div id="looked-tokens" class="looked-tokens" role="group" aria-label="Token">
            {move || {
                tokens
                    .get()
                    .into_iter()
                    .enumerate()
                    .map(|(index, text)| {
                        view! {
                            <button
                                type="button"
                                aria-pressed=move || {
                                    (looked.token.get() as usize == index).to_string()
                                }
                                on:click=move |_| choose(index)
                            >
                                {shown(&text)}
                            </button>
                        }
                    })
                    .collect_view()
            }}
        </div>
    }
}

/// A token as a button can show it.
fn shown(text: &str) -> String {
    match text {
        "" => "·".to_owned(),
        "\n" => "↵".to_owned(),
        text => text.replace('\n', "↵").replace(' ', "\u{2423}"),
    }
}

/// One of a number of layers or heads, or the mean of all.
#[component]
fn Choice(
    label: &'static str,
    id: &'static str,
    chosen: RwSignal<Option<u32>>,
    count: Signal<u32>,
    session: Session,
) -> impl IntoView {
    let choose = move |event| {
        chosen.set(event_target_value(&event).parse().ok());
        session.look();
    };
    view! {
        <label for=id>{label}</label>
        <select id=id on:change=choose prop:value=move || value(chosen.get())>
            <option value="">"mean of all"</option>
            {move || {
                (0..count.get())
                    .map(|index| {
                        view! {
                            <option value=index.to_string() selected=chosen.get_untracked() == Some(index)>
                                {(index + 1).to_string()}
                            </option>
                        }
                    })
                    .collect_view()
            }}
        </select>
    }
}

fn value(chosen: Option<u32>) -> String {
    chosen.map(|index| index.to_string()).unwrap_or_default()
}

/// How much of the attention is on the pictures, or why there is no map.
#[component]
fn Share(looked: Looked) -> impl IntoView {
    let words = move || {
        if let Some(problem) = looked.problem.get() {
            return wording::explain(&problem);
        }
        looked.map.with(|map| match map {
            Some(map) => {
                let shares = map.pictures.iter().map(|picture| picture.share);
                let percent = shares.map(|share| format!("{:.0} %", 100.0 * share));
                format!("{} on the picture", percent.collect::<Vec<_>>().join(" + "))
            }
            None => "Looking it up …".to_owned(),
        })
    };
    view! {
        <p id="looked-share" class="looked-share" role="status" title="The rest is on the prompt and on what was written before">
            {words}
        </p>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_can_be_seen() {
        assert_eq!(shown(" boat"), "␣boat");
        assert_eq!(shown("\n"), "↵");
        assert_eq!(shown("a\nb"), "a↵b");
        assert_eq!(shown(""), "·");
    }
}
