//! Tests that cross rooms live in `tests/`; this library has what several of them use.

pub mod driver;
pub mod processes;
pub mod server;
pub mod synthetic;

use std::path::PathBuf;

/// This package's folder: where the program runs, if its environment says so, and else where it was
/// compiled. cargo says it; a test or an example that was carried to another machine has to be told.
#[must_use]
pub fn folder() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR");
    told.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}
