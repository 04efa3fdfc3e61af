//! The answer as the model wrote it.

use leptos::prelude::*;

use crate::notice::CopyButton;
use crate::state::Page;

/// The raw text, with a button that copies it.
#[component]
pub(crate) fn RawAnswer(
    /// The page's state.
    page: Page,
) -> impl IntoView {
    let text = Memo::new(move |_| {
        page.reply
            .with(|reply| reply.as_ref().map(|it| it.text.clone()).unwrap_or_default())
    });
    let writes = move || page.running.with(Option::is_some);
    view! {
        <div class="raw">
            <div class="raw-head">
                <h3>"Raw answer"</h3>
                <div class:away=move || text.with(String::is_empty)>
                    <CopyButton label="Copy" text=text />
                </div>
            </div>
            <p id="answer" class="answer" class:writing=writes>
                {move || {
                    text.with(|text| {
                        pieces(text)
                            .into_iter()
                            .map(|(is_code, piece)| {
                                let piece = piece.to_owned();
                                view! { <span class:code=is_code>{piece}</span> }
                            })
                            .collect_view()
                    })
                }}
            </p>
        </div>
    }
}

/// The text in pieces: runs of `<loc0123>` and `<seg045>`, and what is between them. Nothing is
/// lost or added.
fn pieces(text: &str) -> Vec<(bool, &str)> {
    let mut pieces: Vec<(bool, usize, usize)> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let code = code_length(rest);
        let length = code.unwrap_or_else(|| {
            rest.char_indices()
                .skip(1)
                .find(|(_, c)| *c == '<')
                .map_or(rest.len(), |(i, _)| i)
        });
        match pieces.last_mut() {
            Some((is_code, _, end)) if *is_code == code.is_some() => *end = at + length,
            _ => pieces.push((code.is_some(), at, at + length)),
        }
        at += length;
    }
    pieces
        .into_iter()
        .map(|(is_code, start, end)| (is_code, &text[start..end]))
        .collect()
}

/// The length of the location or segmentation token at the start.
fn code_length(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("<loc").or(text.strip_prefix("<seg"))?;
    let (digits, _) = digits.split_once('>')?;
    let is_number = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| "<loc>".len() + digits.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_alternate() {
        assert_eq!(
            pieces("<loc0001><loc1023><seg045> a < b ; <loc12> <b>é</b><loc0007>"),
            [
                (true, "<loc0001><loc1023><seg045>"),
                (false, " a < b ; <loc12> <b>é</b>"),
                (true, "<loc0007>"),
            ]
        );
        assert_eq!(pieces(""), []);
        assert_eq!(pieces("<"), [(false, "<")]);
    }
}
