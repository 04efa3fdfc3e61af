//! What was measured, as a page of `benches/`.

use std::fmt::Write as _;

use serde_json::Value;

/// Everything that was measured, and what with.
pub(crate) struct Measured {
    /// Through the page.
    pub(crate) page: Value,
    /// The same weights through the native command.
    pub(crate) native: Value,
    /// Other shapes through the native command.
    pub(crate) others: Vec<Value>,
}

pub(crate) fn table(date: &str, measured: &Measured) -> String {
    let Measured {
        page,
        native,
        others,
    } = measured;
    let mut out = format!(
        "# Published sizes\n\n\
         Checkpoints with the configuration, tensor names, shapes and tokenizer size of the published\n\
         ones, and made-up weights in bfloat16. Written by `cargo xtask full-size` on {date},\n\
         {}.\n\
         Times are those of software rendering on a shared machine: they show that it works, not how\n\
         fast it is.\n\n",
        machine()
    );
    out.push_str("## Through the page\n\n| | |\n|---|---|\n");
    let mut row = |what: &str, value: String| {
        let _ = writeln!(out, "| {what} | {value} |");
    };
    row(
        "checkpoint",
        format!(
            "{}, {} published",
            text(&page["shape"]),
            gb(&page["published_bytes"])
        ),
    );
    row("browser", text(&page["browser"]));
    row("recipe", text(&page["recipe"]));
    row(
        "weights sent by the hub",
        format!(
            "{} in {} requests",
            gb(&page["received_bytes"]),
            page["requests"]
        ),
    );
    row(
        "fetched, packed, checked, loaded",
        seconds(&page["fetch_and_load_seconds"], 1.0),
    );
    row(
        "of that, store to GPU",
        seconds(&page["first_load_ms"], 1e-3),
    );
    row(
        "store to GPU after a reload, the hub gone",
        seconds(&page["second_load_ms"], 1e-3),
    );
    row(
        "the pieces of the store read one by one, and nothing done with them",
        format!(
            "{} in {}",
            gb(&page["store"]["bytes"]),
            seconds(&page["store"]["ms"], 1e-3)
        ),
    );
    let stages = [
        ("before (demo model)", "before"),
        ("while fetching and loading", "fetch"),
        ("while loading after the reload", "reload"),
        ("while answering", "asking"),
    ];
    for (what, stage) in &stages {
        row(
            &format!("largest JavaScript heaps {what}"),
            format!(
                "{} in {} looks",
                gb(&page[stage]["heap_bytes"]),
                page[stage]["looks"]
            ),
        );
    }
    for (what, stage) in &stages {
        let of = |kind: &str| gb(&page[stage]["resident_bytes"][kind]);
        row(
            &format!("largest resident set {what}"),
            format!(
                "renderer {}, GPU process {}, browser {}",
                of("renderer"),
                of("gpu-process"),
                of("browser")
            ),
        );
    }
    row(
        "worker's wasm memory after fetching and loading",
        gb(&page["fetch"]["wasm_bytes"]),
    );
    row(
        "worker's wasm memory after answering",
        gb(&page["asking"]["wasm_bytes"]),
    );
    row(
        "ids of the answer after the reload",
        page["ids"].to_string(),
    );
    row(
        "the same as the native command's",
        (page["ids"] == native["answer"]["token_ids"]).to_string(),
    );
    row(
        "largest difference of their log probabilities",
        difference(&page["logprobs"], &native["answer"]["logprobs"]),
    );
    let stages = [
        ("vision", "vision_ms"),
        ("prefill", "prefill_ms"),
        ("decode", "decode_ms"),
    ];
    for (what, stage) in stages {
        row(what, seconds(&page["answer"]["timings"][stage], 1e-3));
    }
    out.push_str(
        "\nHeaps are what `performance.measureUserAgentSpecificMemory` says, which browsers answer when\n\
         they collect garbage: the page's and the worker's, without the wasm memory, which has rows of\n\
         its own. A renderer's resident set is everything in that process: the page, the worker, their\n\
         wasm and JavaScript heaps, compiled code and what the browser itself needs there. What it has\n\
         more than before is an upper bound of what the model added to both heaps.\n",
    );

    out.push_str(
        "\n## Through the native command\n\n\
         | checkpoint | recipe | convert | run | load | vision | prefill | decode | ids | adapter |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for run in std::iter::once(native).chain(others) {
        let timings = &run["answer"]["timings"];
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            text(&run["shape"]),
            text(&run["recipe"]),
            seconds(&run["convert_seconds"], 1.0),
            seconds(&run["run_seconds"], 1.0),
            seconds(&timings["load_ms"], 1e-3),
            seconds(&timings["vision_ms"], 1e-3),
            seconds(&timings["prefill_ms"], 1e-3),
            seconds(&timings["decode_ms"], 1e-3),
            run["answer"]["token_ids"],
            text(&run["answer"]["adapter"]["name"]),
        );
    }
    out
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: Option<f64> = memory.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let memory = kib.map_or(String::new(), |kib| {
        format!(", {:.0} GB of memory", kib * 1024.0 / 1e9)
    });
    format!("{cores} shared cores{memory}, no GPU: SwiftShader in Chromium, lavapipe natively")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("–").to_owned()
}

fn gb(value: &Value) -> String {
    match value.as_f64() {
        Some(0.0) => "–".to_owned(),
        Some(bytes) if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        Some(bytes) => format!("{:.0} MB", bytes / 1e6),
        None => "–".to_owned(),
    }
}

/// The largest difference of two lists of the same length.
fn difference(ours: &Value, theirs: &Value) -> String {
    match (ours.as_array(), theirs.as_array()) {
        (Some(ours), Some(theirs)) if ours.len() == theirs.len() && !ours.is_empty() => {
            let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
            let pairs = ours.iter().zip(theirs);
            let largest = pairs
                .map(|(a, b)| (number(a) - number(b)).abs())
                .max_by(f64::total_cmp)
                .unwrap_or(f64::NAN);
            format!("{largest:.1e}")
        }
        _ => "–".to_owned(),
    }
}

fn seconds(value: &Value, unit: f64) -> String {
    value
        .as_f64()
        .map_or("–".to_owned(), |value| format!("{:.0} s", value * unit))
}
