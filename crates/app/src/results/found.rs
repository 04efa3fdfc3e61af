//! The list of detections, or the words where words were asked for.

use leptos::prelude::*;

use super::masks::{MaskControls, MaskSwitch};
use crate::palette;
use crate::prompt::kind::Kind;
use crate::state::{Page, Reply};
use crate::wording;

/// What was found or said, and how well, where the truth is known.
#[component]
pub(crate) fn Found(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let heading = move || {
        page.reply.with(|reply| match reply {
            Some(reply) if !reply.asks_for_boxes() => Kind::of(&reply.prompt).heading().to_owned(),
            Some(Reply { detections, .. }) if !detections.is_empty() => {
                wording::boxes(detections.len())
            }
            _ => "Found".to_owned(),
        })
    };
    view! {
        <div class="results-head">
            <h2>{heading}</h2>
            <Scored page />
        </div>
        <div class="found">
            <Detections page />
            <MaskControls page />
            <Words page />
        </div>
    }
}

/// `3 of 3 found · overlap 0.94`
#[component]
fn Scored(page: Page) -> impl IntoView {
    let truth = page.truth();
    let score = Memo::new(move |_| {
        truth.with(|truth| {
            page.reply.with(|reply| {
                reply
                    .as_ref()
                    .zip(truth.as_ref())
                    .and_then(|(r, t)| r.score(t))
            })
        })
    });
    let words = move || {
        let score = score.get()?;
        let mut words = if score.expected == 0 {
            "None of these is in the picture".to_owned()
        } else {
            format!("{} of {} found", score.found, score.expected)
        };
        if score.found > 0 {
            words.push_str(&format!(" · overlap {:.2}", score.mean_iou));
        }
        if score.wrong > 0 {
            words.push_str(&format!(" · {} wrong", score.wrong));
        }
        Some(words)
    };
    let is_perfect = move || {
        score
            .get()
            .is_some_and(|score| score.found == score.expected && score.wrong == 0)
    };
    view! {
        <p
            id="score"
            class="score"
            class:perfect=is_perfect
            title="Compared with what the picture really shows: a box counts from an overlap (intersection over union) of 0.5"
        >
            {words}
        </p>
    }
}

/// One row a detection. Rows light their boxes and are lit by them.
#[component]
fn Detections(page: Page) -> impl IntoView {
    let detections = page.detections();
    let colours = Memo::new(move |_| {
        detections.with(|all| palette::colours(all.iter().map(|it| it.label.as_str())))
    });
    let pin = move |index| {
        page.pinned.update(|pinned| {
            *pinned = if *pinned == Some(index) {
                None
            } else {
                Some(index)
            }
        });
    };
    view! {
        <ol id="detections" class="detections" aria-label="Detections">
            <For each=move || 0..detections.with(Vec::len) key=|index| *index let:index>
                {
                    let detection = Memo::new(move |_| detections.with(|all| all.get(index).cloned()));
                    let label = move || detection.get().map(|it| it.label).unwrap_or_default();
                    let bbox = move || detection.get().map(|it| it.bbox).unwrap_or_default();
                    let colour = move || {
                        palette::class(colours.with(|all| all.get(index).copied().flatten()))
                    };
                    view! {
                        <li
                            class:lit=move || page.lit() == Some(index)
                            data-label=label
                            data-box=move || bbox().map(|v| format!("{v:.2}")).join(",")
                        >
                            <button
                                type="button"
                                aria-pressed=move || (page.pinned.get() == Some(index)).to_string()
                                on:pointerenter=move |_| page.pointed.set(Some(index))
                                on:pointerleave=move |_| page.pointed.set(None)
                                on:focus=move |_| page.pointed.set(Some(index))
                                on:blur=move |_| page.pointed.set(None)
                                on:click=move |_| pin(index)
                            >
                                <span class=move || format!("swatch {}", colour()) aria-hidden="true"></span>
                                <span class="label">
                                    {move || Some(label()).filter(|it| !it.is_empty())
                                        .unwrap_or_else(|| "…".to_owned())}
                                </span>
                                <span class="where">{move || place(bbox())}</span>
                                <span
                                    class="sure"
                                    title="How sure the model is of this box, from 0 to 1"
                                >
                                    {move || detection.get().and_then(|it| it.score).map(sure)}
                                </span>
                            </button>
                            <MaskSwitch page index label=Signal::derive(label) />
                        </li>
                    }
                }
            </For>
        </ol>
    }
}

/// `0.94`; never `1.00`, which would say too much.
fn sure(score: f32) -> String {
    format!("{:.2}", score.min(0.99))
}

/// `124 × 139 at 252, 89`
fn place([x0, y0, x1, y1]: [f32; 4]) -> String {
    format!("{:.0} × {:.0} at {x0:.0}, {y0:.0}", x1 - x0, y1 - y0)
}

/// The answer in words, or why there is no box.
#[component]
fn Words(page: Page) -> impl IntoView {
    let said = move || {
        page.reply.with(|reply| {
            let reply = reply.as_ref()?;
            let text = reply.text.trim_end();
            let class = Kind::of(&reply.prompt).class(text.chars().count());
            (!reply.asks_for_boxes() && !text.is_empty()).then(|| (class, text.to_owned()))
        })
    };
    let hint = move || {
        let has_picture = page.picture.with(Option::is_some);
        page.reply.with(|reply| match reply {
            None if has_picture => Some("Boxes and words appear here.".to_owned()),
            None => Some("Choose a picture first.".to_owned()),
            Some(Reply {
                problem: Some(problem),
                ..
            }) => Some(wording::explain(problem)),
            Some(reply) if reply.answer.is_none() || !reply.detections.is_empty() => None,
            Some(reply) if reply.asks_for_boxes() => {
                Some("Nothing found: the model sees none of these in the picture.".to_owned())
            }
            Some(reply) if reply.text.is_empty() => {
                Some("The model had nothing to say.".to_owned())
            }
            Some(_) => None,
        })
    };
    let failed = move || {
        page.reply
            .with(|it| it.as_ref().is_some_and(|it| it.problem.is_some()))
    };
    view! {
        {move || said().map(|(class, text)| view! { <p class=class>{text}</p> })}
        {move || {
            hint().map(|text| {
                view! { <p class="hint" class:failed=failed role=failed().then_some("alert")>{text}</p> }
            })
        }}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_has_two_digits_and_is_never_certain() {
        assert_eq!((sure(0.943), sure(0.999)), ("0.94".into(), "0.99".into()));
    }

    #[test]
    fn a_place_is_its_size_and_corner() {
        assert_eq!(place([252.0, 89.4, 376.0, 228.4]), "124 × 139 at 252, 89");
    }
}
