//! The steps of `cargo xtask test`, from quick to slow.

use crate::browser::{self, Browser};
use crate::places::Places;
use crate::report::{self, Line, Tally};
use crate::setup::{self, Need, Tools, WASM};
use crate::shell::{self, run, run_tests};
use anyhow::{Context, Result, anyhow};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// One profile for everything that is checked but the page, so that little compiles twice.
pub(crate) const PROFILE: &str = "ci";

/// How the page is built that people get, and the one that is tested end to end.
pub(crate) const PAGE_PROFILE: [&str; 3] = ["--release", "--cargo-profile", "page"];

/// What it takes to build that page and to open it in a browser.
pub(crate) const PAGE_NEEDS: [Need; 7] = [
    Need::WasmTarget,
    Need::Trunk,
    Need::WasmBindgen,
    Need::Npm,
    Need::WasmOpt,
    Need::Chromium,
    Need::Chromedriver,
];

/// What native clippy and native tests leave out of the workspace. Everything
/// else is in, so that a new crate cannot be forgotten; the page's crates are,
/// because what they compute without a browser is tested natively. Both
/// commands use the same selection: cargo unites the features of dependencies
/// over what is selected, and another selection would compile them again.
///
/// `wasm-bindgen-tools` is out, because it would bring all of wasm-bindgen's
/// command into every check. It is compiled when it is installed.
const NOT_NATIVE: [&str; 1] = ["wasm-bindgen-tools"];

/// The worker's half of the browser's crate, which the page is built without:
/// the checks want both halves.
const BOTH_HALVES: [&str; 2] = ["--features", "paligemma-browser/worker"];

/// The crates that are part of the page, for clippy on wasm32.
const PAGE_CRATES: [&str; 9] = [
    "paligemma-processor",
    "paligemma-checkpoint",
    "paligemma-gpu",
    "paligemma-model",
    "paligemma-engine",
    "paligemma-browser",
    "paligemma-scenes",
    "paligemma-tasks",
    "paligemma-app",
];

/// The crates with tests that run in a browser.
pub(crate) const WASM_TESTED: [&str; 2] = ["paligemma-gpu", "paligemma-browser"];

/// A part of `cargo xtask test` that can be run by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Fmt,
    Clippy,
    Native,
    Wasm,
    Page,
}

impl Step {
    /// Every step, in the order in which they run.
    pub(crate) const ALL: [Self; 5] = [
        Self::Fmt,
        Self::Clippy,
        Self::Native,
        Self::Wasm,
        Self::Page,
    ];

    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Page => "page",
        }
    }

    const fn checks(self) -> &'static str {
        match self {
            Self::Fmt => "the code is formatted",
            Self::Clippy => "no warning, natively and on wasm32",
            Self::Native => "native tests, kernels on a Vulkan adapter",
            Self::Wasm => "tests in headless Chromium, on WebGPU",
            Self::Page => "the built page in headless Chromium, end to end",
        }
    }

    const fn needs(self) -> &'static [Need] {
        match self {
            Self::Fmt => &[Need::Rustfmt],
            Self::Clippy => &[Need::Clippy, Need::WasmTarget],
            Self::Native => &[Need::Vulkan, Need::VulkanValidation],
            Self::Wasm => &[
                Need::WasmTarget,
                Need::WasmBindgen,
                Need::Chromium,
                Need::Chromedriver,
            ],
            Self::Page => &PAGE_NEEDS,
        }
    }
}

/// Runs the steps in order and prints what passed.
///
/// # Errors
/// The first step that fails, by name; the later ones do not run.
pub(crate) fn run_all(places: &Places, steps: &[Step]) -> Result<()> {
    let needs: Vec<Need> = steps
        .iter()
        .flat_map(|step| step.needs())
        .copied()
        .collect();
    let tools = setup::prepare(places, &needs)?;
    // trunk and the architecture test work offline, with what is here.
    run(shell::cargo(places).args(["fetch", "--locked", "--quiet"]))?;
    let mut lines = Vec::new();
    for (index, &step) in steps.iter().enumerate() {
        let (name, checks) = (step.name(), step.checks());
        println!("\n== {}/{} {name}: {checks}", index + 1, steps.len());
        let started = Instant::now();
        let tests = execute(step, places, &tools)
            .map_err(|error| anyhow!("{error:#}\n\ncargo xtask test: step `{name}` FAILED."))?;
        let took = started.elapsed();
        println!("== {name} passed in {}", report::duration(took));
        lines.push(Line {
            step: name,
            checks,
            tests,
            took,
        });
    }
    println!("\n{}", report::table(&lines));
    Ok(())
}

fn execute(step: Step, places: &Places, tools: &Tools) -> Result<Option<Tally>> {
    match step {
        Step::Fmt => run(shell::cargo(places).args(["fmt", "--all", "--check"]))
            .map(|()| None)
            .context("`cargo fmt` formats everything"),
        Step::Clippy => clippy(places).map(|()| None),
        Step::Native => native(places).map(Some),
        Step::Wasm => wasm(places, tools).map(Some),
        Step::Page => page(places, tools).map(Some),
    }
}

/// `cargo <subcommand>` with the profile and the lock file of every check.
pub(crate) fn checked(places: &Places, subcommand: &str) -> Command {
    let mut cargo = shell::cargo(places);
    cargo.args([subcommand, "--locked", "--profile", PROFILE]);
    cargo
}

fn clippy(places: &Places) -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    run(checked(places, "clippy")
        .args(native_selection())
        .arg("--all-targets")
        // Left out of all targets, as it is left out of all tests.
        .args(["--test", "page"])
        .args(deny))?;
    // Not all targets: the other crates' tests are native ones.
    let mut on_wasm = checked(places, "clippy");
    on_wasm
        .args(["--target", WASM, "--lib", "--bins"])
        .args(packages(&PAGE_CRATES))
        .args(BOTH_HALVES);
    for name in WASM_TESTED {
        for test in integration_tests(&places.crate_folder(name))? {
            on_wasm.args(["--test", &test]);
        }
    }
    run(on_wasm.args(deny))
}

/// The names of a crate's integration tests: files in `tests/`, and folders
/// with a `main.rs`.
fn integration_tests(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("tests");
    let entries = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot list the tests in {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("main.rs").is_file() || path.extension() == Some("rs".as_ref()))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn native(places: &Places) -> Result<Tally> {
    let mut tests = checked(places, "test");
    tests.args(native_selection()).arg("--no-fail-fast");
    choose_vulkan(&mut tests);
    run_tests(&mut tests)
}

/// Lets a native command compute on this machine's GPU, or on lavapipe where there is none or in
/// CI, unless the caller has chosen a driver.
pub(crate) fn choose_vulkan(command: &mut Command) {
    let told = ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"]
        .iter()
        .any(|name| env::var_os(name).is_some());
    let in_ci = env::var_os("CI").is_some();
    if let Some(lavapipe) = setup::lavapipe().filter(|_| !told && (in_ci || !setup::gpu())) {
        println!("Vulkan: Mesa's lavapipe, on the CPU");
        command.env("VK_ICD_FILENAMES", lavapipe);
    }
    // Without it the Vulkan driver complains at every start; nothing is put there.
    if env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", env::temp_dir());
    }
}

fn wasm(places: &Places, tools: &Tools) -> Result<Tally> {
    let browser = Browser::find()?;
    let mut tests = checked(places, "test");
    tests
        .args(["--target", WASM, "--tests", "--no-fail-fast"])
        .args(packages(&WASM_TESTED))
        .args(BOTH_HALVES);
    in_browser(&mut tests, places, tools, &browser)?;
    run_tests(&mut tests)
}

/// Measures how fast weights are packed, here and in the browser, as published builds do it.
///
/// # Errors
/// A build or a measurement that fails.
pub(crate) fn quantizers(places: &Places) -> Result<()> {
    let tools = setup::prepare(places, Step::Wasm.needs())?;
    let browser = Browser::find()?;
    let bench = ["bench", "--locked", "-p", "paligemma-checkpoint", "--bench"];
    run(shell::cargo(places).args(bench).arg("quantize"))?;
    let mut measurement = shell::cargo(places);
    measurement
        .args(["test", "--locked", "--release", "--target", WASM])
        .args(["-p", "paligemma-browser", "--test", "quantizers"])
        .args(BOTH_HALVES)
        .args(["--", "--nocapture"]);
    in_browser(&mut measurement, places, &tools, &browser)?;
    run(&mut measurement)
}

/// Lets a test for wasm32 run in this machine's browser.
fn in_browser(test: &mut Command, places: &Places, tools: &Tools, browser: &Browser) -> Result<()> {
    test.env(
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER",
        tools.wasm_test_runner(),
    )
    .env(
        "WASM_BINDGEN_TEST_WEBDRIVER_JSON",
        webdriver_json(places, browser)?,
    )
    .env("CHROMEDRIVER", &browser.chromedriver);
    if env::var_os("WASM_BINDGEN_TEST_TIMEOUT").is_none() {
        // The default of 20 s is short for shaders on a CPU.
        test.env("WASM_BINDGEN_TEST_TIMEOUT", "1500");
    }
    Ok(())
}

fn page(places: &Places, tools: &Tools) -> Result<Tally> {
    let browser = Browser::find()?;
    let dist = places.artifacts.join("dist");
    let xtask = env::current_exe().context("cannot find xtask's own program")?;
    build_page(places, tools, &PAGE_PROFILE, &dist)?;
    run_tests(
        checked(places, "test")
            .args(native_selection())
            .args(["--test", "page"])
            .env("PALIGEMMA_DIST", &dist)
            .env("PALIGEMMA_XTASK", xtask)
            .env("PALIGEMMA_ARTIFACTS", &places.artifacts)
            .env(
                "PALIGEMMA_WEBDRIVER_JSON",
                webdriver_json(places, &browser)?,
            )
            .env("CHROMEDRIVER", &browser.chromedriver),
    )
}

/// Builds the page into a folder.
pub(crate) fn build_page(
    places: &Places,
    tools: &Tools,
    profile: &[&str],
    dist: &Path,
) -> Result<()> {
    run(tools
        .trunk(places)?
        .args(["build", "--locked", "--skip-version-check"])
        .args(profile)
        .arg("--dist")
        .arg(dist))
}

pub(crate) fn native_selection() -> impl Iterator<Item = &'static str> {
    let excluded = NOT_NATIVE.iter().flat_map(|name| ["--exclude", name]);
    std::iter::once("--workspace")
        .chain(excluded)
        .chain(BOTH_HALVES)
}

fn packages(names: &'static [&str]) -> impl Iterator<Item = &'static str> {
    names.iter().flat_map(|name| ["-p", name])
}

/// Writes the capabilities that start this machine's browser.
pub(crate) fn webdriver_json(places: &Places, browser: &Browser) -> Result<PathBuf> {
    let file = places.artifacts.join("webdriver.json");
    let write = || {
        std::fs::create_dir_all(&places.artifacts)?;
        std::fs::write(&file, browser::webdriver_json(Some(&browser.chromium)))
    };
    write().with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_that_opens_a_browser_asks_for_one_and_its_driver() {
        for step in [Step::Wasm, Step::Page] {
            for need in [Need::Chromium, Need::Chromedriver, Need::WasmBindgen] {
                assert!(step.needs().contains(&need), "{step:?} {need:?}");
            }
        }
        assert!(!Step::Native.needs().contains(&Need::Chromium));
    }

    #[test]
    fn a_test_is_a_file_or_a_folder_with_a_main() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
        let names = integration_tests(&root).unwrap();
        for (name, expected) in [("architecture", true), ("page", true), ("fixtures", false)] {
            assert_eq!(names.iter().any(|found| found == name), expected, "{name}");
        }
    }

    #[test]
    fn wasm_tests_belong_to_crates_of_the_page() {
        for name in WASM_TESTED {
            assert!(PAGE_CRATES.contains(&name), "{name}");
        }
    }
}
