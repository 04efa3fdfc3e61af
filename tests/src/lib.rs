//! Tests that cross rooms live in `tests/`; this library has what several of them use.

pub mod driver;
pub mod processes;
pub mod server;
pub mod synthetic;
