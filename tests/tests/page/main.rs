//! The page as it is published, built by Trunk, in a real browser driven through WebDriver.
//! `cargo xtask test page` builds it and names its folder in `PALIGEMMA_DIST`; screenshots go to
//! `.artifacts/page`.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::print_stdout,
    reason = "shown when a test fails, or on request"
)]

mod adapter;
mod browser;
mod cache;
mod drawing;
mod failures;
mod faults;
mod flows;
mod hubs;
mod masks;
mod mending;
mod models;
mod network;
mod offline;
mod published;
mod questions;
mod sources;
mod speed;
mod truth;
