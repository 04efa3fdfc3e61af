//! A report as a person reads it.

use std::fmt;

use super::report::{BenchReport, Decode, Spread, Stage, StageProfile};

/// Kernels of a stage that are shown one by one.
const SHOWN: usize = 16;

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header(f)?;
        let limits = &self.limits;
        writeln!(
            f,
            "\nlimits of the adapter, measured in this run\n  \
             copy between buffers  {:>9.1} GB/s\n  \
             f32 multiply-adds     {:>9.1} GFLOP/s",
            limits.copy_gb_per_second, limits.f32_gflop_per_second
        )?;
        writeln!(
            f,
            "\n{:<22}{:>11}{:>11}{:>11}  rate and share of the limit",
            "", "median", "least", "most"
        )?;
        let load = match self.model.made_up {
            true => "make weights up",
            false => "load",
        };
        writeln!(f, "{load:<22}{:>11}", milliseconds(self.load_ms))?;
        stage(f, "vision", "patches", &self.vision)?;
        stage(f, "prefill", "tokens", &self.prefill)?;
        writeln!(f, "{:<22}{}", "first token", times(&self.first_token_ms))?;
        for decode in &self.decode {
            write_decode(f, decode)?;
        }
        for stage in self.profile.iter().flatten() {
            write_profile(f, stage)?;
        }
        Ok(())
    }
}

impl BenchReport {
    fn header(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (model, adapter) = (&self.model, &self.adapter);
        let [vision, text] = model.layers;
        writeln!(
            f,
            "{}: {}, {} parameters, picture {}×{}, {vision} + {text} layers",
            model.name, model.family, model.parameters, model.image_size, model.image_size
        )?;
        if let Some([vision, text]) = model.layers_in_full {
            writeln!(
                f,
                "\n  FEWER LAYERS THAN THE MODEL HAS ({vision} + {text}): no figure below is one of \
                 the whole model\n"
            )?;
        }
        let origin = match model.made_up {
            true => "made up on the GPU",
            false => "loaded",
        };
        let recipe = model.recipe.as_ref();
        let recipe = recipe.map_or_else(String::new, |recipe| format!("{recipe}: "));
        writeln!(
            f,
            "weights    {recipe}{}; {:.2} GB, {origin}",
            model.precision,
            model.weight_bytes as f64 / 1e9
        )?;
        let software = match adapter.is_software {
            true => ", computes on the CPU",
            false => "",
        };
        let driver = match adapter.driver.as_str() {
            "" => String::new(),
            driver => format!(", {driver}"),
        };
        writeln!(
            f,
            "adapter    {} ({}{driver}){software}",
            adapter.name, adapter.backend
        )?;
        let mib = |bytes: u64| bytes / (1 << 20);
        writeln!(
            f,
            "           buffers up to {} MiB, bindings up to {} MiB; features: {}",
            mib(adapter.max_buffer_bytes),
            mib(adapter.max_binding_bytes),
            match adapter.features.as_slice() {
                [] => "none".to_owned(),
                some => some.join(", "),
            }
        )?;
        writeln!(f, "software   paligemma-web {}", self.version)?;
        for (name, value) in &self.conditions {
            writeln!(f, "{name:<10} {value}")?;
        }
        Ok(())
    }
}

fn stage(f: &mut fmt::Formatter<'_>, name: &str, unit: &str, stage: &Stage) -> fmt::Result {
    writeln!(
        f,
        "{:<22}{}  {:.1} GFLOP/s, {} of the f32 peak",
        format!("{name}, {} {unit}", stage.rows),
        times(&stage.ms),
        stage.gflop_per_second,
        percent(stage.share_of_f32_peak),
    )?;
    writeln!(
        f,
        "{:<22}{:>11}",
        "  the first time",
        milliseconds(stage.first_ms)
    )
}

fn write_decode(f: &mut fmt::Formatter<'_>, decode: &Decode) -> fmt::Result {
    let rate = |rate: f64| format!("{rate:.1} tok/s");
    let rates = &decode.tokens_per_second;
    writeln!(
        f,
        "{:<22}{:>11}{:>11}{:>11}  {:.1} GB/s, {} of a copy's",
        format!("decode at {}", decode.position),
        rate(rates.median),
        rate(rates.min),
        rate(rates.max),
        decode.gb_per_second,
        percent(decode.share_of_copy),
    )?;
    writeln!(
        f,
        "{:<22}{}  {} dispatches, {:.3} GB",
        "  a token",
        times(&decode.ms_per_token),
        decode.dispatches_per_token,
        decode.bytes_per_token as f64 / 1e9,
    )?;
    let host = &decode.host_ms_per_token;
    let share = host.median / decode.ms_per_token.median.max(1e-9);
    writeln!(
        f,
        "{:<22}{}  {} of a token",
        "  encode and submit",
        times(host),
        percent(share)
    )
}

fn write_profile(f: &mut fmt::Formatter<'_>, stage: &StageProfile) -> fmt::Result {
    let all = &stage.kernels;
    let sum: f64 = all.iter().map(|k| k.count * k.microseconds).sum();
    let count: f64 = all.iter().map(|k| k.count).sum();
    writeln!(
        f,
        "\n{}: {count:.0} dispatches, {} in kernels, each in a pass of its own",
        stage.stage,
        milliseconds(sum / 1000.0)
    )?;
    writeln!(
        f,
        "{:>7}{:>8}{:>12}{:>12}{:>10}{:>11}  kernel, workgroups",
        "share", "count", "each", "bound", "GB/s", "GFLOP/s"
    )?;
    for kernel in all.iter().take(SHOWN) {
        let [x, y, z] = kernel.workgroups;
        let gflops = kernel.gflop_per_second;
        writeln!(
            f,
            "{:>7}{:>8.0}{:>9.1} µs{:>9.2} MB{:>10.1}{:>11}  {} {x}×{y}×{z}",
            percent(kernel.share),
            kernel.count,
            kernel.microseconds,
            kernel.bytes as f64 / 1e6,
            kernel.gb_per_second,
            gflops.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}")),
            kernel.name,
        )?;
    }
    if let Some(rest) = all.get(SHOWN..).filter(|rest| !rest.is_empty()) {
        let share: f64 = rest.iter().map(|kernel| kernel.share).sum();
        writeln!(f, "{:>7}  {} more", percent(share), rest.len())?;
    }
    Ok(())
}

fn times(of: &Spread) -> String {
    let [median, min, max] = [of.median, of.min, of.max].map(milliseconds);
    format!("{median:>11}{min:>11}{max:>11}")
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
        ms => format!("{:.0} µs", ms * 1000.0),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let shown = [
            0.0123, 0.9994, 1.0, 12.34, 123.4, 1234.0, 12_340.0, 123_400.0,
        ];
        let shown = shown.map(milliseconds);
        let wanted = [
            "12 µs", "999 µs", "1.00 ms", "12.3 ms", "123 ms", "1.23 s", "12.3 s", "123 s",
        ];
        assert_eq!(shown, wanted);
    }
}
