//! `cargo xtask fidelity`, `scores` and `masks`: what rounding the weights costs, what scores are
//! worth and how good masks are, as tables in `benches/`.

use crate::places::Places;
use crate::setup::{self, Need};
use crate::shell::{self, run};
use crate::steps::{PROFILE, checked, choose_vulkan, native_selection};
use anyhow::Result;

/// Builds a measurement, which lives with the tests because this crate knows nothing of the
/// product, and runs it.
///
/// # Errors
/// A build or a measurement that fails.
pub(crate) fn measure(places: &Places, name: &str, options: &[String]) -> Result<()> {
    setup::prepare(places, &[Need::Vulkan])?;
    // The selection of the checks, so that nothing compiles twice; `cargo run` takes none.
    run(checked(places, "build")
        .args(native_selection())
        .args(["--example", name]))?;
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let program = places.target.join(PROFILE).join("examples").join(name);
    let mut measurement = shell::command(places, program);
    measurement.args(options);
    choose_vulkan(&mut measurement);
    run(&mut measurement)
}
