//! The table that the rules read: who stands on whom, and what lies where.

pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Our crates, and those of ours that each may stand on.
pub(crate) const STANDS_ON: &[(&str, &[&str])] = &[
    ("paligemma-processor", &[]),
    ("paligemma-checkpoint", &[]),
    ("paligemma-gpu", &["paligemma-checkpoint"]),
    (
        "paligemma-model",
        &["paligemma-gpu", "paligemma-checkpoint"],
    ),
    (
        "paligemma-engine",
        &[
            "paligemma-model",
            "paligemma-processor",
            "paligemma-checkpoint",
            // It opens the device that the model computes on.
            "paligemma-gpu",
        ],
    ),
    (
        "paligemma-browser",
        &[
            "paligemma-engine",
            // Fetching is the browser's version of checkpoint's `Source`.
            "paligemma-checkpoint",
        ],
    ),
    ("paligemma-scenes", &[]),
    ("paligemma-tasks", &[]),
    (
        "paligemma-app",
        &["paligemma-browser", "paligemma-scenes", "paligemma-tasks"],
    ),
    (
        "paligemma-cli",
        // `inspect` reads a checkpoint without loading a model.
        &[
            "paligemma-engine",
            "paligemma-checkpoint",
            "paligemma-tasks",
        ],
    ),
    ("paligemma-tests", &[]),
    ("xtask", &[]),
    ("wasm-bindgen-tools", &[]),
];

/// Crates that only some of ours may name, even for tests.
pub(crate) const NAMED_BY: &[(&str, &[&str])] = &[
    ("wgpu", &["paligemma-gpu"]),
    ("ash", &["paligemma-gpu"]),
    ("leptos", &["paligemma-app"]),
    (
        "web-sys",
        &["paligemma-gpu", "paligemma-browser", "paligemma-app"],
    ),
];

/// What must not be reached over any number of steps: who, what, for which
/// target (`None`: this machine's).
pub(crate) const NEVER_REACHES: &[(&str, &[&str], Option<&str>)] = &[
    ("paligemma-processor", &["wgpu", "web-sys"], None),
    ("paligemma-processor", &["wgpu", "web-sys"], Some(WASM)),
    ("paligemma-checkpoint", &["wgpu", "web-sys"], None),
    ("paligemma-checkpoint", &["wgpu", "web-sys"], Some(WASM)),
    (
        "paligemma-app",
        &["wgpu", "paligemma-model", "paligemma-engine"],
        Some(WASM),
    ),
    ("paligemma-scenes", &["wgpu", "web-sys"], Some(WASM)),
    ("paligemma-tasks", &["wgpu", "web-sys"], Some(WASM)),
    ("paligemma-browser", &["leptos"], Some(WASM)),
    ("paligemma-engine", &["leptos"], Some(WASM)),
];

/// What a visitor sees first.
pub(crate) const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "Trunk.toml",
    "benches",
    "clippy.toml",
    "crates",
    "index.html",
    "rust-toolchain.toml",
    "shaders",
    "tests",
    "web",
];

/// Source files that people read from top to bottom.
pub(crate) const SOURCE: &[&str] = &["rs", "wgsl", "wesl", "js", "ts", "css", "html", "sh", "py"];
pub(crate) const LONGEST_SOURCE: usize = 500;
