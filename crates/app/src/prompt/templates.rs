//! The prompts that a published checkpoint knows, as buttons. A bare prompt is always a prompt:
//! nothing here changes what a person typed until they click.

use leptos::prelude::*;
use paligemma_tasks::{Template, best_fit};

use crate::state::Page;

/// One button a template, and what there is to know about the one in use.
#[component]
pub(super) fn Templates(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let current = Memo::new(move |_| {
        let known = page.templates.get();
        page.prompt.with(|prompt| best_fit(known, prompt))
    });
    let choose = move |template: &'static Template| {
        let prompt = page.prompt.get_untracked();
        page.suggest(switch(&prompt, current.get_untracked(), template));
    };
    let buttons = move || {
        let known = page.templates.get().iter();
        known
            .map(|template| {
                view! {
                    <button
                        type="button"
                        aria-pressed=move || (current.get() == Some(template)).to_string()
                        on:click=move |_| choose(template)
                    >
                        {template.title}
                    </button>
                }
            })
            .collect_view()
    };
    let note = move || {
        let template = current.get()?;
        let pictures = match template.pictures {
            0 | 1 => "",
            _ => " Add the other pictures beside the first.",
        };
        (!template.note.is_empty())
            .then(|| view! { <p class="small" id="template-note">{template.note} {pictures}</p> })
    };
    view! {
        <div class="tasks" role="group" aria-label="Task">
            {buttons}
        </div>
        {note}
    }
}

/// The prompt of another template; what stands in the places that both have is kept.
fn switch(prompt: &str, from: Option<&Template>, to: &Template) -> String {
    let filled = from.and_then(|from| from.read(prompt.trim()));
    let filled = filled.unwrap_or_default();
    to.compose(|slot| {
        let mut filled = filled.iter().filter(|(_, value)| !value.trim().is_empty());
        filled
            .find(|(known, _)| *known == slot)
            .map(|(_, value)| *value)
    })
}

/// The prompt for a model that has just come: the present one where that model knows it, and else
/// the first of those it knows.
pub(super) fn welcome(prompt: &str, known: &'static [Template]) -> Option<String> {
    let first = known.first()?;
    // Anything at all fits a bare prompt, also what was meant for another model.
    let fits = best_fit(known, prompt).is_some_and(|it| !it.prompt.starts_with('{'));
    (!fits).then(|| first.compose(|_| None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paligemma_tasks::templates;

    fn named(known: &'static [Template], title: &str) -> &'static Template {
        known.iter().find(|it| it.title == title).unwrap()
    }

    #[test]
    fn switching_keeps_what_both_have() {
        let mix = templates("google/paligemma2-3b-mix-224");
        let to = |prompt, title| switch(prompt, best_fit(mix, prompt), named(mix, title));
        assert_eq!(
            to("detect red hat ; dog", "Segment"),
            "segment red hat ; dog"
        );
        assert_eq!(to("caption de", "Describe"), "describe de");
        assert_eq!(to("answer fr combien ?", "Caption"), "caption fr");
        assert_eq!(to("caption en", "Detect"), "detect cat");
        assert_eq!(to("", "Read text"), "ocr");
    }

    #[test]
    fn a_model_is_met_with_a_prompt_it_knows() {
        let mix = templates("google/paligemma2-3b-mix-224");
        assert_eq!(welcome("detect boat", mix), None);
        assert_eq!(welcome("how many?", mix).as_deref(), Some("detect cat"));
        let document = templates("google/paligemma-3b-ft-docvqa-448");
        let question = "what is in the picture?";
        assert_eq!(welcome("detect boat", document).as_deref(), Some(question));
        let captions = templates("google/paligemma-3b-ft-cococap-448");
        assert_eq!(
            welcome("detect boat", captions).as_deref(),
            Some("caption en")
        );
        assert_eq!(welcome("caption en", captions), None);
        assert_eq!(welcome("detect boat", &[]), None);
    }
}
