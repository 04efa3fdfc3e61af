//! What this machine has.

use super::plan::{Apt, Family, System};
use super::{BINARYEN, Need, TRUNK, Tools};
use crate::browser;
use crate::places::Places;
use crate::shell::{self, NPM, ask};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Those of `needs` that this machine lacks, in the order of [`Need::ALL`].
pub(super) fn missing(places: &Places, tools: &Tools, needs: &[Need]) -> Vec<Need> {
    Need::ALL
        .into_iter()
        .filter(|need| needs.contains(need) && !present(*need, places, tools))
        .collect()
}

fn present(need: Need, places: &Places, tools: &Tools) -> bool {
    let answers = |program: PathBuf| ask(Command::new(program).arg("--version")).is_some();
    match need {
        Need::Npm => ask(Command::new(NPM).arg("--version")).is_some(),
        Need::Rustfmt => ask(shell::cargo(places).args(["fmt", "--version"])).is_some(),
        Need::Clippy => ask(shell::cargo(places).args(["clippy", "--version"])).is_some(),
        Need::WasmTarget => wasm_target(places),
        Need::Trunk => has_version(&tools.trunk.join("bin").join("trunk"), TRUNK),
        Need::WasmBindgen => {
            let folder = tools.wasm_bindgen.join("bin");
            let version = &tools.wasm_bindgen_version;
            has_version(&folder.join("wasm-bindgen"), version)
                && has_version(&folder.join("wasm-bindgen-test-runner"), version)
        }
        Need::WasmOpt => {
            let name = if cfg!(windows) {
                "wasm-opt.cmd"
            } else {
                "wasm-opt"
            };
            has_version(&tools.wasm_opt_folder().join(name), BINARYEN)
        }
        Need::Chromium => browser::chromium().is_some_and(|program| {
            // Windows' chrome.exe opens a window instead of answering.
            cfg!(windows) || answers(program)
        }),
        Need::Chromedriver => browser::chromedriver().is_some_and(answers),
        Need::Vulkan => !cfg!(target_os = "linux") || vulkan(),
        Need::VulkanValidation => !cfg!(target_os = "linux") || validation(),
    }
}

/// Whether the program runs, and says that it is of this version.
fn has_version(program: &Path, version: &str) -> bool {
    ask(Command::new(program).arg("--version"))
        .is_some_and(|answer| answer.split_whitespace().any(|word| word == version))
}

fn wasm_target(places: &Places) -> bool {
    let mut rustc = shell::command(places, "rustc");
    rustc.args(["--print", "target-libdir", "--target", super::WASM]);
    ask(&mut rustc).is_some_and(|folder| Path::new(folder.trim_end()).is_dir())
}

/// Whether there is the Vulkan loader and a driver that it can load: a GPU's,
/// where there is a GPU, or else Mesa's lavapipe.
fn vulkan() -> bool {
    let folders = ["/usr/lib", "/usr/lib64", "/lib", "/usr/local/lib"];
    let loader = folders.iter().map(Path::new).any(|folder| {
        let here = folder.join("libvulkan.so.1").exists();
        // Debian keeps libraries in a folder for each architecture.
        here || entries(folder).any(|below| below.join("libvulkan.so.1").exists())
    });
    loader && (lavapipe().is_some() || (gpu() && drivers().next().is_some()))
}

/// Whether the Vulkan loader is told of Khronos' validation layer.
fn validation() -> bool {
    ["/usr/share", "/etc", "/usr/local/share"]
        .iter()
        .any(|folder| {
            let layer = "vulkan/explicit_layer.d/VkLayer_khronos_validation.json";
            Path::new(folder).join(layer).exists()
        })
}

/// The file that tells the Vulkan loader about Mesa's driver for the CPU.
pub(crate) fn lavapipe() -> Option<PathBuf> {
    drivers().find(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("lvp_icd") && name.ends_with(".json")
    })
}

/// Whether the kernel offers a GPU to programs.
pub(crate) fn gpu() -> bool {
    Path::new("/dev/nvidia0").exists()
        || entries(Path::new("/dev/dri")).any(|device| {
            let name = device.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("renderD")
        })
}

fn drivers() -> impl Iterator<Item = PathBuf> {
    [
        "/usr/share/vulkan/icd.d",
        "/etc/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
    ]
    .into_iter()
    .flat_map(|folder| entries(Path::new(folder)))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// What kind of system this is.
pub(super) fn system() -> System {
    let family = if cfg!(windows) {
        Family::Windows
    } else if cfg!(target_os = "macos") {
        Family::MacOs
    } else {
        linux_family(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
    };
    let succeeds = |program: &str, args: &[&str]| ask(Command::new(program).args(args)).is_some();
    let apt = if !succeeds("apt-get", &["--version"]) {
        Apt::No
    } else if ask(Command::new("id").arg("-u")).is_some_and(|id| id.trim_end() == "0") {
        Apt::AsRoot
    } else if succeeds("sudo", &["-n", "true"]) {
        Apt::Sudo
    } else {
        Apt::No
    };
    System {
        family,
        apt,
        rustup: succeeds("rustup", &["--version"]),
    }
}

/// The family that `/etc/os-release` names, by `ID` and then by `ID_LIKE`.
fn linux_family(os_release: &str) -> Family {
    let value = |key: &str| {
        let mut lines = os_release.lines();
        let found = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().trim_matches('"').to_owned()
    };
    let names = format!("{} {}", value("ID"), value("ID_LIKE"));
    names
        .split_whitespace()
        .find_map(|name| match name {
            "debian" => Some(Family::Debian),
            "ubuntu" => Some(Family::Ubuntu),
            "fedora" | "rhel" => Some(Family::Fedora),
            "arch" => Some(Family::Arch),
            _ => None,
        })
        .unwrap_or(Family::Other)
}

/// What to look at when something is installed and still does not answer.
pub(super) fn hint(need: Need, tools: &Tools) -> String {
    match need {
        Need::WasmBindgen => format!(
            ": crates/xtask/wasm-bindgen/Cargo.toml must ask for wasm-bindgen-cli {}, \
             the version in Cargo.lock",
            tools.wasm_bindgen_version
        ),
        Need::Chromium | Need::Chromedriver => ": if this system wraps Chromium in a snap that \
             cannot run here, set CHROMIUM and CHROMEDRIVER to another browser and driver"
            .to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_from_os_release() {
        for (text, family) in [
            ("NAME=\"Debian\"\nID=debian\n", Family::Debian),
            ("ID=ubuntu\nID_LIKE=debian\n", Family::Ubuntu),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Family::Ubuntu),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Family::Fedora,
            ),
            ("ID=arch\n", Family::Arch),
            ("ID=nixos\n", Family::Other),
            ("", Family::Other),
        ] {
            assert_eq!(linux_family(text), family, "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_tool_counts_only_at_its_exact_version() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("xtask-survey-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let tool = folder.join("tool");
        assert!(!has_version(&tool, "1.2.3"), "it is not there yet");
        std::fs::write(&tool, "#!/bin/sh\necho tool 1.2.3\n").unwrap();
        assert!(!has_version(&tool, "1.2.3"), "it cannot be run yet");
        std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(has_version(&tool, "1.2.3"));
        assert!(!has_version(&tool, "1.2"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
