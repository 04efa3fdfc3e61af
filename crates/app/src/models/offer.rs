//! What a model would cost, for a person to agree to.

use leptos::prelude::*;
use paligemma_browser::protocol::{ModelSource, Offer};

use super::job::{Job, Offered};
use super::state::Models;
use super::words;
use crate::wording;

/// The offer, while there is one.
#[component]
pub(crate) fn OfferCard(
    /// The models.
    models: Models,
) -> impl IntoView {
    let offered = Memo::new(move |_| match models.job.get() {
        Job::Offered(offered) => Some(offered),
        _ => None,
    });
    move || offered.get().map(|offered| card(models, &offered))
}

fn card(models: Models, Offered { wanted, offer }: &Offered) -> impl IntoView + use<> {
    let is_local = wanted.source == ModelSource::Files;
    let lacking = offer.room.and_then(|room| words::lacking(offer, room));
    let cost = match &offer.cannot_keep {
        _ if offer.complete => format!(
            "It is kept here in full ({}); nothing has to be downloaded.",
            wording::bytes(offer.store_bytes)
        ),
        Some(why) => format!(
            "This browser keeps no models, so {} are read each time it is loaded: {}.",
            wording::bytes(offer.fetch_bytes),
            why.trim_end_matches('.')
        ),
        None => words::cost(offer, &wanted.source),
    };
    let room = offer.room.map(|room| {
        let free = wording::bytes(room.quota.saturating_sub(room.used));
        format!("The browser gives this site {free} more.")
    });
    let warning = lacking.filter(|_| !offer.complete).map(|bytes| {
        format!(
            "That is {} too little. Delete a kept model above, choose a smaller recipe, or free \
             space on the disk: browsers give a share of what is free.",
            wording::bytes(bytes)
        )
    });
    let buttons = if offer.complete {
        view! {
            <button class="primary" id="load-offered" type="button" on:click=move |_| {
                models.is_open.set(false);
                models.load_offered();
            }>
                "Load"
            </button>
            <button class="quiet" id="repair-offered" type="button" on:click=move |_| models.accept()>
                "Check and repair"
            </button>
        }
        .into_any()
    } else if offer.cannot_keep.is_some() {
        view! {
            <button class="primary" id="load-once" type="button" on:click=move |_| {
                models.is_open.set(false);
                models.load_offered_once();
            }>
                "Load without keeping it"
            </button>
        }
        .into_any()
    } else {
        view! {
            <button class="primary" id="fetch" type="button" on:click=move |_| models.accept()>
                {fetch_words(offer, is_local)}
            </button>
        }
        .into_any()
    };
    view! {
        <div class="offer" id="offer" tabindex="-1" role="group" aria-labelledby="offer-title" data-key=offer.key.clone()>
            <h4 id="offer-title">{offer.title.clone()}</h4>
            <p class="small">{facts(offer)}</p>
            <p>{cost}</p>
            {room.filter(|_| !offer.complete).map(|room| view! { <p class="small">{room}</p> })}
            {warning.map(|warning| view! { <p class="warning" id="offer-warning">{warning}</p> })}
            <div class="actions">
                {buttons}
                <button class="quiet" id="cancel" type="button" on:click=move |_| models.cancel()>
                    "Not now"
                </button>
            </div>
        </div>
    }
}

fn fetch_words(offer: &Offer, is_local: bool) -> &'static str {
    match (offer.fetched_bytes > 0, is_local) {
        (true, _) => "Go on",
        (false, true) => "Read and keep",
        (false, false) => "Download",
    }
}

/// `PaliGemma 2, 3.0 billion parameters, sees 224 × 224 pixels · packed by q4 · …`
fn facts(offer: &Offer) -> String {
    let mut parts = vec![
        format!(
            "{}, {} parameters, sees {side} × {side} pixels",
            offer.family,
            wording::count_of_weights(offer.parameters),
            side = offer.image_size
        ),
        if offer.packed {
            format!("already packed by {}", offer.recipe)
        } else {
            format!("packed by {} while it arrives", offer.recipe)
        },
    ];
    if let Some(commit) = &offer.commit {
        parts.push(format!("commit {}", words::short_commit(commit)));
    }
    if let Some(licence) = &offer.licence {
        parts.push(format!("licence: {licence}"));
    }
    if offer.gated {
        parts.push("its publisher wants conditions to be accepted".to_owned());
    }
    parts.join(" · ")
}
