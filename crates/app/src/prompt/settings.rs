//! How answers are generated: folded away, as the usual way needs none of it.

use leptos::prelude::*;
use paligemma_browser::protocol::Generation;

use crate::state::Page;

/// What the person has chosen. Fields hold what was typed; what is no number counts as nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Draw tokens at random.
    pub(crate) draws: bool,
    /// Only numbers as they were typed.
    pub(crate) temperature: String,
    pub(crate) top_k: String,
    pub(crate) top_p: String,
    pub(crate) seed: String,
    /// Hold answers to the grammar of boxes where the prompt asks for boxes.
    pub(crate) constrained: bool,
}

impl Settings {
    /// As the worker takes it; `has_boxes`: the prompt asks for boxes.
    pub(crate) fn generation(&self, has_boxes: bool) -> Generation {
        let drawn = match self.draws {
            false => Generation::default(),
            true => Generation {
                temperature: number(&self.temperature),
                top_k: number(&self.top_k),
                top_p: number(&self.top_p),
                // Always there, so that drawing is on whatever else is left empty.
                seed: Some(number(&self.seed).unwrap_or_default()),
                constrained: false,
            },
        };
        Generation {
            constrained: self.constrained && has_boxes,
            ..drawn
        }
    }

    /// `greedy`, `drawn, seed 7`
    fn summary(&self) -> String {
        let seed: u32 = number(&self.seed).unwrap_or_default();
        let mut words = match self.draws {
            true => format!("drawn, seed {seed}"),
            false => "greedy".to_owned(),
        };
        if self.constrained {
            words.push_str(", constrained");
        }
        words
    }
}

fn number<T: std::str::FromStr>(typed: &str) -> Option<T> {
    typed.trim().parse().ok()
}

/// The folded panel.
#[component]
pub(crate) fn GenerationSettings(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let settings = page.settings;
    let draws = move || settings.with(|settings| settings.draws);
    view! {
        <details class="things" id="generation">
            <summary>
                "Generation: " {move || settings.with(Settings::summary)}
            </summary>
            <div class="settings">
                <label class="wide">
                    <input
                        type="checkbox"
                        name="draws"
                        prop:checked=draws
                        on:change=move |event| {
                            settings.update(|it| it.draws = event_target_checked(&event));
                        }
                    />
                    "Draw tokens at random"
                </label>
                <Number page name="temperature" title="Temperature" hint="1" get=|it| &mut it.temperature />
                <Number page name="top-k" title="Top k" hint="all" get=|it| &mut it.top_k />
                <Number page name="top-p" title="Top p" hint="1" get=|it| &mut it.top_p />
                <Number page name="seed" title="Seed" hint="0" get=|it| &mut it.seed />
                <label class="wide" title="Only boxes, masks and the things of the prompt, for detect and segment">
                    <input
                        type="checkbox"
                        name="constrained"
                        prop:checked=move || settings.with(|settings| settings.constrained)
                        on:change=move |event| {
                            settings.update(|it| it.constrained = event_target_checked(&event));
                        }
                    />
                    "Hold boxes to their grammar"
                </label>
            </div>
        </details>
    }
}

/// A field for one number, of use only while tokens are drawn.
#[component]
fn Number(
    page: Page,
    name: &'static str,
    title: &'static str,
    hint: &'static str,
    get: fn(&mut Settings) -> &mut String,
) -> impl IntoView {
    let settings = page.settings;
    view! {
        <label>
            {title}
            <input
                type="text"
                inputmode="decimal"
                autocomplete="off"
                name=name
                placeholder=hint
                disabled=move || !settings.with(|settings| settings.draws)
                on:input=move |event| {
                    settings.update(|it| *get(it) = event_target_value(&event));
                }
            />
        </label>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_until_drawing_is_asked_for() {
        let mut settings = Settings {
            temperature: "0.7".into(),
            seed: "9".into(),
            ..Settings::default()
        };
        assert_eq!(settings.generation(true), Generation::default());
        assert_eq!(settings.summary(), "greedy");
        settings.draws = true;
        let drawn = settings.generation(true);
        assert_eq!((drawn.temperature, drawn.seed), (Some(0.7), Some(9)));
        assert_eq!((drawn.top_k, drawn.top_p), (None, None));
        assert_eq!(settings.summary(), "drawn, seed 9");
    }

    #[test]
    fn what_is_no_number_counts_as_nothing_and_a_grammar_needs_boxes() {
        let settings = Settings {
            draws: true,
            top_k: "many".into(),
            seed: String::new(),
            constrained: true,
            ..Settings::default()
        };
        let drawn = settings.generation(false);
        assert_eq!((drawn.top_k, drawn.seed), (None, Some(0)));
        assert!(!drawn.constrained);
        assert!(settings.generation(true).constrained);
        assert_eq!(settings.summary(), "drawn, seed 0, constrained");
    }
}
