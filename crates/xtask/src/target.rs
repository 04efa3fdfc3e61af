//! The target folder, which all clones of the repository share.

use crate::places::Places;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Beginnings of our crates' names.
const OURS: [&str; 3] = ["paligemma-", "xtask-", "wasm-bindgen-tools-"];

/// Makes the target folder this clone's.
///
/// cargo names our crates alike in every clone and tells stale from fresh by
/// file times, so what another clone compiled after this one's files were
/// written would pass for ours. When the clone changes, cargo is made to forget
/// our crates; their dependencies stay.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn claim(places: &Places) -> Result<()> {
    let target = &places.target;
    let stamp = target.join("clone.txt");
    let here = places.root.to_string_lossy();
    if fs::read_to_string(&stamp).is_ok_and(|last| last == here) {
        return Ok(());
    }
    let forget = || {
        // target/<profile> and target/<platform>/<profile>
        for profile in folders(target).flat_map(|it| folders(&it).chain([it])) {
            for crate_ in folders(&profile.join(".fingerprint")) {
                let name = crate_.file_name().unwrap_or_default().to_string_lossy();
                if OURS.iter().any(|ours| name.starts_with(ours)) {
                    fs::remove_dir_all(&crate_)?;
                }
            }
        }
        fs::create_dir_all(target)?;
        fs::write(&stamp, here.as_bytes())
    };
    forget().with_context(|| format!("cannot write in {}", target.display()))
}

/// The folders in a folder; none if it is not there.
fn folders(within: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_clone_makes_cargo_forget_our_crates_only() {
        let folder = std::env::temp_dir().join(format!("xtask-claim-{}", std::process::id()));
        let places = |root: &str| Places {
            root: folder.join(root),
            tools: folder.join("tools"),
            target: folder.join("target"),
            artifacts: folder.join("artifacts"),
        };
        let native = folder.join("target/ci/.fingerprint");
        let wasm = folder.join("target/wasm32-unknown-unknown/ci/.fingerprint");
        let compile = || {
            for fingerprints in [&native, &wasm] {
                for name in ["paligemma-gpu-1f", "serde-2e"] {
                    fs::create_dir_all(fingerprints.join(name)).expect("a folder");
                }
            }
        };
        let kept = |name: &str| [&native, &wasm].map(|it| it.join(name).exists());

        compile();
        claim(&places("one")).expect("claimed");
        assert_eq!(kept("paligemma-gpu-1f"), [false, false]);
        assert_eq!(kept("serde-2e"), [true, true]);

        compile();
        claim(&places("one")).expect("claimed");
        assert_eq!(kept("paligemma-gpu-1f"), [true, true], "the same clone");

        claim(&places("two")).expect("claimed");
        assert_eq!(kept("paligemma-gpu-1f"), [false, false], "another clone");
        fs::remove_dir_all(&folder).expect("tidied");
    }
}
