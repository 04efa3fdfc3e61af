//! How smooth the page stayed while the worker computed, beside what the worker measured.

use paligemma_browser::protocol::{Measured, MeasuredLine};

/// Milliseconds after which browsers call work long (W3C, Long Tasks): people notice.
const LONG: f64 = 50.0;

/// The time between the page's frames.
#[derive(Debug, PartialEq)]
pub(super) struct Smoothness {
    count: usize,
    /// Of them, more than [`LONG`] apart.
    late: usize,
    median: f64,
    least: f64,
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
            least: *apart.first()?,
            most: *apart.last()?,
        })
    }

    /// Adds it to the figures, the text and the JSON.
    pub(super) fn add_to(&self, measured: &mut Measured) {
        let [median, least, most] =
            [self.median, self.least, self.most].map(|ms| format!("{ms:.1} ms"));
        let late = format!("{} of {} over {LONG} ms", self.late, self.count);
        measured.text += &format!(
            "\nthe page's frames while it computed: {median} apart, {least} to {most}; {late}\n"
        );
        if let Some(open) = measured.json.trim_end().strip_suffix('}') {
            let Self {
                count,
                late,
                median,
                least,
                most,
            } = self;
            measured.json = format!(
                "{},\n  \"frames_ms\": {{ \"count\": {count}, \"over_{LONG}\": {late}, \
                 \"median\": {median:.1}, \"min\": {least:.1}, \"max\": {most:.1} }}\n}}",
                open.trim_end()
            );
        }
        measured.lines.push(MeasuredLine {
            name: "the page's frames".to_owned(),
            median,
            least,
            most,
            note: format!("apart while it computed; {late}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_frames_are_counted() {
        assert_eq!(Smoothness::of(Vec::new()), None);
        let of = Smoothness::of(vec![50.0, 16.7, 51.0, 16.6]);
        let wanted = Smoothness {
            count: 4,
            late: 1,
            median: 16.7,
            least: 16.6,
            most: 51.0,
        };
        assert_eq!(of, Some(wanted));
    }

    #[test]
    fn it_stands_in_the_figures_the_text_and_the_json() {
        let mut measured = Measured {
            facts: Vec::new(),
            warning: None,
            lines: Vec::new(),
            kernels: String::new(),
            text: "figures\n".to_owned(),
            json: "{\n  \"runs\": 3\n}".to_owned(),
        };
        let of = Smoothness::of(vec![16.7, 16.6, 83.3]).expect("three frames");
        of.add_to(&mut measured);
        assert_eq!(measured.lines[0].median, "16.7 ms");
        assert_eq!(
            measured.lines[0].note,
            "apart while it computed; 1 of 3 over 50 ms"
        );
        assert!(measured.text.starts_with("figures\n\nthe page's frames"));
        let json: serde_json::Value = serde_json::from_str(&measured.json).expect("JSON");
        assert_eq!(json["runs"], 3);
        assert_eq!(json["frames_ms"]["over_50"], 1);
        assert_eq!(json["frames_ms"]["max"], 83.3);
    }
}
