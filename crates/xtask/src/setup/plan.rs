//! From what is missing to what will be done about it, as plain data.

use super::need::Need;

/// What decides how something can be installed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) family: Family,
    pub(crate) apt: Apt,
    pub(crate) rustup: bool,
}

/// Systems whose package manager we can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Debian,
    Ubuntu,
    Fedora,
    Arch,
    MacOs,
    Windows,
    Other,
}

/// Whether apt-get may be run without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apt {
    AsRoot,
    /// Through sudo, which asks for no password.
    Sudo,
    No,
}

/// Something that xtask does itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    AptInstall {
        sudo: bool,
        packages: Vec<&'static str>,
    },
    RustupComponent(&'static str),
    RustupTarget,
    CargoInstallTrunk,
    CargoInstallWasmBindgen,
    NpmInstallBinaryen,
}

/// Something that a person has to do first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ByHand {
    pub(crate) needs: Vec<Need>,
    pub(crate) command: String,
}

/// What will happen, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) by_hand: Vec<ByHand>,
}

/// Decides what to do about what is missing.
pub(crate) fn plan(missing: &[Need], system: System) -> Plan {
    let mut plan = Plan::default();
    plan_packages(missing, system, &mut plan);
    let npm_by_hand = plan
        .by_hand
        .iter()
        .any(|item| item.needs.contains(&Need::Npm));
    for &need in missing {
        match need {
            Need::Rustfmt => {
                plan_rustup(need, Action::RustupComponent("rustfmt"), system, &mut plan)
            }
            Need::Clippy => plan_rustup(need, Action::RustupComponent("clippy"), system, &mut plan),
            Need::WasmTarget => plan_rustup(need, Action::RustupTarget, system, &mut plan),
            Need::Trunk => plan.actions.push(Action::CargoInstallTrunk),
            Need::WasmBindgen => plan.actions.push(Action::CargoInstallWasmBindgen),
            // Without npm it has to wait for the next run.
            Need::WasmOpt if npm_by_hand => {}
            Need::WasmOpt => plan.actions.push(Action::NpmInstallBinaryen),
            Need::Npm
            | Need::Chromium
            | Need::Chromedriver
            | Need::Vulkan
            | Need::VulkanValidation => {}
        }
    }
    plan
}

fn plan_rustup(need: Need, action: Action, system: System, plan: &mut Plan) {
    if system.rustup {
        plan.actions.push(action);
    } else {
        plan.by_hand.push(ByHand {
            needs: vec![need],
            command: "install Rust through https://rustup.rs, which can add it".to_owned(),
        });
    }
}

/// Everything that comes from the system's own package manager, in one command.
fn plan_packages(missing: &[Need], system: System, plan: &mut Plan) {
    let (mut needs, mut packages) = (Vec::new(), Vec::new());
    for &need in missing {
        let named = system_packages(need, system.family);
        if named.is_empty() {
            continue;
        }
        needs.push(need);
        for &package in named {
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
    }
    if needs.is_empty() {
        return;
    }
    let apt = matches!(system.family, Family::Debian | Family::Ubuntu);
    if apt && system.apt != Apt::No {
        let sudo = system.apt == Apt::Sudo;
        plan.actions.push(Action::AptInstall { sudo, packages });
    } else {
        let command = match system.family {
            Family::Debian | Family::Ubuntu => "sudo apt-get install ",
            Family::Fedora => "sudo dnf install ",
            Family::Arch => "sudo pacman -S ",
            Family::MacOs => "brew install ",
            Family::Windows => "winget install ",
            Family::Other => "with your package manager, install ",
        };
        let command = format!("{command}{}", packages.join(" "));
        plan.by_hand.push(ByHand { needs, command });
    }
}

/// The packages that bring what is needed; none when it comes another way.
fn system_packages(need: Need, family: Family) -> &'static [&'static str] {
    use Family::*;
    match (need, family) {
        (Need::Npm, Debian | Ubuntu | Arch) => &["nodejs", "npm"],
        (Need::Npm, Fedora) => &["nodejs-npm"],
        (Need::Npm, MacOs) => &["node"],
        (Need::Npm, Windows) => &["OpenJS.NodeJS.LTS"],
        (Need::Npm, Other) => &["Node.js and npm"],
        (Need::Chromium, Ubuntu) => &["chromium-browser"],
        (Need::Chromium, MacOs) => &["google-chrome"],
        (Need::Chromium, Windows) => &["Google.Chrome"],
        (Need::Chromium, Debian | Fedora | Arch | Other) => &["chromium"],
        (Need::Chromedriver, Debian) => &["chromium-driver"],
        (Need::Chromedriver, Ubuntu) => &["chromium-chromedriver"],
        // Arch's chromium brings its driver along.
        (Need::Chromedriver, Arch) => &["chromium"],
        (Need::Chromedriver, Windows) => &["Chromium.ChromeDriver"],
        (Need::Chromedriver, Fedora | MacOs | Other) => &["chromedriver"],
        (Need::Vulkan, Debian | Ubuntu) => &["libvulkan1", "mesa-vulkan-drivers"],
        (Need::Vulkan, Fedora) => &["vulkan-loader", "mesa-vulkan-drivers"],
        (Need::Vulkan, Arch) => &["vulkan-icd-loader", "vulkan-swrast"],
        (Need::Vulkan, Other) => &["the Vulkan loader and Mesa's Vulkan drivers"],
        // Metal and Direct3D 12 are part of the system.
        (Need::Vulkan, MacOs | Windows) => &[],
        (Need::VulkanValidation, Debian | Ubuntu) => &["vulkan-validationlayers"],
        (Need::VulkanValidation, Fedora | Arch) => &["vulkan-validation-layers"],
        (Need::VulkanValidation, Other) => &["Khronos' Vulkan validation layer"],
        // What it validates is tested on Linux.
        (Need::VulkanValidation, MacOs | Windows) => &[],
        (
            Need::Rustfmt
            | Need::Clippy
            | Need::WasmTarget
            | Need::Trunk
            | Need::WasmBindgen
            | Need::WasmOpt,
            _,
        ) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn system(family: Family, apt: Apt) -> System {
        System {
            family,
            apt,
            rustup: true,
        }
    }
    const FRESH_DEBIAN: System = system(Family::Debian, Apt::AsRoot);

    #[test]
    fn nothing_missing_is_nothing_to_do() {
        assert_eq!(plan(&[], FRESH_DEBIAN), Plan::default());
    }

    #[test]
    fn a_fresh_debian_gets_everything_from_one_command() {
        let plan = plan(&Need::ALL, FRESH_DEBIAN);
        let packages = vec![
            "nodejs",
            "npm",
            "chromium",
            "chromium-driver",
            "libvulkan1",
            "mesa-vulkan-drivers",
            "vulkan-validationlayers",
        ];
        let expected = [
            Action::AptInstall {
                sudo: false,
                packages,
            },
            Action::RustupComponent("rustfmt"),
            Action::RustupComponent("clippy"),
            Action::RustupTarget,
            Action::CargoInstallTrunk,
            Action::CargoInstallWasmBindgen,
            Action::NpmInstallBinaryen,
        ];
        assert_eq!(plan.actions, expected);
        assert_eq!(plan.by_hand, []);
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let plan = plan(&[Need::Chromedriver], system(Family::Debian, Apt::Sudo));
        let expected = [Action::AptInstall {
            sudo: true,
            packages: vec!["chromium-driver"],
        }];
        assert_eq!(plan.actions, expected);
    }

    #[test]
    fn without_root_the_command_is_named_and_cargo_does_its_part() {
        let missing = [Need::Trunk, Need::Chromium, Need::Vulkan];
        let plan = plan(&missing, system(Family::Debian, Apt::No));
        assert_eq!(plan.actions, [Action::CargoInstallTrunk]);
        let expected = [ByHand {
            needs: vec![Need::Chromium, Need::Vulkan],
            command: "sudo apt-get install chromium libvulkan1 mesa-vulkan-drivers".to_owned(),
        }];
        assert_eq!(plan.by_hand, expected);
    }

    #[test]
    fn other_systems_are_told_their_own_command() {
        for (family, command) in [
            (
                Family::Fedora,
                "sudo dnf install nodejs-npm chromium chromedriver",
            ),
            (Family::Arch, "sudo pacman -S nodejs npm chromium"),
            (
                Family::MacOs,
                "brew install node google-chrome chromedriver",
            ),
            (
                Family::Windows,
                "winget install OpenJS.NodeJS.LTS Google.Chrome Chromium.ChromeDriver",
            ),
        ] {
            let missing = [Need::Npm, Need::Chromium, Need::Chromedriver];
            // Root on a system without apt changes nothing.
            let plan = plan(&missing, system(family, Apt::AsRoot));
            assert_eq!(plan.actions, [], "{family:?}");
            let commands: Vec<_> = plan.by_hand.iter().map(|item| &item.command).collect();
            assert_eq!(commands, [command], "{family:?}");
        }
    }

    #[test]
    fn wasm_opt_waits_for_npm() {
        let missing = [Need::Npm, Need::WasmOpt];
        let later = plan(&missing, system(Family::MacOs, Apt::No));
        assert_eq!(later.actions, []);
        let now = plan(&missing, FRESH_DEBIAN);
        assert_eq!(now.actions.last(), Some(&Action::NpmInstallBinaryen));
    }

    #[test]
    fn without_rustup_its_parts_are_named() {
        let without = System {
            rustup: false,
            ..FRESH_DEBIAN
        };
        let plan = plan(&[Need::WasmTarget], without);
        assert_eq!(plan.actions, []);
        assert_eq!(plan.by_hand[0].needs, [Need::WasmTarget]);
        assert!(plan.by_hand[0].command.contains("rustup"));
    }
}
