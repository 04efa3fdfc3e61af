//! What `Cargo.lock` says about a package.

use anyhow::{Context, Result};
use std::path::Path;

/// The version of wasm-bindgen that this workspace is locked to: the tools that
/// turn a wasm module into a page must be of exactly that version.
///
/// # Errors
/// When `Cargo.lock` cannot be read or does not hold wasm-bindgen.
pub(crate) fn wasm_bindgen_version(root: &Path) -> Result<String> {
    let path = root.join("Cargo.lock");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    locked_version(&text, "wasm-bindgen")
        .map(str::to_owned)
        .with_context(|| format!("{} holds no wasm-bindgen", path.display()))
}

fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines
        .nth(1)?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_found_by_its_whole_name() {
        let lock = "[[package]]\nname = \"wasm-bindgen-cli\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.9\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen"), Some("0.2.9"));
        assert_eq!(locked_version(lock, "bindgen"), None);
    }
}
