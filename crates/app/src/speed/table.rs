//! What was measured, as a table with what it was measured on.

use leptos::prelude::*;
use paligemma_browser::protocol::Measured;

use crate::notice::CopyButton;

/// The figures, the conditions, and buttons that copy both.
#[component]
pub(super) fn Report(
    /// What the worker measured.
    measured: Measured,
) -> impl IntoView {
    let rows = measured.lines.into_iter().map(|line| {
        let spread = match (line.least.as_str(), line.most.as_str()) {
            ("", _) | (_, "") => String::new(),
            (least, most) => format!("{least} – {most}"),
        };
        view! {
            <tr>
                <th scope="row">{line.name}</th>
                <td class="number">{line.median} <small>{spread}</small></td>
                <td class="speed-note">{line.note}</td>
            </tr>
        }
    });
    let facts = measured.facts.into_iter().map(|[name, value]| {
        view! {
            <dt>{name}</dt>
            <dd>{value}</dd>
        }
    });
    let warning = measured
        .warning
        .map(|warning| view! { <p class="speed-warning">{warning}</p> });
    let kernels = (!measured.kernels.is_empty()).then(|| {
        view! {
            <details id="speed-kernels" class="speed-kernels">
                <summary>"Single kernels"</summary>
                <p>
                    "Each kernel was repeated by itself, and timed by the clock. What the browser takes to hand \
                     it on is part of that: of kernels of a few microseconds it is much."
                </p>
                <pre tabindex="0" role="region" aria-label="Single kernels">{measured.kernels}</pre>
            </details>
        }
    });
    view! {
        {warning}
        <table id="speed-table">
                <thead>
                    <tr>
                        <th scope="col">"Stage"</th>
                        <th scope="col" class="number">"Median, least – most"</th>
                        <th scope="col">"Rate and share of the limit"</th>
                    </tr>
                </thead>
                <tbody>{rows.collect_view()}</tbody>
        </table>
        <dl id="speed-facts" class="speed-facts">{facts.collect_view()}</dl>
        {kernels}
        <div class="speed-copy">
            <CopyButton label="Copy as text" text=Signal::stored(measured.text) />
            <CopyButton label="Copy as JSON" text=Signal::stored(measured.json) />
        </div>
    }
}
