//! A report as a person reads it.

use std::fmt;

use super::picking::picks_token;
use super::report::{BenchReport, Decode, Kernel, Spread, Stage, StageProfile};

/// Kernels of a stage that are shown one by one.
const SHOWN: usize = 16;

/// A figure in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What was measured.
    pub name: String,
    /// The median, or the only value.
    pub median: String,
    /// The least of several runs.
    pub least: String,
    /// The most of several runs.
    pub most: String,
    /// A rate, its share of the adapter's limit, a count.
    pub note: String,
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(warning) = self.warning() {
            writeln!(f, "{warning}\n")?;
        }
        for (name, value) in self.facts() {
            writeln!(f, "{name:<10} {value}")?;
        }
        writeln!(
            f,
            "\n{:<24}{:>12}{:>12}{:>12}",
            "", "median", "least", "most"
        )?;
        for line in self.lines() {
            let row = format!(
                "{:<24}{:>12}{:>12}{:>12}  {}",
                line.name, line.median, line.least, line.most, line.note
            );
            writeln!(f, "{}", row.trim_end())?;
        }
        if !self.tried.is_empty() {
            writeln!(f, "\nkernels tried:")?;
        }
        for tried in &self.tried {
            let ms = tried.ms.map_or_else(|| "deviates".to_owned(), milliseconds);
            let chosen = match tried.chosen {
                true => "  in force",
                false => "",
            };
            let name = format!("  {}, {}", tried.job, tried.kernel);
            writeln!(f, "{name:<24}{ms:>12}{chosen}")?;
        }
        f.write_str(&self.kernels())
    }
}

impl BenchReport {
    /// What has to be said before any figure, if layers were left out.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let [vision, text] = self.model.layers;
        let [of_vision, of_text] = self.model.layers_in_full?;
        Some(format!(
            "FEWER LAYERS THAN THE MODEL HAS, {vision} + {text} of {of_vision} + {of_text}: no \
             figure below is one of the whole model"
        ))
    }

    /// A table of the kernels of each stage; nothing if they were not timed.
    #[must_use]
    pub fn kernels(&self) -> String {
        let stages = self.profile.iter().flatten();
        stages.map(|stage| Kernels(stage).to_string()).collect()
    }

    /// What was measured where, by name.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let (model, adapter) = (&self.model, &self.adapter);
        let [vision, text] = model.layers;
        let shape = format!(
            "{}: {}, {} parameters, picture {size}×{size}, {vision} + {text} layers",
            model.name,
            model.family,
            model.parameters,
            size = model.image_size
        );
        let origin = match model.made_up {
            true => "made up on the GPU",
            false => "loaded",
        };
        let recipe = model.recipe.as_ref();
        let recipe = recipe.map_or_else(String::new, |recipe| format!("{recipe}: "));
        let size = bytes(model.weight_bytes as f64);
        let (weights, kept) = (&model.precision, &model.cache);
        let weights = format!("{recipe}{weights}; keys and values {kept}; {size}, {origin}");
        let driver = match adapter.driver.as_str() {
            "" => String::new(),
            driver => format!(", {driver}"),
        };
        let software = match adapter.is_software {
            true => ", computes on the CPU",
            false => "",
        };
        let mib = |bytes: u64| bytes / (1 << 20);
        let features = match adapter.features.as_slice() {
            [] => "none".to_owned(),
            some => some.join(", "),
        };
        let mut facts = vec![
            ("model".to_owned(), shape),
            ("weights".to_owned(), weights),
            (
                "adapter".to_owned(),
                format!("{} ({}{driver}){software}", adapter.name, adapter.backend),
            ),
            (
                "limits".to_owned(),
                format!(
                    "buffers of {} MiB, bindings of {} MiB; workgroups of {} invocations and \
                     {} KiB, {} storage buffers a kernel",
                    mib(adapter.max_buffer_bytes),
                    mib(adapter.max_binding_bytes),
                    adapter.max_workgroup_invocations,
                    adapter.max_workgroup_bytes / (1 << 10),
                    adapter.max_storage_buffers
                ),
            ),
            ("features".to_owned(), features),
            ("kernels".to_owned(), adapter.kernels.clone()),
            (
                "software".to_owned(),
                format!("paligemma-web {}", self.version),
            ),
        ];
        facts.extend(self.conditions.clone());
        let runs = format!("{}, after one that is not counted", self.runs);
        facts.push(("runs".to_owned(), runs));
        facts
    }

    /// The figures, in the order in which they were measured.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let limits = &self.limits;
        let load = match self.model.made_up {
            true => "make weights up",
            false => "load",
        };
        let mut lines = vec![
            single(
                "copy between buffers",
                format!("{:.1} GB/s", limits.copy_gb_per_second),
                "read and written: a limit of the adapter",
            ),
            single(
                "f32 multiply-adds",
                format!("{:.1} GFLOP/s", limits.f32_gflop_per_second),
                "in registers: a limit of the adapter",
            ),
            single(load, milliseconds(self.load_ms), "once"),
        ];
        stage(&mut lines, "vision", "patches", &self.vision);
        stage(&mut lines, "prefill", "tokens", &self.prefill);
        let share = percent(self.first_token_share_of_f32_peak);
        let note = format!("vision and prefill, {share} of the f32 peak");
        lines.push(times("first token", &self.first_token_ms, note));
        for at in &self.decode {
            decode(&mut lines, at);
        }
        lines
    }
}

fn single(name: &str, value: String, note: &str) -> Line {
    Line {
        name: name.to_owned(),
        median: value,
        note: note.to_owned(),
        ..Line::default()
    }
}

fn times(name: &str, of: &Spread, note: String) -> Line {
    let [median, least, most] = [of.median, of.min, of.max].map(milliseconds);
    Line {
        name: name.to_owned(),
        median,
        least,
        most,
        note,
    }
}

fn stage(lines: &mut Vec<Line>, name: &str, unit: &str, stage: &Stage) {
    let note = format!(
        "{:.1} GFLOP/s, {} of the f32 peak",
        stage.gflop_per_second,
        percent(stage.share_of_f32_peak)
    );
    let name = format!("{name}, {} {unit}", stage.rows);
    lines.push(times(&name, &stage.ms, note));
    let first = milliseconds(stage.first_ms);
    lines.push(single("  the first time", first, "compiles pipelines"));
}

fn decode(lines: &mut Vec<Line>, decode: &Decode) {
    let rates = &decode.tokens_per_second;
    let [median, least, most] =
        [rates.median, rates.min, rates.max].map(|rate| format!("{rate:.1} tok/s"));
    lines.push(Line {
        name: format!("decode at {}", decode.position),
        median,
        least,
        most,
        note: format!(
            "{}/s, {} of a copy's",
            bytes(decode.gb_per_second * 1e9),
            percent(decode.share_of_copy)
        ),
    });
    let note = format!(
        "{} dispatches, {}",
        decode.dispatches_per_token,
        bytes(decode.bytes_per_token as f64)
    );
    lines.push(times("  a token", &decode.ms_per_token, note));
    let host = &decode.host_ms_per_token;
    let share = host.median / decode.ms_per_token.median.max(1e-9);
    let replayed = match decode.replayed {
        true => ", replayed",
        false => "",
    };
    let together = match decode.steps_per_submission {
        0 | 1 => String::new(),
        steps => format!(", {steps} at once"),
    };
    let note = format!("{} of a token{replayed}{together}", percent(share));
    lines.push(times("  encode and submit", host, note));
}

/// The kernels of a stage, as a table.
struct Kernels<'s>(&'s StageProfile);

impl fmt::Display for Kernels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(stage) = self;
        let all = &stage.kernels;
        let sum: f64 = all.iter().map(|k| k.count * k.microseconds).sum();
        let count: f64 = all.iter().map(|k| k.count).sum();
        let picking = match all.iter().any(|kernel| picks_token(&kernel.name)) {
            true => format!(" ({} to pick the token)", percent(stage.picking_share)),
            false => String::new(),
        };
        let how = match stage.timed_by.as_str() {
            "repeating" => "each repeated by itself",
            _ => "each in a pass of its own",
        };
        writeln!(
            f,
            "\n{}: {count:.0} dispatches, {} in kernels{picking}, {how}",
            stage.stage,
            milliseconds(sum / 1000.0)
        )?;
        let named: Vec<(String, &Kernel)> = all
            .iter()
            .take(SHOWN)
            .map(|kernel| {
                let [x, y, z] = kernel.workgroups;
                (format!("{} {x}×{y}×{z}", kernel.name), kernel)
            })
            .collect();
        let heading = "kernel, workgroups";
        let widths = named.iter().map(|(name, _)| name.chars().count());
        let width = widths.max().unwrap_or_default().max(heading.len());
        // Names where a narrow page shows them, too.
        writeln!(
            f,
            "{:>7}{:>7}{:>10}  {heading:width$}{:>12}{:>9}{:>10}{:>14}",
            "share", "count", "each", "bound", "GB/s", "GFLOP/s", "of limit"
        )?;
        for (name, kernel) in named {
            let gflops = kernel.gflop_per_second;
            let of_limit = format!("{} {}", percent(kernel.share_of_limit), kernel.limited_by);
            writeln!(
                f,
                "{:>7}{:>7.0}{:>10}  {name:width$}{:>9.2} MB{:>9.1}{:>10}{of_limit:>14}",
                percent(kernel.share),
                kernel.count,
                milliseconds(kernel.microseconds / 1000.0),
                kernel.bytes as f64 / 1e6,
                kernel.gb_per_second,
                gflops.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}")),
            )?;
        }
        if let Some(rest) = all.get(SHOWN..).filter(|rest| !rest.is_empty()) {
            let share: f64 = rest.iter().map(|kernel| kernel.share).sum();
            writeln!(f, "{:>7}  {} more", percent(share), rest.len())?;
        }
        Ok(())
    }
}

/// Three digits, in the unit that suits.
fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms >= 99_950.0 => format!("{:.0} s", ms / 1000.0),
        ms if ms >= 9_995.0 => format!("{:.1} s", ms / 1000.0),
        ms if ms >= 999.5 => format!("{:.2} s", ms / 1000.0),
        ms if ms >= 99.95 => format!("{ms:.0} ms"),
        ms if ms >= 9.995 => format!("{ms:.1} ms"),
        ms if ms >= 0.9995 => format!("{ms:.2} ms"),
        ms if ms >= 0.009_995 => format!("{:.0} µs", ms * 1000.0),
        ms => format!("{:.2} µs", ms * 1000.0),
    }
}

/// Three digits, in units of a thousand.
fn bytes(count: f64) -> String {
    let (size, unit) = match count {
        count if count >= 999.5e6 => (count / 1e9, "GB"),
        count if count >= 999.5e3 => (count / 1e6, "MB"),
        count => (count / 1e3, "kB"),
    };
    match size {
        size if size >= 99.95 => format!("{size:.0} {unit}"),
        size if size >= 9.995 => format!("{size:.1} {unit}"),
        size => format!("{size:.2} {unit}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let shown = [0.0, 7.2e6, 12.34e6, 361e6, 1.4123e9, 2712.0e9].map(bytes);
        let wanted = [
            "0.00 kB", "7.20 MB", "12.3 MB", "361 MB", "1.41 GB", "2712 GB",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn times_have_three_digits() {
        let shown = [
            0.0012, 0.0123, 0.9994, 1.0, 12.34, 123.4, 1234.0, 12_340.0, 123_400.0,
        ];
        let shown = shown.map(milliseconds);
        let wanted = [
            "1.20 µs", "12 µs", "999 µs", "1.00 ms", "12.3 ms", "123 ms", "1.23 s", "12.3 s",
            "123 s",
        ];
        assert_eq!(shown, wanted);
    }
}
