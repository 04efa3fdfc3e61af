//! Chromium and its driver: where they are, and how they must be started.

use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};

/// The flags for a headless Chromium that offers WebGPU.
///
/// `--enable-unsafe-webgpu` makes SwiftShader's adapter appear where there is no
/// GPU. `--no-sandbox` is needed as root and in most containers; only our own
/// page is ever opened. `--disable-dev-shm-usage` helps where `/dev/shm` is
/// small. The rest keeps the browser from the network. chromedriver adds a
/// fresh profile by itself.
pub(crate) const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-unsafe-webgpu",
];

/// WebDriver capabilities that start `binary` (or the driver's own choice) with
/// [`FLAGS`], as JSON: the format of wasm-bindgen-test's `webdriver.json`.
pub(crate) fn webdriver_json(binary: Option<&Path>) -> String {
    let binary = binary.map_or(String::new(), |path| {
        format!(
            "    \"binary\": {},\n",
            json_string(&path.to_string_lossy())
        )
    });
    let flags = FLAGS.map(|flag| format!("      {}", json_string(flag)));
    format!(
        "{{\n  \"goog:chromeOptions\": {{\n{binary}    \"args\": [\n{}\n    ]\n  }}\n}}\n",
        flags.join(",\n")
    )
}

fn json_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A browser and the driver that belongs to it.
pub(crate) struct Browser {
    pub(crate) chromium: PathBuf,
    pub(crate) chromedriver: PathBuf,
}

impl Browser {
    /// Finds both; `CHROMIUM` and `CHROMEDRIVER` in the environment win.
    ///
    /// # Errors
    /// When one of them is not on this machine.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self {
            chromium: chromium().context("found no Chromium: set CHROMIUM to its path")?,
            chromedriver: chromedriver()
                .context("found no chromedriver: set CHROMEDRIVER to its path")?,
        })
    }
}

/// The browser that the tests will use.
pub(crate) fn chromium() -> Option<PathBuf> {
    const NAMES: [&str; 5] = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
        "chrome",
    ];
    const ELSEWHERE: [&str; 3] = [
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
    ];
    named_by("CHROMIUM")
        .or_else(|| NAMES.iter().find_map(|name| on_path(name)))
        .or_else(|| {
            let mut known = ELSEWHERE.iter().map(PathBuf::from);
            known.find(|path| path.is_file())
        })
}

/// The driver that the tests will use.
pub(crate) fn chromedriver() -> Option<PathBuf> {
    named_by("CHROMEDRIVER").or_else(|| on_path("chromedriver"))
}

fn named_by(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os(variable)?);
    path.is_file().then_some(path)
}

/// The first program of that name on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(&file))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_json_with_the_binary_and_every_flag() {
        let text = webdriver_json(Some(Path::new(r#"C:\odd "name"\chrome.exe"#)));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let options = &json["goog:chromeOptions"];
        assert_eq!(options["binary"], r#"C:\odd "name"\chrome.exe"#);
        assert_eq!(options["args"], serde_json::json!(FLAGS));
    }

    /// The files beside the crates serve people who run `cargo test` by hand.
    #[test]
    fn the_files_beside_the_crates_hold_the_same_flags() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for name in crate::steps::WASM_TESTED {
            let folder = name.trim_start_matches("paligemma-");
            let file = crates.join(folder).join("webdriver.json");
            assert_eq!(
                std::fs::read_to_string(&file).unwrap_or_default(),
                webdriver_json(None),
                "{} is not what browser::webdriver_json writes",
                file.display()
            );
        }
    }
}
