//! The rooms, and who may know whom: what `ARCHITECTURE.md` promises, held.
//!
//! Each rule is a function that lists what breaks it, so that each can be shown
//! to fail on an example that does.

mod repository;
mod table;

use repository::{Package, files, packages, reached, texts};
use std::collections::BTreeSet;
use std::path::Path;
use table::{LONGEST_SOURCE, NAMED_BY, NEVER_REACHES, SOURCE, STANDS_ON, TOP_LEVEL, WASM};

fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
    Package {
        name: name.to_owned(),
        dependencies: dependencies
            .iter()
            .map(|(name, dev)| ((*name).to_owned(), *dev))
            .collect(),
    }
}

/// Steps from one of our crates to another that the table does not have.
/// Dependencies for tests are left out: they are in no product.
fn wrong_steps(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let Some((_, allowed)) = STANDS_ON.iter().find(|(name, _)| *name == package.name) else {
            wrong.push(format!("{} is not in the table", package.name));
            continue;
        };
        for (dependency, dev) in &package.dependencies {
            let ours = STANDS_ON.iter().any(|(name, _)| name == dependency);
            if ours && !dev && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{} -> {dependency}", package.name));
            }
        }
    }
    wrong
}

#[test]
fn a_room_stands_only_on_the_rooms_below_it() {
    assert_eq!(wrong_steps(&packages()), [""; 0]);
    let broken = [
        package("paligemma-app", &[("paligemma-engine", false)]),
        package("paligemma-model", &[("paligemma-processor", true)]),
        package("paligemma-annex", &[]),
    ];
    let expected = [
        "paligemma-app -> paligemma-engine",
        "paligemma-annex is not in the table",
    ];
    assert_eq!(wrong_steps(&broken), expected);
}

/// Crates named where they may not be.
fn wrong_names(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        for (guarded, allowed) in NAMED_BY {
            let named = package.dependencies.iter().any(|(name, _)| name == guarded);
            if named && !allowed.contains(&package.name.as_str()) {
                wrong.push(format!("{} -> {guarded}", package.name));
            }
        }
    }
    wrong
}

#[test]
fn platforms_are_named_in_one_place_each() {
    let packages = packages();
    assert_eq!(wrong_names(&packages), [""; 0]);
    let gpu = packages
        .iter()
        .find(|package| package.name == "paligemma-gpu");
    assert!(
        gpu.is_some_and(|gpu| gpu.dependencies.iter().any(|(name, _)| name == "wgpu")),
        "the rule is about wgpu, which nobody names any more"
    );
    let broken = [
        package("paligemma-model", &[("web-sys", false)]),
        package("paligemma-cli", &[("wgpu", true)]),
    ];
    let expected = ["paligemma-model -> web-sys", "paligemma-cli -> wgpu"];
    assert_eq!(wrong_names(&broken), expected);
}

#[test]
fn commands_for_maintainers_compile_without_the_product() {
    for name in ["xtask", "wasm-bindgen-tools"] {
        let reached = reached(name, None);
        let ours = reached.iter().find(|name| name.starts_with("paligemma-"));
        assert_eq!(ours, None, "{name}");
    }
}

#[test]
fn what_must_not_be_reached_is_not_reached() {
    for (package, never, target) in NEVER_REACHES {
        let reached = reached(package, *target);
        for name in *never {
            assert!(
                !reached.contains(*name),
                "{package} reaches {name} on {target:?}: `cargo tree -p {package} -i {name}`"
            );
        }
    }
    // The same question where the answer is yes, or the rules above would hold of nothing.
    for target in [None, Some(WASM)] {
        assert!(reached("paligemma-engine", target).contains("wgpu"));
    }
    assert!(reached("paligemma-app", Some(WASM)).contains("leptos"));
}

fn is_shader(file: &str) -> bool {
    file.ends_with(".wgsl") || file.ends_with(".wesl")
}

#[test]
fn shaders_live_in_their_own_room() {
    let files = files();
    let (inside, outside): (Vec<_>, Vec<_>) = files
        .iter()
        .filter(|file| is_shader(file))
        .partition(|file| file.starts_with("shaders/"));
    assert_eq!(outside, Vec::<&String>::new());
    assert!(!inside.is_empty(), "there are no shaders at all");
    assert!(is_shader("crates/gpu/src/matmul.wgsl") && !is_shader("shaders/README.md"));
}

/// Files of a crate that name a shader's file.
fn names_shader_files<'a>(room: &str, texts: &'a [(String, String)]) -> Vec<&'a str> {
    texts
        .iter()
        .filter(|(file, text)| {
            let names = [".wgsl", ".wesl"].iter().any(|end| text.contains(end));
            file.starts_with(room) && file.ends_with(".rs") && names
        })
        .map(|(file, _)| file.as_str())
        .collect()
}

#[test]
fn above_the_gpu_nobody_names_a_shaders_file() {
    let texts = texts();
    for room in ["model", "engine", "processor", "checkpoint", "cli", "app"] {
        let room = format!("crates/{room}/");
        assert_eq!(names_shader_files(&room, &texts), [""; 0]);
    }
    let broken = [(
        "crates/model/src/gemma.rs".to_owned(),
        "load(\"matmul.wgsl\")".to_owned(),
    )];
    assert_eq!(names_shader_files("crates/model/", &broken).len(), 1);
}

/// Entries of the root that nobody expects there.
fn strangers(files: &[String]) -> BTreeSet<&str> {
    files
        .iter()
        .map(|file| file.split('/').next().unwrap_or(file))
        .filter(|entry| !TOP_LEVEL.contains(entry))
        .collect()
}

#[test]
fn the_top_level_stays_as_it_is() {
    assert_eq!(strangers(&files()), BTreeSet::new());
    let broken = ["src/lib.rs", "README.md", "notes.txt"].map(str::to_owned);
    assert_eq!(strangers(&broken), BTreeSet::from(["notes.txt", "src"]));
}

/// Source files that have grown past what one reads at a time.
fn too_long(texts: &[(String, String)]) -> Vec<String> {
    texts
        .iter()
        .filter(|(file, _)| {
            let ending = Path::new(file).extension().unwrap_or_default();
            SOURCE.iter().any(|source| *source == ending)
        })
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_SOURCE)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect()
}

#[test]
fn a_source_file_does_one_thing() {
    assert_eq!(too_long(&texts()), [""; 0]);
    let lines = |count: usize| "x\n".repeat(count);
    let broken = [
        ("a.rs".to_owned(), lines(LONGEST_SOURCE)),
        ("b.wgsl".to_owned(), lines(LONGEST_SOURCE + 1)),
        ("CHANGELOG.md".to_owned(), lines(9000)),
    ];
    assert_eq!(too_long(&broken), ["b.wgsl: 501 lines"]);
}

/// Places that exist on somebody's machine only, as `file:line`.
fn machine_paths(texts: &[(String, String)]) -> Vec<String> {
    // Split, so that this file does not break its own rule.
    let homes = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!(":\\Us", "ers\\"),
    ];
    let mut found = Vec::new();
    for (file, text) in texts {
        for (index, line) in text.lines().enumerate() {
            let named = homes.iter().any(|home| {
                line.match_indices(home).any(|(at, _)| {
                    // After a name it is the middle of some other path or address.
                    let before = line[..at].chars().next_back();
                    home.starts_with(':')
                        || !before.is_some_and(|c| c.is_alphanumeric() || "._-}])*~".contains(c))
                })
            });
            if named {
                found.push(format!("{file}:{}", index + 1));
            }
        }
    }
    found
}

#[test]
fn nothing_depends_on_one_machines_folders() {
    assert_eq!(machine_paths(&texts()), [""; 0]);
    let broken = [
        (
            "a.md".to_owned(),
            concat!("run\n/ho", "me/me/models/x").to_owned(),
        ),
        (
            "b.rs".to_owned(),
            concat!("https://example.org/ho", "me/ and crates/ro", "ot/").to_owned(),
        ),
        (
            "c.toml".to_owned(),
            concat!("\"C:\\Us", "ers\\me\"").to_owned(),
        ),
    ];
    assert_eq!(machine_paths(&broken), ["a.md:2", "c.toml:1"]);
}
