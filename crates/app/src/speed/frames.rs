//! How smooth the page stayed while the worker answered, beside what the worker measured.

use paligemma_browser::protocol::{Measured, MeasuredLine};

use crate::wording;

/// Milliseconds after which browsers call work long (W3C, Long Tasks): people notice.
const LONG: f64 = 50.0;

/// The time between the page's frames.
#[derive(Debug, PartialEq)]
pub(super) struct Smoothness {
    count: usize,
    /// Of them, more than [`LONG`] apart.
    late: usize,
    median: f64,
    most: f64,
}

impl Smoothness {
    /// Of milliseconds between frames; nothing of none.
    pub(super) fn of(mut apart: Vec<f64>) -> Option<Self> {
        apart.sort_by(f64::total_cmp);
        Some(Self {
            count: apart.len(),
            late: apart.iter().filter(|&&ms| ms > LONG).count(),
            // Of an even number the lower one of both, as everywhere in the report.
            median: *apart.get(apart.len().checked_sub(1)? / 2)?,
            most: *apart.last()?,
        })
    }
}

/// Adds it to the figures, the text and the JSON; that nobody could see it, if so.
pub(super) fn add(smoothness: Option<Smoothness>, measured: &mut Measured) {
    let (median, note) = match &smoothness {
        Some(Smoothness {
            count,
            late,
            median,
            most,
        }) => (
            format!("{median:.1} ms"),
            format!(
                "apart during answers, {} at most; {late} of {count} over {}",
                wording::duration(*most),
                wording::duration(LONG)
            ),
        ),
        None => (
            String::new(),
            "not watched: the page was hidden, or this part of it out of view".to_owned(),
        ),
    };
    measured.text += &format!("\n{:<24}{median:>12}  {note}\n", "the page's frames");
    // As the worker writes it: an object with something in it, whose fields have an order.
    if let (Some(of), Some(open)) = (smoothness, measured.json.trim_end().strip_suffix('}')) {
        measured.json = format!(
            "{},\n  \"frames\": {{\n    \"count\": {},\n    \"late\": {},\n    \"late_ms\": {LONG},\n    \
             \"median_ms\": {:.1},\n    \"max_ms\": {:.1}\n  }}\n}}",
            open.trim_end(),
            of.count,
            of.late,
            of.median,
            of.most
        );
    }
    measured.lines.push(MeasuredLine {
        name: "the page's frames".to_owned(),
        median,
        least: String::new(),
        most: String::new(),
        note,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            facts: Vec::new(),
            warning: None,
            lines: Vec::new(),
            kernels: String::new(),
            text: "figures\n".to_owned(),
            json: "{\n  \"runs\": 3\n}".to_owned(),
        }
    }

    #[test]
    fn late_frames_are_counted() {
        assert_eq!(Smoothness::of(Vec::new()), None);
        let of = Smoothness::of(vec![50.0, 16.7, 51.0, 16.6]);
        let wanted = Smoothness {
            count: 4,
            late: 1,
            median: 16.7,
            most: 51.0,
        };
        assert_eq!(of, Some(wanted));
    }

    #[test]
    fn it_stands_in_the_figures_the_text_and_the_json() {
        let mut measured = measured();
        add(Smoothness::of(vec![16.7, 16.6, 83.3]), &mut measured);
        let note = "apart during answers, 83 ms at most; 1 of 3 over 50 ms";
        assert_eq!(measured.lines[0].median, "16.7 ms");
        assert_eq!(measured.lines[0].note, note);
        assert!(measured.text.starts_with("figures\n\nthe page's frames"));
        assert!(measured.text.trim_end().ends_with(note));
        let json: serde_json::Value = serde_json::from_str(&measured.json).expect("JSON");
        assert_eq!(json["runs"], 3);
        assert_eq!(json["frames"]["late"], 1);
        assert_eq!(json["frames"]["max_ms"], 83.3);
    }

    #[test]
    fn a_hidden_page_says_so() {
        let mut measured = measured();
        add(None, &mut measured);
        assert!(measured.lines[0].note.contains("hidden"));
        assert!(measured.text.contains("hidden"));
        assert_eq!(measured.json, "{\n  \"runs\": 3\n}");
    }
}
