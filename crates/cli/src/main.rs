//! The `paligemma` command: run a model on pictures, look into a forward pass, pack a checkpoint,
//! inspect either. Everything happens on this machine.

mod args;
mod attention;
mod convert;
mod failure;
mod forward;
mod inspect;
mod progress;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    // clap's own exit code for a wrong use is 2 as well.
    let outcome = match Args::parse().command {
        Command::Run(args) => pollster::block_on(run::run(&args)),
        Command::Forward(args) => pollster::block_on(forward::forward(&args)),
        Command::Attention(args) => pollster::block_on(attention::attention(&args)),
        Command::Convert(args) => pollster::block_on(convert::convert(&args)),
        Command::Inspect(args) => pollster::block_on(inspect::inspect(&args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
