//! The machine, in words.

use std::fs::read_to_string;
use std::process::Command;

/// Processor, cores, memory.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1));
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_whitespace().nth(1);
    let kib = kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0);
    format!(
        "{}, {cores} cores, {:.0} GB",
        model.unwrap_or(std::env::consts::ARCH),
        kib * 1024.0 / 1e9
    )
}

/// What of this repository is measured.
pub(crate) fn commit() -> String {
    let asked = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match said {
        Ok(commit) if !commit.is_empty() => format!("commit {commit}"),
        _ => "a commit unknown to git".to_owned(),
    }
}

/// How busy it is with other things: the load averages.
pub(crate) fn load() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    let numbers: Vec<&str> = text.split_whitespace().take(3).collect();
    numbers.join(", ")
}
