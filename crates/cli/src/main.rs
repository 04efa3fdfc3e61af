//! The `paligemma` command: run a model on pictures, look into a forward pass, pack a checkpoint,
//! inspect either, see who attends to whom, measure. Everything happens on this machine.

mod adapter;
mod args;
mod attention;
mod attention_mask;
mod bench;
mod convert;
mod failure;
mod forward;
mod generation;
mod inspect;
mod masks;
mod progress;
mod prompts;
mod run;
mod tuning;

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
        Command::Bench(args) => pollster::block_on(bench::bench(&args)),
        Command::Mask(args) => pollster::block_on(attention_mask::mask(&args)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
