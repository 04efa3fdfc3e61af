//! What a command may need on this machine, and what for.

/// One thing that has to be there before a step can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Npm,
    Rustfmt,
    Clippy,
    WasmTarget,
    Trunk,
    WasmBindgen,
    WasmOpt,
    Chromium,
    Chromedriver,
    Vulkan,
    VulkanValidation,
}

impl Need {
    /// In the order in which they are looked for and installed: npm before
    /// what it installs.
    pub(crate) const ALL: [Self; 11] = [
        Self::Npm,
        Self::Rustfmt,
        Self::Clippy,
        Self::WasmTarget,
        Self::Trunk,
        Self::WasmBindgen,
        Self::WasmOpt,
        Self::Chromium,
        Self::Chromedriver,
        Self::Vulkan,
        Self::VulkanValidation,
    ];

    /// Its name, and what it is for.
    pub(crate) const fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::Npm => ("npm", "brings wasm-opt; nothing of the page runs in Node"),
            Self::Rustfmt => ("rustfmt", "checks the format"),
            Self::Clippy => ("clippy", "checks the code for common mistakes"),
            Self::WasmTarget => (
                "wasm32-unknown-unknown",
                "Rust's target for code that runs in a browser",
            ),
            Self::Trunk => (
                "trunk",
                "builds the page and serves it (some minutes, once)",
            ),
            Self::WasmBindgen => (
                "wasm-bindgen",
                "connects wasm to JavaScript and runs wasm tests (a minute or two, once)",
            ),
            Self::WasmOpt => ("wasm-opt", "makes the page's wasm smaller"),
            Self::Chromium => ("Chromium", "runs the wasm tests and the page's own test"),
            Self::Chromedriver => ("chromedriver", "lets the tests drive Chromium"),
            Self::Vulkan => (
                "a Vulkan driver",
                "runs the shaders in native tests, on the CPU where there is no GPU",
            ),
            Self::VulkanValidation => (
                "Vulkan's validation layer",
                "proves that replayed commands wait for each other",
            ),
        }
    }
}
