//! The command's contract: what scripts read from it, and what it says when something is wrong.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod adapter;
mod attention_mask;
mod bad_input;
mod bench;
mod contract;
mod documented;
mod generation;
mod masks;
mod packed;
mod tuning;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn paligemma(args: &[&str]) -> Output {
    paligemma_in(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"), args)
}

/// With a cache directory of its own, so that no test depends on what this machine was measured to
/// do.
fn paligemma_in(cache: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_paligemma"))
        .env("XDG_CACHE_HOME", cache)
        .args(args)
        .output()
        .unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An empty folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
