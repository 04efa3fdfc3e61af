//! Carrying out one action of the plan.

use super::plan::Action;
use super::{BINARYEN, TRUNK, Tools, WASM};
use crate::places::Places;
use crate::shell::{self, NPM, run};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// Does it; what it runs is printed before it runs.
pub(super) fn carry_out(places: &Places, tools: &Tools, action: &Action) -> Result<()> {
    match action {
        Action::AptInstall { sudo, packages } => apt_install(places, *sudo, packages),
        Action::RustupComponent(name) => {
            run(shell::command(places, "rustup").args(["component", "add", name]))
        }
        Action::RustupTarget => run(shell::command(places, "rustup").args(["target", "add", WASM])),
        Action::CargoInstallTrunk => trunk(places, tools),
        Action::CargoInstallWasmBindgen => wasm_bindgen(places, tools),
        Action::NpmInstallBinaryen => binaryen(places, tools),
    }
}

fn apt_install(places: &Places, sudo: bool, packages: &[&str]) -> Result<()> {
    let apt_get = || {
        let mut command = shell::command(places, if sudo { "sudo" } else { "apt-get" });
        if sudo {
            command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        } else {
            command.env("DEBIAN_FRONTEND", "noninteractive");
        }
        command
    };
    run(apt_get().args(["update", "--quiet"]))?;
    let quietly = ["install", "--yes", "--quiet", "--no-install-recommends"];
    run(apt_get().args(quietly).args(packages))
}

/// Compiled cheaply: as a tool it is fast enough, and it compiles once.
fn trunk(places: &Places, tools: &Tools) -> Result<()> {
    // A folder of its own, which is kept when the installation is cut short (the
    // next one goes on from there) and of no use after it.
    let build = places.tools.join("build");
    run(shell::cargo(places)
        .args([
            "install",
            "trunk",
            "--version",
            TRUNK,
            "--locked",
            "--force",
        ])
        .args(["--no-default-features", "--features", "rustls", "--root"])
        .arg(&tools.trunk)
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"))?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

/// wasm-bindgen's own package cannot be installed from its lock file; through a
/// crate of ours, this workspace's lock file decides every version.
fn wasm_bindgen(places: &Places, tools: &Tools) -> Result<()> {
    run(shell::cargo(places)
        .args(["install", "--path", "crates/xtask/wasm-bindgen", "--locked"])
        .args(["--force", "--profile", "ci", "--root"])
        .arg(&tools.wasm_bindgen))
}

fn binaryen(places: &Places, tools: &Tools) -> Result<()> {
    let half = places.tools.join("binaryen.incomplete");
    for leftover in [&half, &tools.binaryen] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)
                .with_context(|| format!("cannot remove {}", leftover.display()))?;
        }
    }
    fs::create_dir_all(&half).with_context(|| format!("cannot create {}", half.display()))?;
    let mut npm: Command = shell::command(places, NPM);
    npm.args(["install", "--no-save", "--no-audit", "--no-fund"])
        .args(["--ignore-scripts", "--prefix"])
        .arg(&half)
        .arg(format!("binaryen@{BINARYEN}.0.0"));
    run(&mut npm)?;
    fs::rename(&half, &tools.binaryen).with_context(|| format!("cannot rename {}", half.display()))
}
