//! What a browser's processes cost this machine, as Linux counts it.

use std::collections::BTreeMap;

/// A process of a browser.
#[derive(Clone, Debug)]
pub struct Process {
    /// What Chromium calls it: `renderer`, `gpu-process`, …; `browser` where it says nothing.
    pub kind: String,
    /// Resident set now, in bytes.
    pub resident: u64,
    /// Largest resident set so far, in bytes.
    pub peak: u64,
}

/// Every process that `root` has started, itself or through others; none where there is no `/proc`.
pub fn below(root: u32) -> Vec<Process> {
    let mut parents: BTreeMap<u32, u32> = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = field(pid, "PPid:") {
            parents.insert(pid, parent as u32);
        }
    }
    let is_below = |mut pid: u32| {
        while let Some(&parent) = parents.get(&pid) {
            if parent == root {
                return true;
            }
            pid = parent;
        }
        false
    };
    let found = parents.keys().filter(|&&pid| is_below(pid));
    found.filter_map(|&pid| process(pid)).collect()
}

fn process(pid: u32) -> Option<Process> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).into_owned();
    // Chromium rewrites the line of its children, with spaces.
    let kind = line
        .split(['\0', ' '])
        .find_map(|word| word.strip_prefix("--type="));
    let resident = field(pid, "VmRSS:")? << 10;
    Some(Process {
        kind: kind.unwrap_or("browser").to_owned(),
        resident,
        peak: field(pid, "VmHWM:")? << 10,
    })
}

fn field(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
