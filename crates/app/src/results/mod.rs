//! What came out: things found, words, raw text, times.

mod answer;
mod found;
mod masks;
mod timings;

use leptos::prelude::*;

use self::answer::RawAnswer;
use self::found::Found;
use self::timings::TimingTable;
use crate::looked::WhereItLooked;
use crate::session::Session;
use crate::state::Page;

/// Everything about the latest answer.
#[component]
pub(crate) fn Results(
    /// The page's state.
    page: Page,
    /// The conversation with the worker.
    session: Session,
) -> impl IntoView {
    view! {
        <section class="card results" aria-label="Results">
            <Found page />
            <RawAnswer page />
            <WhereItLooked page session />
            <TimingTable page />
        </section>
    }
}
