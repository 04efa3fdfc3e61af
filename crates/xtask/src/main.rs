//! `cargo xtask`: set-up, serve, build, test and measurements, each one command.
//!
//! Everything that a person would have to install or remember is written down
//! here once: which tools at which versions, which flags make Chromium offer
//! WebGPU, which crates compile for which target.
#![allow(
    clippy::print_stdout,
    reason = "a command for people: standard output is its interface"
)]

mod args;
mod browser;
mod compare;
mod fidelity;
mod full_size;
mod lock;
mod places;
mod precache;
mod report;
mod serve;
mod setup;
mod shell;
mod steps;
mod target;

use args::Request;
use std::process::ExitCode;

fn main() -> ExitCode {
    let request = match args::parse(std::env::args().skip(1)) {
        Ok(request) => request,
        Err(problem) => {
            eprintln!("{problem}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    match carry_out(request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            // What the reader can mend on this machine is told apart from a failed check.
            let by_hand = error.is::<setup::ByHandFirst>();
            ExitCode::from(if by_hand { 2 } else { 1 })
        }
    }
}

/// The folders to work in, ready for cargo.
fn claimed() -> anyhow::Result<places::Places> {
    let places = places::Places::find()?;
    target::claim(&places)?;
    Ok(places)
}

fn carry_out(request: Request) -> anyhow::Result<()> {
    match request {
        Request::Help => {
            println!("{}", args::USAGE);
            Ok(())
        }
        Request::Serve { port, quick } => serve::serve(&claimed()?, port, quick),
        Request::Build => serve::build(&claimed()?),
        Request::Precache(folder) => precache::write(folder),
        Request::Test(steps) => steps::run_all(&claimed()?, &steps),
        Request::Fidelity(options) => fidelity::measure(&claimed()?, "fidelity", &options),
        Request::Scores(options) => fidelity::measure(&claimed()?, "scores", &options),
        Request::Masks(options) => fidelity::measure(&claimed()?, "masks", &options),
        Request::Quantizers => steps::quantizers(&claimed()?),
        Request::FullSize(options) => full_size::measure(&claimed()?, &options),
        Request::Compare(place, options) => compare::measure(&claimed()?, place, &options),
        Request::Announce(announcement) => {
            serve::announce(&announcement);
            Ok(())
        }
    }
}
