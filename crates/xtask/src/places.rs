//! Where things are: the clone, and the cache that all clones share.

use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folders that the commands work in, all absolute.
pub(crate) struct Places {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Installed tools, one folder for each tool and version.
    pub(crate) tools: PathBuf,
    /// Where cargo compiles to. Outside the clone, so that a fresh clone
    /// recompiles only our crates and none of their dependencies.
    pub(crate) target: PathBuf,
    /// What the tests leave behind for people to look at.
    pub(crate) artifacts: PathBuf,
}

impl Places {
    /// Finds the folders from the environment; creates none of them.
    ///
    /// # Errors
    /// When there is no home directory or the root of the repository is gone.
    pub(crate) fn find() -> Result<Self> {
        // `cargo run` sets the variable; the built-in path serves a binary started by hand.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest
            .ancestors()
            .nth(2)
            .map(Path::to_path_buf)
            .filter(|root| root.join("Cargo.lock").is_file())
            .with_context(|| format!("no workspace above {}", manifest.display()))?;
        let cache = cache_home(|name| env::var_os(name))
            .context("no home directory: set HOME or XDG_CACHE_HOME")?
            .join("paligemma-web");
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            Some(chosen) => root.join(chosen),
            None => cache.join("target"),
        };
        Ok(Self {
            artifacts: root.join(".artifacts"),
            tools: cache.join("tools"),
            target,
            root,
        })
    }

    /// The folder of one of our crates, which is named as the crate is.
    pub(crate) fn crate_folder(&self, name: &str) -> PathBuf {
        let folder = name.strip_prefix("paligemma-").unwrap_or(name);
        self.root.join("crates").join(folder)
    }
}

/// The user's cache folder, as the XDG base directory specification has it: a
/// relative `XDG_CACHE_HOME` counts as none.
fn cache_home(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .or_else(|| absolute("LOCALAPPDATA"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Option<PathBuf> {
        cache_home(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_follows_the_xdg_specification() {
        let home = ("HOME", "/h");
        assert_eq!(with(&[home]), Some("/h/.cache".into()));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/c")]), Some("/c".into()));
        assert_eq!(
            with(&[home, ("XDG_CACHE_HOME", "relative")]),
            Some("/h/.cache".into())
        );
        assert_eq!(with(&[]), None);
    }
}
