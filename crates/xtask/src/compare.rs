//! `cargo xtask compare`: our engine and its peers, with one model and one question, on this machine.

use crate::browser::Browser;
use crate::places::Places;
use crate::setup::{self, Need};
use crate::shell::{self, run};
use crate::steps::{
    PAGE_NEEDS, PAGE_PROFILE, PROFILE, build_page, checked, choose_vulkan, native_selection,
    webdriver_json,
};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles our side as the tests are, so that nothing compiles twice; kernels are the same.
const QUICK: &str = "--quick";

/// Where both sides run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Browser,
    Native,
}

/// What `tests/peers/setup.sh` has installed.
struct Peers {
    /// The scripts.
    folder: PathBuf,
    /// The oracle's Python, over which `python` is laid.
    interpreter: PathBuf,
    python: PathBuf,
    node_modules: PathBuf,
}

impl Peers {
    fn find(places: &Places) -> Result<Self> {
        let cache = places.tools.parent().unwrap_or(&places.tools);
        let peers = Self {
            folder: places.root.join("tests/peers"),
            interpreter: cache.join("oracle/venv/bin/python"),
            python: cache.join("peers/python"),
            node_modules: cache.join("peers/node_modules"),
        };
        let all = [&peers.interpreter, &peers.python, &peers.node_modules];
        if let Some(missing) = all.into_iter().find(|path| !path.exists()) {
            bail!(
                "{} is not there: run tests/peers/setup.sh once, which installs what is compared \
                 with",
                missing.display()
            );
        }
        Ok(peers)
    }
}

/// Builds our side as it is published, the peers, and the measurement, which lives with the tests
/// because this crate knows nothing of the product; runs it.
///
/// # Errors
/// Peers that are not installed; a build or a measurement that fails.
pub(crate) fn measure(places: &Places, place: Where, options: &[String]) -> Result<()> {
    let peers = Peers::find(places)?;
    let quick = options.iter().any(|option| option == QUICK);
    let mut measurement = match place {
        Where::Browser => in_a_browser(places, quick)?,
        Where::Native => natively(places, &peers, quick)?,
    };
    measurement
        .args(["--out"])
        .arg(places.root.join("benches/RESULTS.md"))
        .args(options)
        .env("PALIGEMMA_PEERS", &peers.folder)
        .env("PALIGEMMA_PYTHON", &peers.interpreter)
        .env("PYTHONPATH", &peers.python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PALIGEMMA_NODE_MODULES", &peers.node_modules)
        .env("PALIGEMMA_WORK", places.artifacts.join("peers"))
        .env(
            "PALIGEMMA_PICTURE",
            places.root.join("web/demo/samples/scene03.png"),
        );
    run(&mut measurement)
}

fn in_a_browser(places: &Places, quick: bool) -> Result<Command> {
    let tools = setup::prepare(places, &PAGE_NEEDS)?;
    let browser = Browser::find()?;
    let dist = places.artifacts.join("compare-page");
    let profile: &[&str] = if quick {
        &["--cargo-profile", PROFILE]
    } else {
        &PAGE_PROFILE
    };
    build_page(places, &tools, profile, &dist)?;
    let mut measurement = example(places)?;
    measurement
        .arg("browser")
        .env("PALIGEMMA_DIST", &dist)
        .env(
            "PALIGEMMA_WEBDRIVER_JSON",
            webdriver_json(places, &browser)?,
        )
        .env("CHROMEDRIVER", &browser.chromedriver);
    Ok(measurement)
}

fn natively(places: &Places, peers: &Peers, quick: bool) -> Result<Command> {
    setup::prepare(places, &[Need::Vulkan])?;
    if quick {
        run(checked(places, "build")
            .args(native_selection())
            .args(["--bin", "paligemma"]))?;
    } else {
        run(shell::cargo(places).args(["build", "--locked", "--release", "-p", "paligemma-cli"]))?;
    }
    let candle = places.target.join("peers-candle");
    run(shell::cargo(places)
        .args(["build", "--locked", "--release", "--manifest-path"])
        .arg(peers.folder.join("candle/Cargo.toml"))
        .arg("--target-dir")
        .arg(&candle))?;
    let mut measurement = example(places)?;
    measurement
        .arg("native")
        .env(
            "PALIGEMMA_COMMAND",
            program(
                &places.target,
                if quick { PROFILE } else { "release" },
                "paligemma",
            ),
        )
        .env(
            "PALIGEMMA_CANDLE",
            program(&candle, "release", "peers-candle"),
        );
    choose_vulkan(&mut measurement);
    Ok(measurement)
}

fn example(places: &Places) -> Result<Command> {
    run(checked(places, "build")
        .args(native_selection())
        .args(["--example", "compare"]))?;
    let folder = format!("{PROFILE}/examples");
    Ok(shell::command(
        places,
        program(&places.target, &folder, "compare"),
    ))
}

fn program(target: &Path, folder: &str, name: &str) -> PathBuf {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    target.join(folder).join(name)
}
