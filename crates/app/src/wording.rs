//! Numbers and names as people read them.

use paligemma_browser::protocol::{Detection, Problem, ProblemKind};
use paligemma_scenes::Kind;

/// `4.20 MB`, `2.18 GB`: three digits, in units of a thousand.
pub(crate) fn bytes(bytes: u64) -> String {
    let (in_unit, unit) = in_unit(bytes, bytes);
    format!("{in_unit} {unit}")
}

/// `1.20 of 2.18 GB`, in the unit of the whole.
pub(crate) fn part_of(part: u64, whole: u64) -> String {
    let (part, _) = in_unit(part, whole);
    let (whole, unit) = in_unit(whole, whole);
    format!("{part} of {whole} {unit}")
}

/// A number of bytes in the unit, and with the decimals, that suit `scale`.
fn in_unit(bytes: u64, scale: u64) -> (String, &'static str) {
    // From where on three digits are a thousand of the smaller unit.
    let (size, unit) = match scale {
        0..1_000 => return (bytes.to_string(), "bytes"),
        1_000..999_500 => (1e3, "kB"),
        999_500..999_500_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    let decimals = match scale as f64 / size {
        large if large >= 99.95 => 0,
        middling if middling >= 9.995 => 1,
        _ => 2,
    };
    (format!("{:.decimals$}", bytes as f64 / size), unit)
}

/// `86 ms`, `1.24 s`.
pub(crate) fn duration(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.2} s", milliseconds / 1000.0)
    }
}

/// `5.1 million`, `3.0 billion`.
pub(crate) fn count_of_weights(parameters: u64) -> String {
    let parameters = parameters as f64;
    if parameters >= 1e9 {
        format!("{:.1} billion", parameters / 1e9)
    } else {
        format!("{:.1} million", parameters / 1e6)
    }
}

/// `2 cats, 1 bus`, in the order of their first appearance.
pub(crate) fn inventory(detections: &[Detection]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for detection in detections {
        match counts
            .iter_mut()
            .find(|(label, _)| *label == detection.label)
        {
            Some((_, count)) => *count += 1,
            None => counts.push((&detection.label, 1)),
        }
    }
    let words: Vec<String> = counts
        .into_iter()
        .map(|(label, count)| match (count, Kind::named(label)) {
            (1, _) => format!("1 {label}"),
            (_, Some(kind)) => format!("{count} {}", kind.plural),
            (_, None) => format!("{count} × {label}"),
        })
        .collect();
    words.join(", ")
}

/// `1 box`, `3 boxes`.
pub(crate) fn boxes(count: usize) -> String {
    if count == 1 {
        "1 box".to_owned()
    } else {
        format!("{count} boxes")
    }
}

/// What happened and what to do next, as a person at a browser reads it.
pub(crate) fn explain(problem: &Problem) -> String {
    match problem.kind {
        // The engine speaks of every platform it knows; its words are in the diagnostics.
        ProblemKind::NoAdapter => "This browser offers WebGPU but no graphics adapter to go with \
            it: switch on hardware acceleration in its settings, update the graphics driver, and \
            restart the browser."
            .to_owned(),
        _ => sentence(&problem.message),
    }
}

/// A message as a sentence of its own: errors are written to stand after a colon. A name at its
/// beginning, such as `config.json`, stays as it is.
fn sentence(message: &str) -> String {
    let message = message.trim();
    let first_word = message.split_whitespace().next().unwrap_or_default();
    let mut letters = message.chars();
    let mut sentence = match letters.next() {
        Some(first) if first_word.chars().all(char::is_alphabetic) => {
            first.to_uppercase().chain(letters).collect()
        }
        _ => message.to_owned(),
    };
    if !sentence.is_empty() && !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

/// What went wrong, in a few words.
pub(crate) fn title(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::InsecureContext => "This address is not secure",
        ProblemKind::NoWebGpu => "This browser has no WebGPU",
        ProblemKind::NoAdapter => "No graphics adapter to compute with",
        ProblemKind::LimitsTooSmall => "This graphics adapter is too small for the model",
        ProblemKind::OutOfMemory => "The graphics adapter is out of memory",
        ProblemKind::DeviceLost => "The graphics adapter was lost",
        ProblemKind::Picture => "This picture cannot be used",
        ProblemKind::Network => "The model could not be fetched",
        ProblemKind::Token => "The hub wants an access token",
        ProblemKind::Changed => "The model has changed",
        ProblemKind::Storage => "The model cannot be kept",
        ProblemKind::Damaged => "The kept model is damaged",
        ProblemKind::Cancelled => "Stopped",
        ProblemKind::Checkpoint => "The model’s files cannot be used",
        ProblemKind::Prompt => "This prompt cannot be answered",
        ProblemKind::Worker => "The background worker stopped",
        ProblemKind::Internal => "Something went wrong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_two_or_three_digits() {
        assert_eq!(duration(4.06), "4.1 ms");
        assert_eq!(duration(86.4), "86 ms");
        assert_eq!(duration(1_239.0), "1.24 s");
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(bytes(1_234), "1.23 kB");
        assert_eq!(bytes(999_499), "999 kB");
        assert_eq!(bytes(999_500), "1.00 MB");
        assert_eq!(bytes(10_268_128), "10.3 MB");
        assert_eq!(bytes(2_180_000_000), "2.18 GB");
        assert_eq!(bytes(99_960_000_000), "100 GB");
        assert_eq!(part_of(0, 2_180_000_000), "0.00 of 2.18 GB");
        assert_eq!(part_of(1_204_000_000, 2_180_000_000), "1.20 of 2.18 GB");
        assert_eq!(count_of_weights(5_120_000), "5.1 million");
        assert_eq!(count_of_weights(3_030_000_000), "3.0 billion");
    }

    #[test]
    fn messages_begin_and_end_as_sentences_do() {
        assert_eq!(
            sentence("the file is empty: choose another"),
            "The file is empty: choose another."
        );
        assert_eq!(sentence("Already whole."), "Already whole.");
        assert_eq!(sentence("écran"), "Écran.");
        assert_eq!(
            sentence("config.json is missing"),
            "config.json is missing."
        );
        assert_eq!(sentence(" "), "");
    }

    #[test]
    fn things_are_counted_by_name() {
        let labels = ["cat", "bus", "cat", "red hat", "red hat", "bus"];
        let detections: Vec<Detection> = labels
            .iter()
            .map(|label| Detection {
                label: (*label).to_owned(),
                bbox: [0.0; 4],
                score: None,
            })
            .collect();
        assert_eq!(inventory(&detections), "2 cats, 2 buses, 2 × red hat");
        assert_eq!(inventory(&detections[..2]), "1 cat, 1 bus");
    }
}
