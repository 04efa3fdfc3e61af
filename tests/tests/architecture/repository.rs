//! What the repository says of itself, through cargo and git.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn output(command: &mut Command) -> String {
    let output = command
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed; `cargo fetch` may mend it: {complaint}"
    );
    String::from_utf8(output.stdout).expect("UTF-8 from cargo and git")
}

/// Offline, and reading only: it neither compiles nor waits for who does.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    output(Command::new(cargo).args(arguments).arg("--offline"))
}

/// The files of the repository, committed or about to be, by their path from its root.
pub(crate) fn files() -> Vec<String> {
    let listed = output(Command::new("git").args([
        // Checkouts on build machines often belong to somebody else.
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]));
    let files: Vec<String> = listed
        .split_terminator('\0')
        .filter(|file| root().join(file).is_file())
        .map(str::to_owned)
        .collect();
    assert!(files.iter().any(|file| file == "Cargo.toml"), "{files:?}");
    files
}

/// Files that hold text, with it. Fixtures and the demo checkpoint are kept as
/// they were made and are no source of ours.
pub(crate) fn texts() -> Vec<(String, String)> {
    files()
        .into_iter()
        .filter(|file| !file.starts_with("tests/fixtures/") && !file.starts_with("web/demo/"))
        .filter_map(|file| {
            let text = std::fs::read_to_string(root().join(&file)).ok()?;
            Some((file, text))
        })
        .collect()
}

pub(crate) struct Package {
    pub(crate) name: String,
    /// Name, and whether it is for tests only.
    pub(crate) dependencies: Vec<(String, bool)>,
}

pub(crate) fn packages() -> Vec<Package> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON from cargo metadata");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: name(package),
            dependencies: list(&package["dependencies"])
                .iter()
                .map(|dependency| (name(dependency), dependency["kind"] == "dev"))
                .collect(),
        })
        .collect()
}

/// The names of everything that `package` is linked with on a target.
pub(crate) fn reached(package: &str, target: Option<&str>) -> BTreeSet<String> {
    let mut arguments = vec!["tree", "--package", package, "--edges", "normal"];
    arguments.extend(["--prefix", "none", "--format", "{p}"]);
    if let Some(target) = target {
        arguments.extend(["--target", target]);
    }
    cargo(&arguments)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != package)
        .map(str::to_owned)
        .collect()
}
