//! What models cost, how far they are and where they come from, in words.

use paligemma_browser::protocol::{FetchProgress, FetchStage, ModelSource, Offer, Room, Waiting};

use crate::wording::bytes;

/// `about 12 min left`
pub(crate) fn time_left(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil();
    if seconds < 10.0 {
        "a few seconds left".to_owned()
    } else if seconds < 60.0 {
        format!("about {:.0} s left", (seconds / 10.0).ceil() * 10.0)
    } else if minutes < 60.0 {
        format!("about {minutes:.0} min left")
    } else if minutes < 48.0 * 60.0 {
        let hours = (minutes / 60.0).floor();
        format!("about {hours:.0} h {:.0} min left", minutes - hours * 60.0)
    } else {
        "more than two days left".to_owned()
    }
}

/// `just now`, `3 hours ago`; times in milliseconds since 1970, 0 for never.
pub(crate) fn last_used(then: f64, now: f64) -> String {
    if then <= 0.0 {
        return "never used".to_owned();
    }
    let minutes = ((now - then) / 60_000.0).floor();
    let ago = |count: f64, unit: &str| {
        let plural = if count == 1.0 { "" } else { "s" };
        format!("used {count:.0} {unit}{plural} ago")
    };
    if minutes < 1.0 {
        "used just now".to_owned()
    } else if minutes < 60.0 {
        ago(minutes, "minute")
    } else if minutes < 24.0 * 60.0 {
        ago((minutes / 60.0).floor(), "hour")
    } else {
        ago((minutes / (24.0 * 60.0)).floor(), "day")
    }
}

/// The first seven digits of a commit, as people quote it.
pub(crate) fn short_commit(commit: &str) -> String {
    commit.chars().take(7).collect()
}

/// The host that a source is read from; none for files on this machine.
pub(crate) fn host(source: &ModelSource) -> Option<String> {
    let url = match source {
        ModelSource::Url { url } => url,
        ModelSource::Hub { base_url, .. } => base_url,
        ModelSource::Files => return None,
    };
    let Some((_, after)) = url.split_once("://") else {
        return Some("this site".to_owned());
    };
    let authority = after.split(['/', '?', '#']).next().unwrap_or(after);
    // What stands before an `@` is a name and a password.
    let host = authority.rsplit('@').next().unwrap_or(authority);
    Some(host.to_owned())
}

/// What fetching costs, in sentences.
pub(crate) fn cost(offer: &Offer, source: &ModelSource) -> String {
    let missing = offer.fetch_bytes.saturating_sub(offer.fetched_bytes);
    let here = if offer.fetched_bytes > 0 {
        format!(" ({} are here already)", bytes(offer.fetched_bytes))
    } else {
        String::new()
    };
    let keeps = format!(
        "keeps {} in this browser’s storage on this disk",
        bytes(offer.store_bytes)
    );
    match host(source) {
        Some(host) => format!(
            "Downloads {}{here} from {host} and {keeps}. Nothing about your pictures is sent.",
            bytes(missing)
        ),
        None => format!(
            "Reads {}{here} from the files you chose and {keeps}. Nothing is sent anywhere.",
            bytes(missing)
        ),
    }
}

/// Bytes that the browser's storage is too small by for what is still to be kept.
pub(crate) fn lacking(offer: &Offer, room: Room) -> Option<u64> {
    let missing = offer.fetch_bytes.saturating_sub(offer.fetched_bytes);
    // What was fetched takes its share of what is kept.
    let share = if offer.fetch_bytes == 0 {
        1.0
    } else {
        missing as f64 / offer.fetch_bytes as f64
    };
    let needed = (offer.store_bytes as f64 * share) as u64;
    let free = room.quota.saturating_sub(room.used);
    (needed > free).then(|| needed - free)
}

/// Why nothing arrives.
pub(crate) fn waiting(waiting: &Waiting) -> String {
    let goes_on = "it goes on by itself";
    if waiting.asked {
        format!(
            "Waiting as the server asked ({}); {goes_on}",
            waiting.reason
        )
    } else {
        format!("Waiting for the network: {}; {goes_on}", waiting.reason)
    }
}

/// When it is tried again; `now` in milliseconds since 1970.
pub(crate) fn next_attempt(waiting: &Waiting, now: f64) -> String {
    let Some(until) = waiting.until_ms else {
        return "trying again…".to_owned();
    };
    let seconds = ((until - now) / 1000.0).ceil().max(1.0);
    let (minutes, rest) = ((seconds / 60.0).floor(), seconds % 60.0);
    if minutes >= 1.0 {
        format!("trying again in {minutes:.0} min {rest:.0} s")
    } else {
        format!("trying again in {rest:.0} s")
    }
}

/// What is being done.
pub(crate) fn stage(stage: FetchStage, source: &ModelSource) -> &'static str {
    let is_local = *source == ModelSource::Files;
    match stage {
        FetchStage::Elsewhere => "Another tab is fetching this model; following it",
        FetchStage::Files if is_local => "Reading the tokenizer and the settings",
        FetchStage::Files => "Fetching the tokenizer and the settings",
        FetchStage::Weights if is_local => "Reading, packing and storing the weights",
        FetchStage::Weights => "Fetching, packing and storing the weights",
        FetchStage::Checking => "Checking what is stored",
    }
}

/// The stage's name in the page.
pub(crate) fn stage_name(stage: FetchStage) -> &'static str {
    match stage {
        FetchStage::Elsewhere => "elsewhere",
        FetchStage::Files => "files",
        FetchStage::Weights => "weights",
        FetchStage::Checking => "checking",
    }
}

/// What counts as done and as all in a stage, in bytes.
pub(crate) fn measure(progress: &FetchProgress) -> (u64, u64) {
    match progress.stage {
        FetchStage::Checking => (progress.stored_bytes, progress.store_bytes),
        FetchStage::Elsewhere | FetchStage::Files | FetchStage::Weights => {
            (progress.fetched_bytes, progress.fetch_bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(fetch_bytes: u64, fetched_bytes: u64, store_bytes: u64) -> Offer {
        Offer {
            key: "00".to_owned(),
            title: "mine".to_owned(),
            family: "PaliGemma 2".to_owned(),
            parameters: 1,
            image_size: 224,
            commit: None,
            licence: None,
            gated: false,
            recipe: "q4".to_owned(),
            packed: false,
            fetch_bytes,
            fetched_bytes,
            store_bytes,
            complete: false,
            room: None,
            cannot_keep: None,
        }
    }

    fn folder(url: &str) -> ModelSource {
        ModelSource::Url {
            url: url.to_owned(),
        }
    }

    #[test]
    fn what_it_costs_names_the_host_and_what_is_here() {
        let words = cost(
            &offer(6_064_000_000, 1_000_000_000, 2_180_000_000),
            &folder("https://user:word@a.b:8080/m?x"),
        );
        assert_eq!(
            words,
            "Downloads 5.06 GB (1.00 GB are here already) from a.b:8080 and keeps 2.18 GB in this \
             browser’s storage on this disk. Nothing about your pictures is sent."
        );
        let words = cost(&offer(10_000_000, 0, 5_000_000), &ModelSource::Files);
        assert!(
            words.starts_with("Reads 10.0 MB from the files you chose"),
            "{words}"
        );
        assert!(words.ends_with("Nothing is sent anywhere."), "{words}");
        assert_eq!(host(&folder("demo/model")).as_deref(), Some("this site"));
    }

    #[test]
    fn room_is_needed_for_what_is_missing() {
        let room = |used, quota| Room {
            used,
            quota,
            persisted: false,
        };
        assert_eq!(lacking(&offer(600, 0, 200), room(0, 200)), None);
        assert_eq!(lacking(&offer(600, 0, 200), room(1, 200)), Some(1));
        assert_eq!(lacking(&offer(600, 300, 200), room(100, 200)), None);
        assert_eq!(lacking(&offer(600, 300, 200), room(150, 200)), Some(50));
        assert_eq!(lacking(&offer(0, 0, 200), room(300, 200)), Some(200));
    }

    #[test]
    fn times_are_round() {
        assert_eq!(time_left(3.0), "a few seconds left");
        assert_eq!(time_left(41.0), "about 50 s left");
        assert_eq!(time_left(61.0), "about 2 min left");
        assert_eq!(time_left(3601.0), "about 1 h 1 min left");
        assert_eq!(time_left(1e9), "more than two days left");
    }

    #[test]
    fn days_and_hours_ago() {
        let hour = 3_600_000.0;
        let at = 1.8e12;
        assert_eq!(last_used(0.0, at), "never used");
        assert_eq!(last_used(at - 59_000.0, at), "used just now");
        assert_eq!(last_used(at - 60_000.0, at), "used 1 minute ago");
        assert_eq!(last_used(at - 5.5 * hour, at), "used 5 hours ago");
        assert_eq!(last_used(at - 49.0 * hour, at), "used 2 days ago");
        // A clock that was set back.
        assert_eq!(last_used(at + hour, at), "used just now");
    }

    #[test]
    fn a_wait_counts_down() {
        let mut wait = Waiting {
            reason: "this device is offline".to_owned(),
            until_ms: Some(100_000.0),
            asked: false,
        };
        for (now, expected) in [
            (0.0, "trying again in 1 min 40 s"),
            (40_001.0, "trying again in 1 min 0 s"),
            (41_000.0, "trying again in 59 s"),
            (99_999.0, "trying again in 1 s"),
            // The attempt begins a little later than it was to.
            (100_500.0, "trying again in 1 s"),
        ] {
            assert_eq!(next_attempt(&wait, now), expected);
        }
        let words = waiting(&wait);
        assert!(
            words.starts_with("Waiting for the network: this device"),
            "{words}"
        );
        wait.asked = true;
        wait.until_ms = None;
        assert!(waiting(&wait).contains("the server asked"));
        assert_eq!(next_attempt(&wait, 0.0), "trying again…");
    }

    #[test]
    fn checking_counts_what_is_stored() {
        let mut progress = FetchProgress {
            stage: FetchStage::Weights,
            fetched_bytes: 1,
            fetch_bytes: 2,
            stored_bytes: 3,
            store_bytes: 4,
        };
        assert_eq!(measure(&progress), (1, 2));
        progress.stage = FetchStage::Checking;
        assert_eq!(measure(&progress), (3, 4));
    }
}
