//! A model that arrives: how far it is, how fast it goes, how long it takes.

use std::time::Duration;

use leptos::prelude::*;
use paligemma_browser::protocol::{FetchStage, ModelSource};

use super::job::{Fetch, Job};
use super::state::Models;
use super::words;
use crate::platform::page as browser;
use crate::wording;

/// The progress, while something arrives or is paused.
#[component]
pub(crate) fn Progress(
    /// The models.
    models: Models,
) -> impl IntoView {
    let is_there = Memo::new(move |_| {
        models
            .job
            .with(|job| matches!(job, Job::Fetching(_) | Job::Paused(_)))
    });
    view! {
        <Show when=move || is_there.get()>
            <Card models />
        </Show>
        <p class="visually-hidden" role="status">{move || announcement(models)}</p>
    }
}

#[component]
fn Card(models: Models) -> impl IntoView {
    // A stall is no news, and must show all the same.
    let now = RwSignal::new(browser::now());
    let clock = set_interval_with_handle(move || now.set(browser::now()), Duration::from_secs(1));
    on_cleanup(move || {
        if let Ok(clock) = clock {
            clock.clear();
        }
    });
    let fetch = move || match models.job.get() {
        Job::Fetching(fetch) | Job::Paused(fetch) => Some(fetch),
        _ => None,
    };
    let of = move |part: fn(&Fetch) -> u64| move || fetch().map_or(0, |it| part(&it)).to_string();
    let is_fetching = move || models.job.with(|job| matches!(job, Job::Fetching(_)));
    let is_stopping = move || fetch().is_some_and(|fetch| fetch.stopping);
    let can_hurry = move || {
        let waiting = fetch().and_then(|fetch| fetch.waiting);
        waiting.is_some_and(|waiting| !waiting.asked) && !is_stopping()
    };
    let is_elsewhere = move || fetch().is_some_and(|it| stage(&it) == Some(FetchStage::Elsewhere));
    let armed = RwSignal::new(false);
    let cancel = move |_| {
        if armed.get_untracked() {
            armed.set(false);
            models.cancel();
        } else {
            armed.set(true);
        }
    };
    let stage_name = move || match fetch() {
        Some(_) if !is_fetching() => "paused",
        Some(fetch) if fetch.waiting.is_some() => "waiting",
        Some(fetch) => stage(&fetch).map_or("starting", words::stage_name),
        None => "",
    };
    view! {
        <div class="fetch" role="group" aria-label="Download">
            <h4>{move || fetch().map(|fetch| fetch.title)}</h4>
            <p id="fetch-stage" tabindex="-1">{move || fetch().map(|fetch| doing(&fetch, is_fetching()))}</p>
            <progress
                id="fetching"
                aria-label="How much has arrived"
                data-stage=stage_name
                data-fetched=of(|it| figures(it).0)
                data-total=of(|it| figures(it).1)
                prop:max=move || fetch().map_or(1.0, |it| measured(&it).1.max(1) as f64)
                prop:value=move || fetch().map_or(0.0, |it| measured(&it).0 as f64)
            ></progress>
            <p class="small figures">
                {move || fetch().map(|fetch| tempo(&fetch, is_fetching(), now.get()))}
            </p>
            <div class="actions">
                <Show
                    when=is_fetching
                    fallback=move || {
                        view! {
                            <button class="primary" id="resume" type="button" on:click=move |_| models.resume()>
                                "Resume"
                            </button>
                        }
                    }
                >
                    <Show when=can_hurry>
                        <button class="primary" id="hurry" type="button" on:click=move |_| models.hurry()>
                            "Try now"
                        </button>
                    </Show>
                    <button id="pause" type="button" disabled=is_stopping on:click=move |_| models.pause()>
                        {move || if is_elsewhere() { "Stop following" } else { "Pause" }}
                    </button>
                </Show>
                <Show when=move || !is_elsewhere()>
                    <button
                        class="quiet"
                        class:danger=move || armed.get()
                        id="cancel"
                        type="button"
                        disabled=is_stopping
                        on:click=cancel
                        on:blur=move |_| armed.set(false)
                    >
                        {move || if armed.get() { "Throw away what has arrived" } else { "Cancel" }}
                    </button>
                </Show>
            </div>
            <p class="small">{move || fetch().map(|fetch| advice(&fetch))}</p>
        </div>
    }
}

fn stage(fetch: &Fetch) -> Option<FetchStage> {
    fetch.progress.map(|progress| progress.stage)
}

/// Bytes that have arrived, and all.
fn figures(fetch: &Fetch) -> (u64, u64) {
    fetch
        .progress
        .map_or((0, 0), |it| (it.fetched_bytes, it.fetch_bytes))
}

/// What the bar shows.
fn measured(fetch: &Fetch) -> (u64, u64) {
    fetch.progress.as_ref().map_or((0, 0), words::measure)
}

fn doing(fetch: &Fetch, is_fetching: bool) -> String {
    if !is_fetching {
        return "Paused; what has arrived is kept".to_owned();
    }
    if fetch.stopping {
        return "Stopping…".to_owned();
    }
    if let Some(waiting) = &fetch.waiting {
        return words::waiting(waiting);
    }
    match stage(fetch) {
        Some(stage) => format!("{}…", words::stage(stage, &fetch.wanted.source)),
        None => "Looking at what is here already…".to_owned(),
    }
}

/// `1.20 of 6.06 GB · 12.3 MB/s · about 7 min left`
fn tempo(fetch: &Fetch, is_fetching: bool, now: f64) -> String {
    let (done, total) = measured(fetch);
    if total == 0 {
        let waiting = fetch.waiting.as_ref().filter(|_| is_fetching);
        return waiting.map_or_else(String::new, |it| words::next_attempt(it, now));
    }
    let mut parts = vec![wording::part_of(done, total)];
    if let Some(waiting) = fetch.waiting.as_ref().filter(|_| is_fetching) {
        parts.push(words::next_attempt(waiting, now));
    } else if let Some(rate) = fetch.pace.rate(now).filter(|_| is_fetching) {
        parts.push(format!("{}/s", wording::bytes(rate as u64)));
        match fetch.pace.seconds_left(now, total) {
            Some(seconds) => parts.push(words::time_left(seconds)),
            None => parts.push("nothing arrives at the moment".to_owned()),
        }
    }
    parts.join(" · ")
}

fn advice(fetch: &Fetch) -> &'static str {
    if fetch.wanted.source == ModelSource::Files {
        "The page can be used meanwhile. After a reload the files have to be chosen again; what was \
         packed by then is kept."
    } else {
        "The page can be used meanwhile. You may close this tab: it goes on where it was when you \
         come back."
    }
}

/// For those who listen: the stages, and every tenth.
fn announcement(models: Models) -> String {
    models.job.with(|job| match job {
        Job::None => String::new(),
        Job::Examining => "Asking what the model would cost".to_owned(),
        Job::Offered(offered) => format!("{} is on offer", offered.offer.title),
        Job::Paused(_) => "Paused".to_owned(),
        Job::Fetching(fetch) => {
            if fetch.waiting.is_some() && !fetch.stopping {
                return doing(fetch, true);
            }
            let (done, total) = measured(fetch);
            let tenths = (done.saturating_mul(10)).checked_div(total).unwrap_or(0);
            format!("{} {} %", doing(fetch, true), tenths * 10)
        }
    })
}
