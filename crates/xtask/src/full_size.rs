//! `cargo xtask full-size`: checkpoints of the published sizes, with made-up weights, through the
//! page and through the native command.

use crate::browser::Browser;
use crate::places::Places;
use crate::setup::{self, Need};
use crate::shell::{self, run};
use crate::steps::{
    PAGE_NEEDS, PAGE_PROFILE, PROFILE, build_page, checked, choose_vulkan, native_selection,
    webdriver_json,
};
use anyhow::Result;

/// Builds the page and the command as they are published, and the measurement, which lives with
/// the tests because this crate knows nothing of the product; runs it.
///
/// # Errors
/// A build or a measurement that fails.
pub(crate) fn measure(places: &Places, options: &[String]) -> Result<()> {
    let needs = [&PAGE_NEEDS[..], &[Need::Vulkan]].concat();
    let tools = setup::prepare(places, &needs)?;
    let browser = Browser::find()?;
    let dist = places.artifacts.join("full-size-page");
    build_page(places, &tools, &PAGE_PROFILE, &dist)?;
    run(shell::cargo(places).args(["build", "--locked", "--release", "-p", "paligemma-cli"]))?;
    run(checked(places, "build")
        .args(native_selection())
        .args(["--example", "full_size"]))?;
    let program = |folder: &str, name: &str| {
        let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        places.target.join(folder).join(name)
    };
    let example = program(&format!("{PROFILE}/examples"), "full_size");
    let mut measurement = shell::command(places, example);
    // One part of it, or all.
    match options.first() {
        Some(part) if !part.starts_with("--") => measurement.args(options),
        _ => measurement
            .arg("all")
            .arg("--image")
            .arg(places.root.join("web/demo/samples/scene03.png"))
            .arg("--table")
            .arg(places.root.join("benches/FULL_SIZE.md"))
            .args(options),
    };
    measurement
        .arg("--out")
        .arg(places.artifacts.join("full-size"))
        .env("PALIGEMMA_DIST", &dist)
        .env("PALIGEMMA_COMMAND", program("release", "paligemma"))
        .env(
            "PALIGEMMA_WEBDRIVER_JSON",
            webdriver_json(places, &browser)?,
        )
        .env("CHROMEDRIVER", &browser.chromedriver);
    choose_vulkan(&mut measurement);
    run(&mut measurement)
}
