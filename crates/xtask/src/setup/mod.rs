//! Installs what a step needs and this machine lacks, after saying what and why.
//!
//! Nothing comes from anywhere but crates.io, npm, rustup and the system's own
//! package manager. What is there is found by asking each tool for its version,
//! so that an installation which was cut short is simply done again.

mod install;
mod need;
mod plan;
mod survey;

pub(crate) use need::Need;
pub(crate) use survey::{gpu, lavapipe};

use crate::lock;
use crate::places::Places;
use crate::shell;
use anyhow::{Result, bail};
use plan::ByHand;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

/// The release of trunk that current stable Rust compiles.
const TRUNK: &str = "0.21.14";
/// The release of binaryen, whose wasm-opt understands current rustc's output.
/// Debian's own is too old: it ends well and leaves a module that dies at start.
const BINARYEN: &str = "132";
/// The target that the page is compiled for.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// The tools' folders, whether or not they are there yet.
pub(crate) struct Tools {
    trunk: PathBuf,
    wasm_bindgen: PathBuf,
    wasm_bindgen_version: String,
    binaryen: PathBuf,
}

impl Tools {
    fn of(places: &Places) -> Result<Self> {
        let wasm_bindgen_version = lock::wasm_bindgen_version(&places.root)?;
        let folder = |name: String| places.tools.join(name);
        Ok(Self {
            trunk: folder(format!("trunk-{TRUNK}")),
            wasm_bindgen: folder(format!("wasm-bindgen-{wasm_bindgen_version}")),
            wasm_bindgen_version,
            binaryen: folder(format!("binaryen-{BINARYEN}.0.0")),
        })
    }

    fn wasm_opt_folder(&self) -> PathBuf {
        self.binaryen.join("node_modules").join(".bin")
    }

    /// The program that runs wasm tests, as cargo's runner for wasm32.
    pub(crate) fn wasm_test_runner(&self) -> PathBuf {
        let name = format!("wasm-bindgen-test-runner{}", std::env::consts::EXE_SUFFIX);
        self.wasm_bindgen.join("bin").join(name)
    }

    /// trunk, with the tools that it looks for on its `PATH`.
    ///
    /// # Errors
    /// When a tool's folder cannot be part of a `PATH`.
    pub(crate) fn trunk(&self, places: &Places) -> Result<Command> {
        let mut command = shell::command(places, self.trunk.join("bin").join("trunk"));
        let folders = [self.wasm_bindgen.join("bin"), self.wasm_opt_folder()];
        shell::put_on_path(&mut command, &folders)?;
        // trunk reads only `true` and `false` from it, not the customary `1`.
        command.env_remove("NO_COLOR");
        Ok(command)
    }
}

/// The error that ends a command which a person has to prepare for.
#[derive(Debug)]
pub(crate) struct ByHandFirst(Vec<ByHand>);

impl std::error::Error for ByHandFirst {}

impl fmt::Display for ByHandFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "this machine still lacks what xtask cannot install:")?;
        for item in &self.0 {
            for (name, purpose) in item.needs.iter().map(|need| need.described()) {
                writeln!(f, "  {name:<24}{purpose}")?;
            }
            writeln!(f, "      {}", item.command)?;
        }
        write!(f, "Then run the same command again.")?;
        if self.0.iter().any(|item| {
            let browser = [Need::Chromium, Need::Chromedriver];
            item.needs.iter().any(|need| browser.contains(need))
        }) {
            write!(
                f,
                "\nA browser and driver of the same version somewhere else will do: \
                 set CHROMIUM and CHROMEDRIVER to their paths."
            )?;
        }
        Ok(())
    }
}

/// Makes sure that everything in `needs` is on this machine.
///
/// # Errors
/// [`ByHandFirst`] when a person must install something; any other error when
/// an installation failed.
pub(crate) fn prepare(places: &Places, needs: &[Need]) -> Result<Tools> {
    let tools = Tools::of(places)?;
    let missing = survey::missing(places, &tools, needs);
    if missing.is_empty() {
        return Ok(tools);
    }
    println!("Missing on this machine:");
    for (name, purpose) in missing.iter().map(|need| need.described()) {
        println!("  {name:<24}{purpose}");
    }
    println!();
    let plan = plan::plan(&missing, survey::system());
    for action in &plan.actions {
        install::carry_out(places, &tools, action)?;
    }
    if !plan.by_hand.is_empty() {
        return Err(ByHandFirst(plan.by_hand).into());
    }
    let still = survey::missing(places, &tools, &missing);
    if let Some(need) = still.first() {
        let (name, _) = need.described();
        let hint = survey::hint(*need, &tools);
        bail!("{name} was installed and yet does not answer as it should{hint}");
    }
    println!("\nEverything is in place.\n");
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// trunk refuses tools of other versions, so its file has to follow.
    #[test]
    fn trunk_is_told_the_same_versions() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let config = std::fs::read_to_string(root.join("Trunk.toml")).unwrap();
        let wasm_bindgen = lock::wasm_bindgen_version(&root).unwrap();
        for line in [
            format!("wasm_bindgen = \"{wasm_bindgen}\""),
            format!("wasm_opt = \"version_{BINARYEN}\""),
        ] {
            assert!(config.lines().any(|found| found == line), "no {line}");
        }
        let tools = root.join("crates/xtask/wasm-bindgen/Cargo.toml");
        let manifest = std::fs::read_to_string(tools).unwrap();
        assert!(manifest.contains(&format!("version = \"={wasm_bindgen}\"")));
    }

    #[test]
    fn what_a_person_must_do_names_thing_purpose_and_command() {
        let error = ByHandFirst(vec![ByHand {
            needs: vec![Need::Chromium],
            command: "brew install google-chrome".to_owned(),
        }]);
        let text = error.to_string();
        for part in [
            "Chromium ",
            "runs the wasm tests",
            "brew install google-chrome",
            "run the same command again",
            "set CHROMIUM",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
