//! The page as it is published, built by Trunk, in a real browser driven through WebDriver.
//! `cargo xtask test page` builds it and names its folder in `PALIGEMMA_DIST`; screenshots go to
//! `.artifacts/page`.

#![cfg(not(target_arch = "wasm32"))]

mod browser;
mod failures;
mod flows;
mod published;
mod truth;
